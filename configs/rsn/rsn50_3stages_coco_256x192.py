"""RSN-50 of three stages on COCO at 256x192 (Cai et al. 2020, arXiv:2003.04030).

Run: python tools/train.py configs/rsn/rsn50_3stages_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 75.0 with boxes of person AP 56.4)
"""

_base_ = ['../mspn/mspn50_3stages_coco_256x192.py']

model = dict(backbone=dict(_delete_=True, type='RSN', num_stages=3))
