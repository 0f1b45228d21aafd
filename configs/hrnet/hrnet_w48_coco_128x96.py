"""HRNet-W48 on COCO at 128x96 (Sun et al. 2019, arXiv:1902.09212).

Run: python tools/train.py configs/hrnet/hrnet_w48_coco_128x96.py
AP on COCO val2017, flip test: not trained yet (published: AP 68.0 with boxes of person AP 56.4)
"""

_base_ = ['./hrnet_w32_coco_128x96.py']

model = dict(backbone=dict(width=48))
