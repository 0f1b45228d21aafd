"""RTMO-l on COCO at 640 px (Lu et al. 2023, arXiv:2312.07526).

Run: python tools/train.py configs/rtmo/rtmo_l_coco_640.py
AP on COCO val2017: not trained yet (paper: 72.4)
"""

_base_ = ['./rtmo_m_coco_640.py']

model = dict(
    backbone=dict(widen_factor=1.0, deepen_factor=1.0),
    neck=dict(out_channels=512, widen_factor=1.0, deepen_factor=1.0),
    head=dict(pose_channels=288),
)
