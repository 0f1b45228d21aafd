"""ViTPose+: experts for COCO, AI Challenger and MPII in every block (Xu et al. 2022, arXiv:2212.04246).

The rate is that of a step of 1,024 instances.
Run: python tools/train.py configs/vitpose/vitpose_b_multi_256x192_experts.py
AP on COCO val2017, flip test: not trained yet (its paper trains on six data sets: AP 77.0)
"""

_base_ = ['./vitpose_b_multi_256x192.py']

model = dict(backbone=dict(experts=('coco', 'aic', 'mpii')))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_dataloader = dict(batch_size=128)
