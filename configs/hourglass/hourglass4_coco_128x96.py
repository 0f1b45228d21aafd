"""Four stacked hourglasses on COCO at 128x96 (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hourglass/hourglass4_coco_128x96.py
AP on COCO val2017, flip test: not trained yet (published: AP 66.2 with boxes of person AP 56.4)
"""

_base_ = ['./hourglass8_coco_128x96.py']

model = dict(head=dict(num_stacks=4))
