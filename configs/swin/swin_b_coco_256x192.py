"""Swin-B on COCO at 256x192 (Liu et al. 2021, arXiv:2103.14030).

Run: python tools/train.py configs/swin/swin_b_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 73.7 with boxes of person AP 56.4)
"""

_base_ = ['swin_t_coco_256x192.py']

model = dict(
    backbone=dict(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), drop_path_rate=0.3),
)
