"""A small ViT with the classic decoder on Leeds Sports Pose at 128 px, to try ViTPose's distillation on a CPU.

Run: python tools/train.py configs/vitpose/vit_tiny_lsp_128.py
PCK@0.2 on the LSP test set, person-centric: not trained yet
"""

_base_ = ['../_base_/datasets/lsp_128.py', '../_base_/schedules/adamw_2400.py']

model = dict(
    type='TopDown',
    codec=dict(type='UDPHeatmap', input_size=(128, 128), sigma=6.0),
    backbone=dict(type='ViT', dim=192, depth=6, heads=6, drop_path=0.0),
    head=dict(type='DeconvHead', deconvs=96),
    loss=dict(type='MeanSquaredError', factor=1000.0),
    flip_test=True,
)
