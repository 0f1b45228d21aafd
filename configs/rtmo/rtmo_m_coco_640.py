"""RTMO-m on COCO at 640 px (Lu et al. 2023, arXiv:2312.07526).

Run: python tools/train.py configs/rtmo/rtmo_m_coco_640.py
AP on COCO val2017: not trained yet (paper: 70.9)
"""

_base_ = ['../_base_/datasets/coco_mosaic.py', '../_base_/schedules/rtmo.py']

model = dict(
    type='OneStage',
    codec=dict(type='People', input_size=(640, 640)),
    backbone=dict(type='CSPDarknet', widen=0.75, deepen=0.67),
    neck=dict(type='HybridEncoder', out=384, widen=0.75, deepen=0.67),
    head=dict(type='RTMOHead', width=216),
    assigner=dict(type='SimOTA', middle='box'),
    weights=dict(joints=0.01),
    power=0.5,
    sizes=(480, 800, 32),
)
train_dataloader = dict(batch_size=256)
phases = {
    '280': dict(proxies='joints', weights=dict(joints=5.0, proxy=10.0, score=2.0), power=1.0),
    '580': dict(weights=dict(raw=1.0)),
}
custom_hooks = [
    dict(type='EMAHook', momentum=2e-4, update_buffers=True),
    dict(type='PhaseHook', phases=phases),
]
