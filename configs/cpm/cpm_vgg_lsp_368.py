"""Six-stage CPM on the first ten layers of VGG-19, Leeds Sports Pose at 368 px (Wei et al. 2016; later release).

The published network starts from VGG-19's weights for ImageNet; give them by --init, otherwise it starts from random
weights.
Run: python tools/train.py configs/cpm/cpm_vgg_lsp_368.py
PCK@0.2 on the LSP test set, person-centric: not trained yet (published, on MPII alone: 90.1 PCKh@0.5)
"""

_base_ = ['../_base_/datasets/lsp.py', '../_base_/schedules/cpm.py']

model = dict(
    type='TopDown',
    input_norm=dict(mean=(128, 128, 128), std=(256, 256, 256), channel_order='bgr'),
    codec=dict(type='CPMHeatmap', input_size=(368, 368)),
    backbone=dict(type='CPMVGGTrunk'),
    head=dict(
        type='CPMHead',
        num_stages=6,
        first_layers=((1, 512),),
        image_layers=(),
        context_layers=((7, 128),) * 5 + ((1, 128),),
        heatmaps_first=True,
    ),
    loss=dict(type='SumSquaredError'),
)
later_stages = r'^head\.(contexts|predict\.[1-9])\b.*'
optim_wrapper = dict(
    paramwise_cfg=dict(
        rules={
            '_delete_': True,
            later_stages + r'weight$': dict(lr_mult=4),
            later_stages + r'bias$': dict(lr_mult=8, decay_mult=0),
            r'bias$': dict(lr_mult=2, decay_mult=0),
        }
    )
)
