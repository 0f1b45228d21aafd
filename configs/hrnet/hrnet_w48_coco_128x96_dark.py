"""HRNet-W48 with DARK on COCO at 128x96 (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hrnet/hrnet_w48_coco_128x96_dark.py
AP on COCO val2017, flip test: not trained yet (published: AP 71.9 with boxes of person AP 56.4)
"""

_base_ = ['./hrnet_w32_coco_128x96_dark.py']

model = dict(codec=dict(blur_kernel_size=11), backbone=dict(width=48))
