"""Eight stacked hourglasses on COCO at 384x288, the third of three input sizes (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hourglass/hourglass8_coco_384x288.py
AP on COCO val2017, flip test: not trained yet
"""

_base_ = ['./hourglass8_coco_128x96.py']

model = dict(codec=dict(input_size=(288, 384), sigma_px=12.0))
