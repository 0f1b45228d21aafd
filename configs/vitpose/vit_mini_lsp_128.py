"""A ViT of half the width and two thirds of the depth, trained without a teacher on Leeds Sports Pose.

Run: python tools/train.py configs/vitpose/vit_mini_lsp_128.py
PCK@0.2 on the LSP test set, person-centric: 40.54 (1,200 steps; docs/lab/results.md)
"""

_base_ = ['./vit_tiny_lsp_128.py']

model = dict(backbone=dict(embed_dim=96, depth=4, num_heads=3), head=dict(deconv_out_channels=48))
train_cfg = dict(max_steps=1200)
