"""Token distillation, second phase: ViTPose-S is trained with the frozen token of B (Xu et al. 2022, arXiv:2204.12484).

Train the token first: python tools/train.py configs/vitpose/vitpose_b_coco_256x192_token.py
A projection, trained with the student, maps the token from the width of B to that of S.
Run: python tools/train.py configs/vitpose/vitpose_s_coco_256x192_token.py
AP on COCO val2017, flip test: not trained yet (its paper distills B from L alone)
"""

_base_ = ['./vitpose_s_coco_256x192.py']

model = dict(backbone=dict(num_tokens=1, token_dim=768))
token = dict(file='work_dirs/vitpose_b_coco_256x192_token', prefix='backbone.tokens.', missing='keep')
init = {'backbone.tokens': token}
freeze = [r'^backbone\.tokens\.learnt']
