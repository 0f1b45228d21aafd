"""RLE with ResNet-50 on COCO at 256x192 (Li et al. 2021, arXiv:2107.11291), by MMPose's recipe.

Run: python tools/train.py configs/regression/rle_r50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 70.4 with boxes of person AP 56.4)
"""

_base_ = ['./regression_r50_coco_256x192.py']

model = dict(codec=dict(type='RLERegression'), head=dict(type='RLEHead'), loss=dict(type='RLELoss'))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
