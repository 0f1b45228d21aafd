"""PVT v2 B2 on COCO at 256x192 (Wang et al. 2022, arXiv:2106.13797).

Run: python tools/train.py configs/pvt/pvtv2_b2_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 73.7 with boxes of person AP 56.4)
"""

_base_ = ['../swin/swin_t_coco_256x192.py']

model = dict(backbone=dict(_delete_=True, type='PyramidVisionTransformerV2', out_strides=(32,)))
