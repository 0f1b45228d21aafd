"""HRNet-W32 on COCO at 128x96 (Sun et al. 2019, arXiv:1902.09212).

Run: python tools/train.py configs/hrnet/hrnet_w32_coco_128x96.py
AP on COCO val2017, flip test: not trained yet (published: AP 66.9 with boxes of person AP 56.4)
"""

_base_ = ['./hrnet_w32_coco_256x192.py']

model = dict(codec=dict(input_size=(96, 128), sigma_px=4.0))
