"""ViPNAS's mobile network on COCO at 256x192 (Xu et al. 2021, arXiv:2105.10154).

Run: python tools/train.py configs/vipnas/vipnas_mbv3_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 70.0 with boxes of person AP 56.4)
"""

_base_ = ['../simple_baseline/simple_baseline_r50_coco_256x192.py']

model = dict(
    backbone=dict(_delete_=True, type='ViPNASMobileNetV3'),
    head=dict(deconv_out_channels=160, deconv_groups=160),
)
