"""RTMW-x on COCO-WholeBody at 256x192, 133 keypoints (Jiang et al. 2024, arXiv:2407.08634).

Run: python tools/train.py configs/rtmw/rtmw_x_coco_wholebody_256x192.py
AP on COCO-WholeBody val, flip test: not trained yet (published by MMPose: AP 67.2 with boxes of person AP 56.4)
"""

_base_ = ['rtmw_m_coco_wholebody_256x192.py']

model = dict(backbone=dict(widen_factor=1.25, deepen_factor=1.33))
