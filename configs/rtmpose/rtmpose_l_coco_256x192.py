"""RTMPose-l on COCO at 256x192 (Jiang et al. 2023, arXiv:2303.07399).

Run: python tools/train.py configs/rtmpose/rtmpose_l_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 75.8 with boxes of person AP 56.4)
"""

_base_ = ['./rtmpose_m_coco_256x192.py']

model = dict(backbone=dict(widen_factor=1.0, deepen_factor=1.0))
