"""MMPose's convolutional networks under poseplug's names: all tensors of published files, and MMPose's own outputs.

`tools/compare/save_published_networks.py` wrote the outputs; the weights follow from their names. Names and shapes are
those of mmpose_shapes.json.gz in the folder POSEPLUG_ZOO.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from functools import cache, partial
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import torch

from poseplug.config.build import build_model
from poseplug.models.estimators.network import predict_from_features
from poseplug.models.losses.rle import RealNVP
from poseplug.zoo.mmpose import convert_state_dict

ROOT = Path(__file__).parents[2]
SHAPES = Path(os.environ.get('POSEPLUG_ZOO', ROOT.parent / 'shared/zoo')) / 'mmpose_shapes.json.gz'
OUTPUTS = Path(__file__).parent / 'mmpose_networks.npz'
INPUTS = run_path(str(ROOT / 'tools/compare/inputs.py'))
TOLERANCE = 1e-5  # of the largest output

V1D = dict(type='ResNet', deep_stem=True, pool_shortcut=True)
DECONV = dict(head=dict(type='DeconvHead'))
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {  # pattern of MMPose's configs, and the parts here
    'resnetv1d50': ('resnetv1d50_', dict(backbone=dict(**V1D, depth=50), **DECONV)),
    'resnetv1d101': ('resnetv1d101_', dict(backbone=dict(**V1D, depth=101), **DECONV)),
    'resnetv1d152': ('resnetv1d152_', dict(backbone=dict(**V1D, depth=152), **DECONV)),
}
for _depth in (50, 101, 152):
    _resnext = dict(type='ResNet', depth=_depth, groups=32, width_per_group=4)
    NETWORKS[f'resnext{_depth}'] = (f'resnext{_depth}_', dict(backbone=_resnext, **DECONV))
    _seresnet = dict(type='ResNet', depth=_depth, se_ratio=16)
    NETWORKS[f'seresnet{_depth}'] = (f'seresnet{_depth}_', dict(backbone=_seresnet, **DECONV))
for _depth in (50, 101, 200, 269):
    _resnest = dict(**V1D, depth=_depth, block='split_attention')
    NETWORKS[f'resnest{_depth}'] = (f'resnest{_depth}_', dict(backbone=_resnest, **DECONV))
for _depth in (50, 101):
    _scnet = dict(type='ResNet', depth=_depth, block='self_calibrated')
    NETWORKS[f'scnet{_depth}'] = (f'scnet{_depth}_', dict(backbone=_scnet, **DECONV))
MOBILENET = dict(type='MobileNetV2', last_channels=1280)
MOBILE_DECONV = dict(type='DeconvHead', deconv_out_channels=160, deconv_groups=160)
MOBILE_SIMCC = dict(type='SimCCHead', deconv_out_channels=160, deconv_groups=160)
VIPNAS_DECONV = dict(type='DeconvHead', deconv_out_channels=144, deconv_groups=16)
HRNET_V2 = dict(
    backbone=dict(type='HRNet', width=18, out_strides=(4, 8, 16, 32), upsample_mode='bilinear'),
    neck=dict(type='ConcatMaps'),
    head=dict(type='HeatmapHead', conv_layers=((1, 270),)),
)
SAME_SIZE = dict(head=dict(type='HeatmapHead'))
LITEHRNET_30 = dict(type='LiteHRNet', num_modules=(3, 8, 3))
SHUFFLENET_V2 = dict(type='ShuffleNetV2', last_channels=1024)
REGRESSION = dict(codec=dict(type='Regression'), head=dict(type='RegressionHead'), loss=dict(type='SmoothL1Loss'))
RLE = dict(codec=dict(type='RLERegression'), head=dict(type='RLEHead'), loss=dict(type='RLELoss'))
INTEGRAL = dict(
    codec=dict(type='Integral', match='mmpose'),
    loss=dict(keypoints=dict(type='SmoothL1Loss'), heatmap=dict(type='JensenShannon')),
)
SIMCC = dict(codec=dict(type='SimCC'), loss=dict(type='KLDivergence'))
RESNET = dict(type='ResNet')
for _depth in (50, 101, 152):
    _resnet = dict(type='ResNet', depth=_depth)
    NETWORKS[f'regression_res{_depth}'] = (f'res{_depth}_(8xb64|softwing)', dict(backbone=_resnet, **REGRESSION))
    NETWORKS[f'rle_res{_depth}'] = (f'res{_depth}_rle', dict(backbone=_resnet, **RLE))
NETWORKS |= {
    'rle_mobilenetv2': ('mobilenetv2_rle', dict(backbone=MOBILENET, **RLE)),
    'ipr_res50': ('res50_(8xb|dsnt)', dict(backbone=RESNET, head=dict(type='IntegralHead'), **INTEGRAL)),
    'ipr_res50_debias': (
        'res50_debias',
        dict(backbone=RESNET, head=dict(type='IntegralHead', beta=10.0, debias=True), **INTEGRAL),
    ),
    'mobilenetv2': ('mobilenetv2_8xb', dict(backbone=MOBILENET, **DECONV)),
    'simcc_mobilenetv2': (
        'mobilenetv2_wo',
        dict(backbone=MOBILENET, head=dict(type='SimCCHead', deconv_out_channels=()), **SIMCC),
    ),
    'shufflenetv1': ('shufflenetv1_', dict(backbone=dict(type='ShuffleNetV1'), **DECONV)),
    'shufflenetv2': ('shufflenetv2_', dict(backbone=SHUFFLENET_V2, **DECONV)),
    'litehrnet18': ('litehrnet-18_', dict(backbone=dict(type='LiteHRNet'), **SAME_SIZE)),
    'litehrnet30': ('litehrnet-30_', dict(backbone=LITEHRNET_30, **SAME_SIZE)),
    'vipnas_mbv3': ('vipnas-mbv3_', dict(backbone=dict(type='ViPNASMobileNetV3'), head=dict(**MOBILE_DECONV))),
    'vipnas_res50': ('vipnas-res50_', dict(backbone=dict(type='ViPNASResNet'), head=VIPNAS_DECONV)),
    'simcc_vipnas': ('vipnas-mbv3_', dict(backbone=dict(type='ViPNASMobileNetV3'), head=MOBILE_SIMCC, **SIMCC)),
    'hrnetv2_w18': ('hrnetv2-w18_', HRNET_V2),
    'vgg16': ('vgg16-bn_', dict(backbone=dict(type='VGG'), **DECONV)),
}
KINDS = {'regression': 'td-reg_', 'rle': 'td-reg_', 'ipr': 'ipr_', 'simcc': 'simcc_'}
INPUT_SIZES = {
    'ipr_res50': (256, 256),
    'ipr_res50_debias': (256, 256),
    'simcc_mobilenetv2': (192, 256),
    'simcc_vipnas': (192, 256),
}
SAVED = [name for name in NETWORKS if f'{name}/0/shape' in np.load(OUTPUTS).files]


@cache
def load_published() -> dict[str, Any]:
    """MMPose's models by config; the test is skipped where the file is absent."""
    if not SHAPES.is_file():
        pytest.skip(f'no {SHAPES}; name its folder by POSEPLUG_ZOO')
    return json.loads(gzip.decompress(SHAPES.read_bytes()))


def find_published(name: str) -> list[str]:
    """MMPose's configs of a network of `NETWORKS`."""
    kind = KINDS.get(name.split('_')[0], 'td-hm_')
    return sorted(path for path in load_published() if re.search(f'/{kind}{NETWORKS[name][0]}', path))


def list_names(path: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of one of MMPose's models."""
    return {name: tuple(shape) for name, (shape, _) in load_published()[path]['state'].items()}


def build_network(name: str, path: str) -> torch.nn.Module:
    """The network here, for the input and the number of keypoints of one of MMPose's configs."""
    entry = load_published()[path]
    head, (width, height) = entry['model']['head'], entry['codec']['input_size']
    count = head.get('out_channels') or head['num_joints']
    skeleton = dict(name='counted', keypoints=[f'keypoint{i}' for i in range(count)])
    parts = {'codec': dict(type='MSRAHeatmap'), 'loss': dict(type='MeanSquaredError'), **NETWORKS[name][1]}
    parts['codec'] = dict(parts['codec'], input_size=(width, height))
    return build_model(dict(skeleton=skeleton, model=dict(type='TopDown', **parts)))


def check_published(name: str, path: str) -> None:
    """Assert that the names and shapes of a published file fill the whole network, and its number of parameters."""
    with torch.device('meta'):
        model = build_network(name, path)
        weights = {key: torch.empty(shape) for key, shape in list_names(path).items()}
    state, report = convert_state_dict(model, weights, path)
    assert {n: v.shape for n, v in state.items()} == {n: v.shape for n, v in model.state_dict().items()}
    assert sorted(entry.name for entry in report.entries) == sorted(weights)
    buffers = re.compile(r'running_|num_batches_tracked|flow_model\.(loc|cov|mask)')
    left_out = 0  # parameters of the file, wholly or in part
    for entry in report.entries:
        if not buffers.search(entry.name):
            left_out += weights[entry.name].numel() - sum(state[target].numel() for target in entry.targets)
    assert sum(p.numel() for p in model.parameters()) == load_published()[path]['params'] - left_out


@pytest.mark.parametrize('name', NETWORKS)
def test_a_published_file_fills_the_whole_network(name):
    assert find_published(name), f'no published network matches {NETWORKS[name][0]}'
    check_published(name, find_published(name)[0])


@pytest.mark.slow
@pytest.mark.parametrize('name', NETWORKS)
def test_every_published_file_fills_the_whole_network(name):
    for path in find_published(name):
        check_published(name, path)


def create_named_weights(path: str) -> dict[str, torch.Tensor]:
    """Weights under MMPose's names, with values that follow from the names."""
    create = partial(INPUTS['create_weight'], drawn_as=np.float32)
    return {
        name: torch.tensor(0) if name.endswith('num_batches_tracked') else torch.from_numpy(create(name, shape))
        for name, shape in list_names(path).items()
    }


def load_outputs(name: str) -> list[tuple[list[int], np.ndarray]]:
    """The shape of each output of MMPose's network, and equally spaced values of it."""
    with np.load(OUTPUTS) as arrays:
        count = sum(key.startswith(f'{name}/') for key in arrays.files) // 2
        return [(arrays[f'{name}/{i}/shape'].tolist(), arrays[f'{name}/{i}/values']) for i in range(count)]


def sample_values(field: torch.Tensor, count: int) -> np.ndarray:
    """Equally spaced values of a field."""
    indices = np.linspace(0, field.numel() - 1, count).round().astype(int)
    return field.flatten().numpy()[indices]


def find_flow(model: torch.nn.Module) -> RealNVP:
    """The flow of a model's RLELoss."""
    return next(module for module in model.modules() if isinstance(module, RealNVP))


@pytest.mark.parametrize('name', SAVED)
@torch.inference_mode()
def test_outputs_are_those_of_mmpose(name):
    path = find_published(name)[0]
    with torch.device('meta'):  # initial weights would take longer than the rest
        model = build_network(name, path).eval()
    state, _ = convert_state_dict(model, create_named_weights(path), path)
    model.load_state_dict(state, assign=True)
    images = torch.from_numpy(INPUTS['create_network_input'](*INPUT_SIZES.get(name, (128, 128))))
    network = model.network
    fields = predict_from_features(network.neck, network.head, network.backbone(images))[-1]
    outputs = list(fields.values())
    if name.startswith('ipr'):
        outputs.reverse()
    if name.startswith('rle'):
        outputs.append(find_flow(model)(torch.from_numpy(INPUTS['create_errors']())))
    for field, (shape, expected) in zip(outputs, load_outputs(name), strict=True):
        assert list(field.shape) == shape
        difference = np.abs(sample_values(field, len(expected)) - expected).max()
        assert difference <= TOLERANCE * np.abs(expected).max()
