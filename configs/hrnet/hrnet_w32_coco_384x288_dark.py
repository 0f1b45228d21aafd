"""HRNet-W32 with DARK on COCO at 384x288 (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hrnet/hrnet_w32_coco_384x288_dark.py
AP on COCO val2017, flip test: not trained yet (published: AP 76.6 with boxes of person AP 56.4)
"""

_base_ = ['./hrnet_w32_coco_256x192_dark.py']

model = dict(codec=dict(input_size=(288, 384), sigma_px=12.0, blur_kernel_size=11))
