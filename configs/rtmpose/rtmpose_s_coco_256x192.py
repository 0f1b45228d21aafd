"""RTMPose-s on COCO at 256x192 (Jiang et al. 2023, arXiv:2303.07399).

Run: python tools/train.py configs/rtmpose/rtmpose_s_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 71.6 with boxes of person AP 56.4)
"""

_base_ = ['./rtmpose_m_coco_256x192.py']

model = dict(backbone=dict(widen_factor=0.5, deepen_factor=0.33))
optim_wrapper = dict(optimizer=dict(weight_decay=0.0))
