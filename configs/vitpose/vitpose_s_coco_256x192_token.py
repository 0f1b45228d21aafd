"""Token distillation, second phase: ViTPose-S learns beside the frozen token of B (Xu et al. 2022, arXiv:2204.12484).

The token comes first: python tools/train.py configs/vitpose/vitpose_b_coco_256x192_token.py
A projection, which learns with the student, brings the token from the width of B to that of S.
Run: python tools/train.py configs/vitpose/vitpose_s_coco_256x192_token.py
AP on COCO val2017, flip test: not trained yet (its paper teaches B by L alone)
"""

_base_ = ['./vitpose_s_coco_256x192.py']

model = dict(backbone=dict(tokens=1, token_width=768))
token = dict(file='work_dirs/vitpose_b_coco_256x192_token', prefix='backbone.tokens.', missing='keep')
init = {'backbone.tokens': token}
freeze = [r'^backbone\.tokens\.learnt']
