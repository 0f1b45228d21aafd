"""DEKR with HRNet-W32 on COCO at 512 px (Geng et al. 2021, arXiv:2104.02300).

Run: python tools/train.py configs/dekr/dekr_hrnet_w32_coco_512.py
AP on COCO val2017, flip test: not trained yet (published by MMPose, with rescoring: AP 68.6)
"""

_base_ = ['../associative_embedding/ae_hrnet_w32_coco_512.py']

model = dict(
    codec=dict(_delete_=True, type='CenterDisplacement', input_size=(512, 512)),
    backbone=dict(out_strides=(4, 8, 16, 32)),
    head=dict(_delete_=True, type='DEKRHead'),
    loss=dict(
        _delete_=True,
        heatmap=dict(type='MeanSquaredError'),
        displacement=dict(type='SmoothL1Loss', beta=1 / 9, loss_weight=0.03),
    ),
)
