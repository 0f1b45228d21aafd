"""CPN with ResNet-101 on COCO at 384x288 (Chen et al. 2018, arXiv:1711.07319).

Run: python tools/train.py configs/cpn/cpn_r101_coco_384x288.py
AP on COCO minival, flip test: not trained yet (published code: AP 72.9 with boxes of person AP 55.3)
"""

_base_ = ['./cpn_r50_coco_384x288.py']

model = dict(backbone=dict(depth=101))
