"""ViTPose-B on features of stride 8, with shifted and pooled window attention (Xu et al. 2022, arXiv:2204.12484).

Compare with model.backbone.attention=full, window, shift or pool, and model.backbone.window_size=(12,16).
Run: python tools/train.py configs/vitpose/vitpose_b_coco_256x192_window.py
AP on COCO val2017, flip test: not trained yet (published: AP 76.8, and 77.4 with full attention)
"""

_base_ = ['./vitpose_b_coco_256x192.py']

model = dict(backbone=dict(ratio=2, attention='shift+pool', window_size=(8, 8)))
