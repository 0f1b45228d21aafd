"""Integral regression with ResNet-50 on COCO at 256x192 (Sun et al. 2018, arXiv:1711.08229).

The distributions are kept narrow by Nibali et al. 2018's divergence (arXiv:1801.07372), as in MMPose's recipe, which
has an input of 256x256 and starts from a network trained on heatmaps.

Run: python tools/train.py configs/regression/integral_r50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose at 256x256: AP 67.4, boxes of person AP 56.4)
"""

_base_ = ['./regression_r50_coco_256x192.py']

model = dict(
    codec=dict(type='Integral', sigma_px=8.0),
    head=dict(type='IntegralHead'),
    loss=dict(_delete_=True, keypoints=dict(type='SmoothL1Loss'), heatmap=dict(type='JensenShannon')),
)
