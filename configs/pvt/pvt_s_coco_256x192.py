"""PVT-small on COCO at 256x192 (Wang et al. 2021, arXiv:2102.12122).

Run: python tools/train.py configs/pvt/pvt_s_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 71.4 with boxes of person AP 56.4)
"""

_base_ = ['../swin/swin_t_coco_256x192.py']

model = dict(backbone=dict(_delete_=True, type='PyramidVisionTransformer', out_strides=(32,)))
