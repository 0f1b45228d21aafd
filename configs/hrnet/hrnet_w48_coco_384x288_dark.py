"""HRNet-W48 with DARK on COCO at 384x288 (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hrnet/hrnet_w48_coco_384x288_dark.py
AP on COCO val2017, flip test: not trained yet (published: AP 76.8 with boxes of person AP 56.4)
"""

_base_ = ['./hrnet_w32_coco_384x288_dark.py']

model = dict(backbone=dict(width=48))
train_dataloader = dict(batch_size=96)
