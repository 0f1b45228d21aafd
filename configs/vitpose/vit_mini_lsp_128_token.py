"""Token distillation, second phase: the student is trained with the teacher's frozen token (Xu et al. 2022).

Train the token first: python tools/train.py configs/vitpose/vit_tiny_lsp_128_token.py
Run: python tools/train.py configs/vitpose/vit_mini_lsp_128_token.py
PCK@0.2 on the LSP test set, person-centric: 40.80 (1,200 steps; docs/lab/results.md)
"""

_base_ = ['./vit_mini_lsp_128.py']

model = dict(backbone=dict(num_tokens=1, token_dim=192))
token = dict(file='work_dirs/vit_tiny_lsp_128_token', prefix='backbone.tokens.', missing='keep')
init = {'backbone.tokens': token}
freeze = [r'^backbone\.tokens\.learnt']
