"""HRNet-W32 with DARK on COCO at 128x96 (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hrnet/hrnet_w32_coco_128x96_dark.py
AP on COCO val2017, flip test: not trained yet (published: AP 70.7 with boxes of person AP 56.4)
"""

_base_ = ['./hrnet_w32_coco_256x192_dark.py']

model = dict(codec=dict(input_size=(96, 128), sigma_px=4.0))
