"""Keypoints as direct offsets on YOLOX-s at 640 px (Maji et al. 2022, arXiv:2204.06806), RTMO's baseline.

With RTMO's data and solver; the published model has all three levels, as here, and 300 epochs of AdamW.
Run: python tools/train.py configs/yoloxpose/yoloxpose_s_coco_640.py
AP on COCO val2017: not trained yet
"""

_base_ = ['../rtmo/rtmo_s_coco_640.py']

model = dict(
    neck=None,
    head=dict(_delete_=True, type='YOLOXPoseHead', feat_channels=128),
    loss_weights=dict(_delete_=True, proxy=30.0),
)
optim_wrapper = dict(paramwise_cfg=dict(rules=None))
phases = {'580': dict(loss_weights=dict(raw_box=1.0))}
custom_hooks = [
    dict(type='EMAHook', momentum=2e-4, update_buffers=True),
    dict(type='PhaseHook', phases=phases),
]
