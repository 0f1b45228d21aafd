"""RTMO-s on COCO at 640 px (Lu et al. 2023, arXiv:2312.07526).

The backbone starts from YOLOX-s trained on COCO's boxes: init=dict(backbone=FILE).
Run: python tools/train.py configs/rtmo/rtmo_s_coco_640.py
AP on COCO val2017: not trained yet (paper: 67.7)
"""

_base_ = ['../_base_/datasets/coco_mosaic.py', '../_base_/schedules/rtmo.py']

model = dict(
    type='OneStage',
    codec=dict(type='DenseInstances', input_size=(640, 640)),
    # Pixels as they are, as in the published weights.
    input_norm=dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), channel_order='bgr'),
    backbone=dict(type='CSPDarknet', widen_factor=0.5, deepen_factor=0.33),
    neck=dict(type='HybridEncoder', out_channels=256, widen_factor=0.5, deepen_factor=0.33),
    head=dict(type='RTMOHead', pose_channels=144),
    assigner=dict(type='SimOTA', center_from='keypoints'),
    loss_weights=dict(keypoints=1.0),
    random_size_range=(480, 800, 32),
)
steps = dict(fit=dict(later_transforms=dict(affine=None, shift=None)))
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=steps))
