"""CSPNeXt-m with UDP's heatmaps on COCO at 256x192, from which RTMPose starts (Jiang et al. 2023, arXiv:2303.07399).

The backbone starts from ImageNet's weights: init=dict(backbone=FILE). Augmentation is weaker in the last 30 of 210
epochs, and erasing as likely as before.

Run: python tools/train.py configs/cspnext/cspnext_m_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 73.2 with boxes of person AP 56.4)
"""

_base_ = ['../rtmpose/rtmpose_m_coco_256x192.py']

model = dict(
    codec=dict(_delete_=True, type='UDPHeatmap', input_size=(192, 256), sigma_px=8.0, blur_kernel_size=11),
    head=dict(_delete_=True, type='DeconvHead'),
    loss=dict(_delete_=True, type='MeanSquaredError'),
)
steps = dict(affine=dict(switch_epoch=180 / 210), erase=dict(switch_epoch=180 / 210))
train_dataloader = dict(dataset=dict(pipeline=steps))
train_cfg = dict(max_epochs=210)
