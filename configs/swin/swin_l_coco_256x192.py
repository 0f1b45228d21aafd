"""Swin-L on COCO at 256x192 (Liu et al. 2021, arXiv:2103.14030).

Run: python tools/train.py configs/swin/swin_l_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 74.3 with boxes of person AP 56.4)
"""

_base_ = ['swin_t_coco_256x192.py']

model = dict(
    backbone=dict(embed_dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48), drop_path_rate=0.5),
)
