"""HRFormer-base on COCO at 256x192 (Yuan et al. 2021, arXiv:2110.09408).

Run: python tools/train.py configs/hrformer/hrformer_b_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 75.4 with boxes of person AP 56.4)
"""

_base_ = ['hrformer_s_coco_256x192.py']

model = dict(backbone=dict(width=78, num_heads=2, drop_path_rate=0.2))
