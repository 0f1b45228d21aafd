"""Save outputs of small networks of MMPose: OTHER/bin/python tools/compare/save_networks.py OUT [NAMES...].

Runs under the other environment's Python (docs/lab/benchmark.md), with PYTHONPATH=.; OUT is tests/golden/networks. Each
network has few channels, and weights that follow from their names. OUT receives NAME.json.gz: the names and shapes of
the weights, and a sample of every output.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import stand_ins

stand_ins.install_stand_ins()

import mmcv.ops  # noqa: E402
import torch  # noqa: E402

from poseplug.models.layers.deform_conv import deform_conv2d  # noqa: E402


class DeformConv2d(torch.nn.Module):
    """Stands for mmcv's compiled layer; its plain version here is tested against loops over all cells."""

    def __init__(self, in_channels: int, out_channels: int, groups: int = 1, **_: Any):
        super().__init__()
        self.groups = groups
        self.weight = torch.nn.Parameter(torch.zeros(out_channels, in_channels // groups, 3, 3))

    def forward(self, x: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        return deform_conv2d(x, offsets, self.weight, self.groups)


mmcv.ops.DeformConv2d = DeformConv2d

import mmpose.models  # noqa: E402, F401  registers the parts; cannot be imported before the stand-ins
from inputs import create_images, create_weight, sample_numbers  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmpose.registry import MODELS  # noqa: E402

NORM = dict(type='BN')
MSE = dict(type='KeypointMSELoss', use_target_weight=True)
SMALL = dict(input_size=(48, 64), heatmap_size=(12, 16))
MSRA = dict(type='MSRAHeatmap', sigma=2, **SMALL)
PYRAMID = dict(unit_channels=16, num_stages=2, num_units=4, norm_cfg=NORM)
MSPN_HEAD = dict(
    type='MSPNHead',
    out_shape=(16, 12),
    out_channels=17,
    loss=[MSE] * 8,
    # Of the target of each stage and level; without effect on the outputs.
    level_indices=[0, 1, 2, 3, 1, 2, 3, 4],
    decoder=dict(type='MegviiHeatmap', kernel_size=5, **SMALL),
    **PYRAMID,
)
CPM_HEAD = dict(type='CPMHead', out_channels=17, deconv_out_channels=None, loss=MSE, decoder=MSRA)
HEATMAP_HEAD = dict(
    type='HeatmapHead', in_channels=8, out_channels=17, deconv_out_channels=None, loss=MSE, decoder=MSRA
)
DECONV_HEAD = {**HEATMAP_HEAD, 'deconv_out_channels': (16, 16, 16)}
PVT = dict(embed_dims=8, num_layers=[2, 1, 2, 1], num_heads=[1, 2, 5, 8])


def create_hrformer_stage(num_branches: int, num_modules: int) -> dict[str, Any]:
    """The settings of one stage of HRFormer, with 8 channels in the finest branch."""
    return dict(
        num_modules=num_modules,
        num_branches=num_branches,
        block='HRFORMERBLOCK',
        num_blocks=(2,) * num_branches,
        num_channels=tuple(8 * 2**i for i in range(num_branches)),
        num_heads=tuple(2**i for i in range(num_branches)),
        mlp_ratios=(4,) * num_branches,
        window_sizes=(7,) * num_branches,
    )


# Common to both high-resolution networks, which change a number or two in it.
FIRST_STAGE = dict(
    num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(2,), num_channels=(64,), num_heads=[2]
)
HRFORMER = dict(
    drop_path_rate=0.1,
    with_rpe=True,
    stage1={**FIRST_STAGE, 'num_mlp_ratios': [4]},
    stage2=create_hrformer_stage(2, 1),
    stage3=create_hrformer_stage(3, 1),
    stage4=create_hrformer_stage(4, 2),
)
SILU = dict(type='SiLU', inplace=True)
YOLOX = dict(norm_cfg=dict(type='BN', momentum=0.03, eps=0.001), act_cfg=dict(type='Swish'))
RTMW_HEAD = dict(
    type='RTMWHead',
    in_channels=128,
    out_channels=17,
    input_size=(64, 96),
    in_featuremap_size=(2, 3),
    simcc_split_ratio=2.0,
    final_layer_kernel_size=7,
    gau_cfg=dict(
        hidden_dims=32,
        s=16,
        expansion_factor=2,
        dropout_rate=0.0,
        drop_path=0.0,
        act_fn='SiLU',
        use_rel_bias=False,
        pos_enc=False,
    ),
    loss=dict(type='KLDiscretLoss', use_target_weight=True),
    decoder=dict(type='SimCCLabel', input_size=(64, 96), sigma=(4.9, 5.66), simcc_split_ratio=2.0, normalize=False),
)
BCE = dict(type='BCELoss')
YOLOXPOSE_HEAD = dict(
    type='YOLOXPoseHead',
    num_keypoints=17,
    featmap_strides=(8, 16, 32),
    head_module_cfg=dict(
        num_classes=1, in_channels=128, feat_channels=128, widen_factor=0.125, stacked_convs=2, **YOLOX
    ),
    prior_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
    assigner=dict(type='SimOTAAssigner', dynamic_k_indicator='oks'),
    loss_cls=BCE,
    loss_bbox=dict(type='IoULoss'),
    loss_obj=BCE,
    loss_oks=dict(type='OKSLoss', metainfo='configs/_base_/datasets/coco.py'),
    loss_vis=BCE,
    loss_bbox_aux=dict(type='L1Loss'),
)


def create_hrnet_stage(num_branches: int) -> dict[str, Any]:
    """The settings of one stage of HRNet, with 8 channels in the finest branch."""
    return dict(
        num_modules=1,
        num_branches=num_branches,
        block='BASIC',
        num_blocks=(1,) * num_branches,
        num_channels=tuple(8 * 2**i for i in range(num_branches)),
    )


HRNET = dict(
    stage1={**FIRST_STAGE, 'num_blocks': (4,)},
    stage2=create_hrnet_stage(2),
    stage3=create_hrnet_stage(3),
    stage4={**create_hrnet_stage(4), 'multiscale_output': True},
)
DEKR_HEAD = dict(
    type='DEKRHead',
    in_channels=120,
    num_keypoints=17,
    num_heatmap_filters=8,
    num_displacement_filters_per_keypoint=5,
    heatmap_loss=MSE,
    displacement_loss=dict(type='SoftWeightSmoothL1Loss'),
    decoder=dict(type='SPR', input_size=(64, 96), heatmap_size=(16, 24), sigma=(4, 2), generate_keypoint_heatmaps=True),
)
# name -> the input (width, height) and the parts
NETWORKS: dict[str, dict[str, Any]] = {
    'mspn': dict(size=(48, 64), backbone=dict(type='MSPN', num_blocks=[1, 1, 1, 2], **PYRAMID), head=MSPN_HEAD),
    'cpm': dict(
        size=(48, 64),
        backbone=dict(type='CPM', in_channels=3, out_channels=17, feat_channels=16, num_stages=3),
        head=dict(in_channels=17, num_stages=3, final_layer=None, **CPM_HEAD),
    ),
    'corner_hourglass': dict(
        size=(64, 128),
        backbone=dict(
            type='HourglassNet',
            num_stacks=1,
            downsample_times=2,
            stage_channels=(256, 16, 24),
            stage_blocks=(2, 2, 4),
            feat_channel=16,
        ),
        head=dict(in_channels=16, num_stages=1, **CPM_HEAD),
    ),
    'dekr': dict(
        size=(64, 96),
        backbone=dict(type='HRNet', in_channels=3, extra=HRNET),
        neck=dict(type='FeatureMapProcessor', concat=True),
        head=DEKR_HEAD,
    ),
    'hrformer': dict(size=(96, 128), backbone=dict(type='HRFormer', extra=HRFORMER, norm_cfg=NORM), head=HEATMAP_HEAD),
    'pvt': dict(
        size=(64, 128),
        backbone=dict(type='mmdet.PyramidVisionTransformer', **PVT),
        head={**DECONV_HEAD, 'in_channels': 64},
    ),
    'pvt_v2': dict(
        size=(64, 128),
        backbone=dict(type='mmdet.PyramidVisionTransformerV2', **PVT),
        head={**DECONV_HEAD, 'in_channels': 64},
    ),
    'swin': dict(
        size=(96, 128),
        backbone=dict(
            type='SwinTransformer',
            embed_dims=8,
            depths=[2, 2, 2, 2],
            num_heads=[1, 2, 2, 4],
            window_size=7,
            out_indices=[3],
        ),
        head={**DECONV_HEAD, 'in_channels': 64},
    ),
    'rtmw': dict(
        size=(64, 96),
        # The class has other constants of batch norms by default than the published configs, whose norms are plain.
        backbone=dict(
            type='CSPNeXt',
            deepen_factor=0.33,
            widen_factor=0.125,
            channel_attention=True,
            norm_cfg=NORM,
            act_cfg=SILU,
        ),
        neck=dict(
            type='CSPNeXtPAFPN',
            in_channels=[32, 64, 128],
            out_channels=None,
            out_indices=[1, 2],
            num_csp_blocks=2,
            norm_cfg=NORM,
            act_cfg=SILU,
        ),
        head=RTMW_HEAD,
    ),
    'yoloxpose': dict(
        size=(64, 96),
        backbone=dict(type='CSPDarknet', deepen_factor=0.33, widen_factor=0.125, **YOLOX),
        neck=dict(type='YOLOXPAFPN', in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1, **YOLOX),
        head=YOLOXPOSE_HEAD,
    ),
    'rsn': dict(size=(48, 64), backbone=dict(type='RSN', num_blocks=[1, 1, 1, 2], **PYRAMID), head=MSPN_HEAD),
}


def build_network(spec: dict[str, Any]) -> torch.nn.ModuleDict:
    """The parts of a network, with weights that follow from their names."""
    parts = {name: MODELS.build(dict(spec[name])) for name in ('backbone', 'neck', 'head') if name in spec}
    network = torch.nn.ModuleDict(parts).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            # The regular matrix of adaptive convolutions is a constant, not a weight.
            if value.is_floating_point() and not name.endswith('regular_matrix'):
                value.copy_(torch.from_numpy(create_weight(name, tuple(value.shape))))
    return network


def list_tensors(output: Any) -> list[torch.Tensor]:
    """The tensors of a network's output, in order."""
    if isinstance(output, torch.Tensor):
        return [output]
    return [tensor for part in output for tensor in list_tensors(part)]


def save_network(name: str, out: Path) -> None:
    """Write the names and shapes of the weights, and a sample of the outputs."""
    network = build_network(NETWORKS[name])
    size = NETWORKS[name]['size']
    with torch.no_grad():
        output: Any = torch.from_numpy(create_images(size))
        for part in network.values():
            output = part(output)
    outputs = [dict(shape=[*t.shape], numbers=sample_numbers(t.numpy())) for t in list_tensors(output)]
    shapes = {key: [*value.shape] for key, value in network.state_dict().items()}
    content = json.dumps(dict(input_size=size, shapes=shapes, outputs=outputs)).encode()
    # Without a time stamp, so that equal numbers are equal files.
    (out / f'{name}.json.gz').write_bytes(gzip.compress(content, mtime=0))
    print(name, len(shapes), [(o['shape'], f'{max(map(abs, o["numbers"])):.3g}') for o in outputs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('names', nargs='*', default=[], metavar='NAME', help=f'networks: {", ".join(NETWORKS)}')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    init_default_scope('mmpose')
    torch.set_num_threads(1)
    for name in args.names or NETWORKS:
        save_network(name, args.out)


if __name__ == '__main__':
    main()
