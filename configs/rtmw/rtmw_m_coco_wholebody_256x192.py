"""RTMW-m on COCO-WholeBody at 256x192, 133 keypoints (Jiang et al. 2024, arXiv:2407.08634).

The published model was trained on 14 data sets.

Run: python tools/train.py configs/rtmw/rtmw_m_coco_wholebody_256x192.py
AP on COCO-WholeBody val, flip test: not trained yet (published by MMPose: AP 58.2 with boxes of person AP 56.4)
"""

_base_ = ['../rtmpose/rtmpose_m_coco_wholebody_256x192.py']

model = dict(
    backbone=dict(out_strides=(8, 16, 32)),
    neck=dict(type='CSPNeXtPAFPN', num_outputs=2),
    head=dict(_delete_=True, type='RTMWHead'),
)
