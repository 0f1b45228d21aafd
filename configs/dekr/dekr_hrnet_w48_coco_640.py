"""DEKR with HRNet-W48 on COCO at 640 px (Geng et al. 2021, arXiv:2104.02300).

Run: python tools/train.py configs/dekr/dekr_hrnet_w48_coco_640.py
AP on COCO val2017, flip test: not trained yet (published by MMPose, with rescoring: AP 71.4)
"""

_base_ = ['dekr_hrnet_w32_coco_512.py']

model = dict(
    codec=dict(input_size=(640, 640)),
    backbone=dict(width=48),
    head=dict(heatmap_channels=48),
)
