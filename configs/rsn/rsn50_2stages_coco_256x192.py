"""RSN-50 of two stages on COCO at 256x192 (Cai et al. 2020, arXiv:2003.04030).

Run: python tools/train.py configs/rsn/rsn50_2stages_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 74.8 with boxes of person AP 56.4)
"""

_base_ = ['../mspn/mspn50_2stages_coco_256x192.py']

model = dict(backbone=dict(_delete_=True, type='RSN', num_stages=2))
