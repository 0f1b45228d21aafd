"""HRNet-W32 with DARK on COCO at 256x192 (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hrnet/hrnet_w32_coco_256x192_dark.py
AP on COCO val2017, flip test: not trained yet (published: AP 75.6 with boxes of person AP 56.4)
"""

_base_ = ['./hrnet_w32_coco_256x192.py']

model = dict(codec=dict(_delete_=True, type='DARKHeatmap', aligned=True, input_size=(192, 256), sigma_px=8.0))
