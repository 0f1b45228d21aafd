"""RTMO-m on COCO at 640 px (Lu et al. 2023, arXiv:2312.07526).

Run: python tools/train.py configs/rtmo/rtmo_m_coco_640.py
AP on COCO val2017: not trained yet (paper: 70.9)
"""

_base_ = ['../_base_/datasets/coco_mosaic.py', '../_base_/schedules/rtmo.py']

model = dict(
    type='OneStage',
    codec=dict(type='DenseInstances', input_size=(640, 640)),
    # Pixels as they are, as in the published weights.
    input_norm=dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), channel_order='bgr'),
    backbone=dict(type='CSPDarknet', widen_factor=0.75, deepen_factor=0.67),
    neck=dict(type='HybridEncoder', out_channels=384, widen_factor=0.75, deepen_factor=0.67),
    head=dict(type='RTMOHead', pose_channels=216),
    assigner=dict(type='SimOTA', center_from='box'),
    loss_weights=dict(keypoints=0.01),
    overlaps_power=0.5,
    random_size_range=(480, 800, 32),
)
train_dataloader = dict(batch_size=256)
phases = {
    '280': dict(proxy_target='keypoints', loss_weights=dict(keypoints=5.0, proxy=10.0, score=2.0), overlaps_power=1.0),
    '580': dict(loss_weights=dict(raw_box=1.0)),
}
custom_hooks = [
    dict(type='EMAHook', momentum=2e-4, update_buffers=True),
    dict(type='PhaseHook', phases=phases),
]
