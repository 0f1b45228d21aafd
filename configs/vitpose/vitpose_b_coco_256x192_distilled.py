"""ViTPose-B distilled from the heatmaps of ViTPose-L on COCO at 256x192 (Xu et al. 2022, arXiv:2204.12484).

Train the teacher first: python tools/train.py configs/vitpose/vitpose_l_coco_256x192.py
Run: python tools/train.py configs/vitpose/vitpose_b_coco_256x192_distilled.py
AP on COCO val2017, flip test: not trained yet (published: AP 76.3, and 75.8 without a teacher)
"""

_base_ = ['./vitpose_b_coco_256x192.py']

model = dict(
    type='DistilledTopDown',
    teacher=dict(config='configs/vitpose/vitpose_l_coco_256x192.py', weights='work_dirs/vitpose_l_coco_256x192'),
    distill_loss=dict(type='MeanSquaredError'),
)
