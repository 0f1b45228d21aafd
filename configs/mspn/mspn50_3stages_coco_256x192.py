"""MSPN of three stages on COCO at 256x192 (Li et al. 2019, arXiv:1901.00148).

Run: python tools/train.py configs/mspn/mspn50_3stages_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 75.8 with boxes of person AP 56.4)
"""

_base_ = ['mspn50_coco_256x192.py']

level_loss = dict(type='MeanSquaredError', loss_weight=0.25)
stage_losses = [level_loss, level_loss, level_loss, dict(type='OHKMLoss', topk=8)]
model = dict(
    codec=dict(kernel_sizes=(15, 11, 9, 7) * 2 + (11, 9, 7, 5)),
    backbone=dict(num_stages=3),
    loss=stage_losses * 3,
)
