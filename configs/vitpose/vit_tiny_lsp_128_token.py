"""Token distillation, first phase: a token is trained with the frozen teacher (Xu et al. 2022, section 3.3).

Train the teacher first: python tools/train.py configs/vitpose/vit_tiny_lsp_128.py
Run: python tools/train.py configs/vitpose/vit_tiny_lsp_128_token.py
PCK@0.2 on the LSP test set, person-centric: 45.99 (300 steps; docs/lab/results.md)
"""

_base_ = ['./vit_tiny_lsp_128.py']

teacher = 'work_dirs/vit_tiny_lsp_128'
model = dict(backbone=dict(num_tokens=1))
init = dict(backbone=dict(file=teacher, missing='keep'), head=teacher)
freeze = [r'^(?!backbone\.tokens)']
train_cfg = dict(max_steps=300)
