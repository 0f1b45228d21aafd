"""MSPN of one stage on COCO at 256x192 (Li et al. 2019, arXiv:1901.00148).

More stages: `model.backbone.num_stages`, with four kernel sizes and four losses for each.

Run: python tools/train.py configs/mspn/mspn50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 72.3 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/adam_210.py']

level_loss = dict(type='MeanSquaredError', loss_weight=0.25)
model = dict(
    type='TopDown',
    codec=dict(
        type='CPNHeatmap',
        input_size=(192, 256),
        kernel_sizes=(11, 9, 7, 5),
        refined_stage=False,
        refine='quarter',
        smoothing_kernel_size=5,
    ),
    backbone=dict(type='MSPN', num_stages=1),
    head=dict(type='MSPNHead'),
    loss=[level_loss, level_loss, level_loss, dict(type='OHKMLoss', topk=8)],
    flip_test=True,
)
