"""RTMO-l on COCO at 640 px (Lu et al. 2023, arXiv:2312.07526).

Run: python tools/train.py configs/rtmo/rtmo_l_coco_640.py
AP on COCO val2017: not trained yet (paper: 72.4)
"""

_base_ = ['./rtmo_m_coco_640.py']

model = dict(
    backbone=dict(widen=1.0, deepen=1.0),
    neck=dict(out=512, widen=1.0, deepen=1.0),
    head=dict(width=288),
)
