"""Eight stacked hourglasses with DARK on COCO at 128x96 (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hourglass/hourglass8_coco_128x96_dark.py
AP on COCO val2017, flip test: not trained yet (published: AP 70.8 with boxes of person AP 56.4)
"""

_base_ = ['./hourglass8_coco_128x96.py']

model = dict(
    codec=dict(_delete_=True, type='DARKHeatmap', aligned=True, input_size=(96, 128), sigma_px=8.0, blur_kernel_size=11)
)
