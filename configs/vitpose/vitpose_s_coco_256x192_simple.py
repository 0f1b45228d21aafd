"""ViTPose-S with the simple decoder on COCO at 256x192 (Xu et al. 2022, arXiv:2204.12484).

Run: python tools/train.py configs/vitpose/vitpose_s_coco_256x192_simple.py
AP on COCO val2017, flip test: not trained yet (published: AP 73.5 with boxes of person AP 56.4)
"""

_base_ = ['./vitpose_s_coco_256x192.py']

model = dict(head=dict(type='SimpleHead'))
