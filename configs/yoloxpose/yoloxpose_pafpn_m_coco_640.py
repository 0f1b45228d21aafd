"""YOLOX-Pose-m as MMPose publishes it, on COCO at 640 px (Maji et al. 2022, arXiv:2204.06806).

Run: python tools/train.py configs/yoloxpose/yoloxpose_pafpn_m_coco_640.py
AP on COCO val2017: not trained yet (published by MMPose: AP 69.5)
"""

_base_ = ['yoloxpose_pafpn_s_coco_640.py']

model = dict(
    backbone=dict(widen_factor=0.75, deepen_factor=0.67),
    neck=dict(out_channels=192, num_csp_blocks=2),
    head=dict(feat_channels=192),
)
