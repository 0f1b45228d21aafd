"""CPN with ResNet-50 on COCO at 256x192 (Chen et al. 2018, arXiv:1711.07319).

Run: python tools/train.py configs/cpn/cpn_r50_coco_256x192.py
AP on COCO minival, flip test: not trained yet (published code: AP 69.7 with boxes of person AP 55.3)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/cpn.py']

level_loss = dict(type='MeanSquaredError', loss_weight=0.125)  # half of the mean over the four levels
model = dict(
    type='TopDown',
    input_norm=dict(mean=(102.9801, 115.9465, 122.7717), std=(255, 255, 255), channel_order='bgr'),
    codec=dict(type='CPNHeatmap', input_size=(192, 256)),
    backbone=dict(type='ResNet', depth=50),
    head=dict(type='CPNHead'),
    loss=[level_loss, level_loss, level_loss, level_loss, dict(type='OHKMLoss', topk=8)],
    flip_test=True,
)
affine = dict(_delete_=True, type='RandomScaleRotate', scale_factor=(0.74, 1.43), degrees=45)
train_dataloader = dict(dataset=dict(pipeline=dict(crop=dict(padding=1.3), affine=affine)))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=dict(crop=dict(padding=1.3))))
