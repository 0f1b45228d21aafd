"""Small networks of every family against the outputs of MMPose 1.3.2 in networks/, by the same weights.

`tools/compare/save_networks.py` writes the numbers. The weights follow from MMPose's names of them, and are converted
by `poseplug.zoo.mmpose`, as a published checkpoint would be.
"""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import torch

from poseplug.config.build import build_model
from poseplug.models.heads.one_stage import OneStageHead
from poseplug.zoo.mmpose import convert_state_dict

ONE_STAGE_OUTPUTS = ('score', 'objectness', 'raw', 'proxy', 'visible')  # in MMPose's order
FOLDER = Path(__file__).parent / 'networks'
INPUTS = run_path(str(Path(__file__).parents[2] / 'tools/compare/inputs.py'))
TOLERANCE = 3e-6  # of the largest output; the files have seven digits
BN = dict(type='BN')
PYRAMID = dict(num_stages=2, unit_channels=16, num_blocks=(1, 1, 1, 2))
MSRA = dict(type='MSRAHeatmap')
EIGHTH = dict(widen_factor=0.125, deepen_factor=0.33)
YOLOX_POSE = dict(project_inputs=False, pose_depth=4, has_objectness=True, cell_offset=0.0)
PVT = dict(embed_dims=(8, 16, 40, 64), depths=(2, 1, 2, 1), num_heads=(1, 2, 5, 8))
DECONVS = dict(type='DeconvHead', deconv_out_channels=16)
# name -> the parts of the same network here
NETWORKS: dict[str, dict[str, Any]] = {
    'cpm': dict(
        backbone=dict(type='CPMTrunk', norm_cfg=BN, center_pooling=True),
        head=dict(
            type='CPMHead',
            num_stages=3,
            first_layers=((5, 32), (9, 512), (1, 512)),
            context_layers=((11, 16), (11, 16), (11, 16), (1, 16)),
            heatmaps_first=True,
            center_map='none',
            norm_cfg=BN,
        ),
        codec=dict(type='MSRAHeatmap', stride=8),
    ),
    'corner_hourglass': dict(
        backbone=dict(type='CornerHourglass', channels=(256, 16, 24), num_blocks=(2, 2, 4), feat_channels=16),
        head=dict(type='HeatmapHead'),
        codec=MSRA,
    ),
    'dekr': dict(
        type='BottomUp',
        backbone=dict(type='HRNet', width=8, num_modules=(1, 1, 1), num_blocks=1, out_strides=(4, 8, 16, 32)),
        head=dict(type='DEKRHead', heatmap_channels=8, channels_per_branch=5),
        codec=dict(type='CenterDisplacement'),
    ),
    'hrformer': dict(
        backbone=dict(type='HRFormer', width=8, num_modules=(1, 1, 2)), head=dict(type='HeatmapHead'), codec=MSRA
    ),
    'pvt': dict(backbone=dict(type='PyramidVisionTransformer', **PVT), head=DECONVS, codec=MSRA),
    'pvt_v2': dict(backbone=dict(type='PyramidVisionTransformerV2', **PVT), head=DECONVS, codec=MSRA),
    'swin': dict(
        backbone=dict(
            type='SwinTransformer', embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4), out_strides=(32,)
        ),
        head=DECONVS,
        codec=MSRA,
    ),
    'rtmw': dict(
        backbone=dict(type='CSPNeXt', out_strides=(8, 16, 32), **EIGHTH),
        neck=dict(type='CSPNeXtPAFPN', num_outputs=2),
        head=dict(type='RTMWHead', hidden_dims=32, query_dims=16),
        codec=dict(type='SimCC'),
        loss=dict(type='KLDivergence'),
    ),
    'yoloxpose': dict(
        type='OneStage',
        backbone=dict(type='CSPDarknet', **EIGHTH),
        neck=dict(type='YOLOXPAFPN', out_channels=16),
        head=dict(type='YOLOXPoseHead', feat_channels=16, **YOLOX_POSE),
        codec=dict(type='DenseInstances'),
        loss=None,
    ),
    'mspn': dict(backbone=dict(type='MSPN', **PYRAMID), head=dict(type='MSPNHead'), codec=MSRA),
    'rsn': dict(backbone=dict(type='RSN', **PYRAMID), head=dict(type='MSPNHead'), codec=MSRA),
}


def build_network(name: str, input_size: tuple[int, int]) -> Any:
    """The model of a name, with initial weights."""
    parts = dict(NETWORKS[name])
    codec = dict(input_size=input_size, **parts.pop('codec'))
    model = dict(type='TopDown', loss=dict(type='MeanSquaredError'), codec=codec) | parts
    return build_model(dict(skeleton='coco', model=model)).eval()


def run_parts(network: Any, images: torch.Tensor) -> list[torch.Tensor]:
    """Every tensor of every stage."""
    features = network.backbone(images)
    if network.neck is not None:
        features = network.neck(features)
    if isinstance(network.head, OneStageHead):
        return run_output_convs(network.head, features)
    return [field for stage in network.head(features) for field in stage.values()]


def run_output_convs(head: Any, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """What the last convolutions of a one-stage head predict, output by output and level by level."""
    outputs: dict[str, list[torch.Tensor]] = {name: [] for name in ONE_STAGE_OUTPUTS}
    for name, maps in outputs.items():
        for conv in head.outputs[name]:
            conv.register_forward_hook(lambda _, __, output, maps=maps: maps.append(output))
    head(features)
    return [level for maps in outputs.values() for level in maps]


def test_every_family_has_a_file():
    assert {file.name.removesuffix('.json.gz') for file in FOLDER.glob('*.json.gz')} == {*NETWORKS}


@pytest.mark.parametrize('name', NETWORKS)
def test_a_network_with_converted_weights_has_mmposes_outputs(name):
    golden = json.loads(gzip.decompress((FOLDER / f'{name}.json.gz').read_bytes()))
    model = build_network(name, tuple(golden['input_size']))
    weights = {key: torch.from_numpy(INPUTS['create_weight'](key, shape)) for key, shape in golden['shapes'].items()}
    state, _ = convert_state_dict(model, weights, name)
    model.load_state_dict(state)
    with torch.no_grad():
        outputs = run_parts(model.network, torch.from_numpy(INPUTS['create_images'](golden['input_size'])))
    for output, expected in zip(outputs, golden['outputs'], strict=True):
        assert [*output.shape] == expected['shape']
        numbers = np.array(INPUTS['sample_numbers'](output.numpy()))
        assert np.abs(numbers - expected['numbers']).max() <= TOLERANCE * np.abs(expected['numbers']).max()
