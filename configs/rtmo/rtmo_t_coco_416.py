"""RTMO-t on COCO at 416 px (Lu et al. 2023, arXiv:2312.07526).

Run: python tools/train.py configs/rtmo/rtmo_t_coco_416.py
AP on COCO val2017: not trained yet (paper: 57.4 when trained on seven data sets)
"""

_base_ = ['./rtmo_s_coco_640.py']

model = dict(
    codec=dict(input_size=(416, 416)),
    backbone=dict(widen_factor=0.375),
    neck=dict(out_channels=192, widen_factor=0.375),
    head=dict(pose_channels=104),
    random_size_range=(320, 512, 32),
)
