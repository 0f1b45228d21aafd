"""A small ViT with the classic decoder on Leeds Sports Pose at 128 px, to test ViTPose's distillation on a CPU.

Run: python tools/train.py configs/vitpose/vit_tiny_lsp_128.py
PCK@0.2 on the LSP test set, person-centric: 45.91 (1,600 steps; docs/lab/results.md)
"""

_base_ = ['../_base_/datasets/lsp_128.py', '../_base_/schedules/adamw_2400.py']

model = dict(
    type='TopDown',
    codec=dict(type='UDPHeatmap', input_size=(128, 128), sigma_px=6.0),
    backbone=dict(type='ViT', embed_dim=192, depth=6, num_heads=6, drop_path_rate=0.0),
    head=dict(type='DeconvHead', deconv_out_channels=96),
    loss=dict(type='MeanSquaredError', loss_weight=1000.0),
    flip_test=True,
)
# Trained on boxes fitted to 128 px; on the aligned grid of this codec an input measures 127.
crop_box = dict(padding=1.11 * 127 / 128)
steps = dict(crop=dict(transforms=dict(lspet=crop_box, coco=crop_box, synthetic=crop_box)))
train_dataloader = test_dataloader = dict(dataset=dict(pipeline=steps))
train_cfg = dict(max_steps=1600)
