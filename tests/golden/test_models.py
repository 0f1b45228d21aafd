"""Whole networks against the numbers of MMPose 1.3.2: model_*, with weights that follow from MMPose's names.

The network follows from the name of the file, such as model_hrnet_w32_coco_256x192. The weights are converted by
`poseplug.zoo.mmpose`, as a published checkpoint would be.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import torch

from poseplug.config.build import build_model
from poseplug.zoo.mmpose import convert_state_dict

TOLERANCE = 1e-4  # of the largest output
FOLDER = Path(os.environ.get('POSEPLUG_GOLDEN', Path(__file__).parents[3] / 'shared/golden'))
ALL_NAMES = sorted(file.stem.removeprefix('model_') for file in FOLDER.glob('model_*.npz'))
NAMES = [name for name in ALL_NAMES if not name.startswith('rtmo')]
ONE_STAGE = [name for name in ALL_NAMES if name.startswith('rtmo')]
CSPNEXT = {'s': (0.5, 0.33), 'm': (0.75, 0.67), 'l': (1.0, 1.0)}
NAME = re.compile(
    r'(?P<tags>ae_)?(?P<bins>simcc_)?(?:hrnet_w(?P<width>\d+)|res(?:net)?_?(?P<depth>\d+)|vitpose_(?P<size>small|base|large|huge)|'
    r'rtmpose_(?P<cspnext>s|m|l))_'
    r'(?:[a-z]+_)*(?P<skeleton>coco|mpii|crowdpose|aic)_(?P<rows>\d+)(?:x(?P<columns>\d+))?'
)


def build_config(name: str) -> dict[str, Any]:
    """The config of the network of a file's name; a name that is not covered skips the test."""
    match = NAME.fullmatch(name)
    if not match:
        pytest.skip(f'{name} is not yet covered: no network here has this name')
    size = (int(match['columns'] or match['rows']), int(match['rows']))
    backbone, head = choose_parts(match, size)
    estimator, codec, loss = 'TopDown', 'MSRAHeatmap', 'MeanSquaredError'
    if head in ('SimCCHead', 'RTMCCHead'):
        codec, loss = 'SimCC', 'KLDivergence'
    elif match['tags']:
        estimator, codec = 'BottomUp', 'Tags'
    codec_config = dict(type=codec, input_size=size)
    model = dict(type=estimator, codec=codec_config, backbone=backbone, head=dict(type=head), loss=dict(type=loss))
    return dict(skeleton=match['skeleton'], model=model)


def choose_parts(match: re.Match[str], size: tuple[int, int]) -> tuple[dict[str, Any], str]:
    """The backbone and the head of a name."""
    if match['cspnext']:
        widen_factor, deepen_factor = CSPNEXT[match['cspnext']]
        scale = dict(widen_factor=widen_factor, deepen_factor=deepen_factor)
        return dict(type='CSPNeXt', out_strides=(32,), **scale), 'RTMCCHead'
    if match['size']:
        backbone, head = dict(type='ViT', arch=match['size'][0].upper(), input_size=size), 'DeconvHead'
    elif match['width']:
        backbone, head = dict(type='HRNet', width=int(match['width'])), 'HeatmapHead'
    else:
        backbone, head = dict(type='ResNet', depth=int(match['depth'])), 'DeconvHead'
    return backbone, 'SimCCHead' if match['bins'] else head


def load_weights(golden: Path, name: str) -> dict[str, torch.Tensor]:
    """A state dict with MMPose's names, whose values follow from the names."""
    value_for = run_path(str(golden / 'weights_from_names.py'))['value_for']
    shapes = json.loads((golden / f'mmpose_keys/{name}.json').read_text())
    return {
        key: torch.tensor(0) if key.endswith('num_batches_tracked') else torch.from_numpy(value_for(key, shape))
        for key, shape in shapes.items()
    }


@pytest.mark.parametrize('name', NAMES or ['none'])
def test_networks_with_converted_weights_have_mmposes_outputs(golden, name):
    if name == 'none':
        pytest.skip(f'no model_*.npz in {golden}')
    model = build_model(build_config(name)).eval()
    state, _ = convert_state_dict(model, load_weights(golden, name), name)
    model.load_state_dict(state)
    with np.load(golden / f'model_{name}.npz') as arrays:
        images, expected = torch.from_numpy(arrays['input']), [arrays[n] for n in sorted(arrays) if n != 'input']
    with torch.no_grad():
        fields = model.network.head(model.network.backbone(images))[-1]
    for field, array in zip(fields.values(), expected, strict=True):
        assert field.shape == array.shape
        assert np.abs(field.numpy() - array).max() <= TOLERANCE * np.abs(array).max()


RTMO = {  # widen_factor, deepen_factor, channels of the features and of the pose branch
    't': (0.375, 0.33, 192, 104),
    's': (0.5, 0.33, 256, 144),
    'm': (0.75, 0.67, 384, 216),
    'l': (1.0, 1.0, 512, 288),
}
SPLIT = ('score', 'raw', 'visible', 'vector')  # two arrays each, one per level, in MMPose's order


def build_rtmo_config(name: str) -> dict[str, Any]:
    """The config of the RTMO of a file's name."""
    kind, size, skeleton, side = name.split('_')
    if kind != 'rtmo' or size not in RTMO:
        pytest.skip(f'{name} is not yet covered: no network here has this name')
    widen_factor, deepen_factor, channels, pose_channels = RTMO[size]
    scale = dict(widen_factor=widen_factor, deepen_factor=deepen_factor)
    model = dict(
        type='OneStage',
        codec=dict(type='DenseInstances', input_size=(int(side), int(side))),
        backbone=dict(type='CSPDarknet', **scale),
        neck=dict(type='HybridEncoder', out_channels=channels, **scale),
        head=dict(type='RTMOHead', pose_channels=pose_channels),
    )
    return dict(skeleton=skeleton, model=model)


@pytest.mark.parametrize('name', ONE_STAGE or ['none'])
def test_rtmo_with_converted_weights_has_mmposes_outputs(golden, name):
    """Compares the cells of both levels. The sine periods of a published file are the usual ones; these are random."""
    if name == 'none':
        pytest.skip(f'no model_rtmo_*.npz in {golden}')
    model, state = build_model(build_rtmo_config(name)).eval(), load_weights(golden, name)
    model.load_state_dict(convert_state_dict(model, state, name)[0])
    model.network.neck.encoder.periods.copy_(state['neck.sincos_pos_enc.dim_t'])
    with np.load(golden / f'model_{name}.npz') as arrays:
        images, outputs = torch.from_numpy(arrays['input']), [arrays[f'out{i}'] for i in range(2 * len(SPLIT))]
    with torch.no_grad():
        network = model.network
        (fields,) = network.head(network.neck(network.backbone(images)))
    for i, field in enumerate(SPLIT):
        levels = [o.reshape(*o.shape[:2], -1).swapaxes(1, 2) for o in outputs[2 * i : 2 * i + 2]]
        expected = np.concatenate(levels, axis=1)
        output = fields[field].numpy().reshape(expected.shape)
        assert np.abs(output - expected).max() <= TOLERANCE * np.abs(expected).max(), field


@pytest.mark.parametrize(('size', 'millions'), [('s', 9.9), ('m', 22.6), ('l', 44.8)])
def test_rtmo_has_the_published_number_of_parameters(size, millions):
    """The published number includes the statistics of batch norms; without them s has 9,868,899."""
    with torch.device('meta'):
        model = build_model(build_rtmo_config(f'rtmo_{size}_coco_640'))
    counts = [sum(t.numel() for t in tensors) for tensors in (model.parameters(), model.buffers())]
    assert round(sum(counts) / 1e6, 1) == millions
    assert size != 's' or counts[0] == 9_868_899
