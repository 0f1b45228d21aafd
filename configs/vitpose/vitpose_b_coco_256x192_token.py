"""Token distillation, first phase: a token is trained with the frozen ViTPose-B (Xu et al. 2022, arXiv:2204.12484).

Train the teacher first: python tools/train.py configs/vitpose/vitpose_b_coco_256x192.py
The paper does not say how long the token is trained; ten epochs are our choice.
Run: python tools/train.py configs/vitpose/vitpose_b_coco_256x192_token.py
AP on COCO val2017, flip test: not trained yet (its paper reports the score of the student alone)
"""

_base_ = ['./vitpose_b_coco_256x192.py']

teacher = 'work_dirs/vitpose_b_coco_256x192'
model = dict(backbone=dict(num_tokens=1, drop_path_rate=0.0))
init = dict(backbone=dict(file=teacher, missing='keep'), head=teacher)
freeze = [r'^(?!backbone\.tokens)']
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))  # no other layer is trained
train_cfg = dict(max_epochs=10)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.001, begin=0, end=500),
    dict(type='CosineAnnealingLR', begin=0, end=1.0),
]
