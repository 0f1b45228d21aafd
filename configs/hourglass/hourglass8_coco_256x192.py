"""Eight stacked hourglasses on COCO at 256x192, the second of three input sizes (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hourglass/hourglass8_coco_256x192.py
AP on COCO val2017, flip test: not trained yet
"""

_base_ = ['./hourglass8_coco_128x96.py']

model = dict(codec=dict(input_size=(192, 256), sigma_px=8.0))
