"""RTMO-t on COCO at 416 px (Lu et al. 2023, arXiv:2312.07526).

Run: python tools/train.py configs/rtmo/rtmo_t_coco_416.py
AP on COCO val2017: not trained yet (paper: 57.4 when trained on seven sets)
"""

_base_ = ['./rtmo_s_coco_640.py']

model = dict(
    codec=dict(input_size=(416, 416)),
    backbone=dict(widen=0.375),
    neck=dict(out=192, widen=0.375),
    head=dict(width=104),
    sizes=(320, 512, 32),
)
