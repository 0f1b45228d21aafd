"""RTMO-s on CrowdPose at 640 px for 700 epochs (Lu et al. 2023, arXiv:2312.07526).

As in MMPose's config, the second phase starts at epoch 350, and the last 30 epochs are without mosaics.

Run: python tools/train.py configs/rtmo/rtmo_s_crowdpose_640.py
AP on the CrowdPose test set: not trained yet (paper: 67.3)
"""

_base_ = ['./rtmo_s_coco_640.py']

skeleton = 'crowdpose'
model = dict(assigner=dict(center_from='box'), loss_weights=dict(keypoints=1e-3), overlaps_power=0.5)
train_dataloader = dict(
    dataset=dict(
        sources=[dict(type='CrowdPoseSource', split='trainval')],
        pipeline=dict(fit=dict(switch_epoch=670 / 700)),
    )
)
val_dataloader = test_dataloader = dict(
    dataset=dict(sources=[dict(type='CrowdPoseSource', split='test', keep_empty=True)])
)
val_evaluator = test_evaluator = dict(_delete_=True, type='CrowdPoseAP')
train_cfg = dict(max_epochs=700)
param_scheduler = [
    dict(type='QuadraticWarmupLR', begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=5, end=350, T_max=345, eta_min=2e-4, convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, milestones=[350], gamma=2.5),
    dict(type='CosineAnnealingLR', begin=350, end=670, T_max=320, eta_min=2e-4, convert_to_iter_based=True),
]
phases = {
    '350': dict(proxy_target='keypoints', loss_weights=dict(keypoints=5.0, proxy=10.0, score=2.0), overlaps_power=1.0),
    '670': dict(loss_weights=dict(raw_box=1.0)),
}
custom_hooks = [dict(type='EMAHook', momentum=2e-4, update_buffers=True), dict(type='PhaseHook', phases=phases)]
