"""Whole networks against the numbers of MMPose 1.3.2: model_*, with weights that follow from MMPose's names.

Files are found by pattern, and their names say the network: model_hrnet_w32_coco_256x192 and the like. The weights go
through `poseplug.compat.mmpose`, as a published checkpoint would.
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

from poseplug.build import build_model
from poseplug.compat.mmpose import converted

TOLERANCE = 1e-4  # of the largest output
FOLDER = Path(os.environ.get('POSEPLUG_GOLDEN', Path(__file__).parents[3] / 'shared/golden'))
EVERY = sorted(file.stem.removeprefix('model_') for file in FOLDER.glob('model_*.npz'))
NAMES = [name for name in EVERY if not name.startswith('rtmo')]
ONE_STAGE = [name for name in EVERY if name.startswith('rtmo')]
CSPNEXT = {'s': (0.5, 0.33), 'm': (0.75, 0.67), 'l': (1.0, 1.0)}
NAME = re.compile(
    r'(?P<tags>ae_)?(?P<bins>simcc_)?(?:hrnet_w(?P<width>\d+)|res(?:net)?_?(?P<depth>\d+)|vitpose_(?P<size>small|base|large|huge)|'
    r'rtmpose_(?P<cspnext>s|m|l))_'
    r'(?:[a-z]+_)*(?P<skeleton>coco|mpii|crowdpose|aic)_(?P<rows>\d+)(?:x(?P<columns>\d+))?'
)


def network(name: str) -> dict[str, Any]:
    """The config of the network that a file's name says; one that is not covered skips the test."""
    found = NAME.fullmatch(name)
    if not found:
        pytest.skip(f'{name} is not yet covered: no network here has this name')
    size = (int(found['columns'] or found['rows']), int(found['rows']))
    backbone, head = parts(found, size)
    bins = head in ('SimCCHead', 'RTMCCHead')
    codec = dict(type='SimCC' if bins else 'Tags' if found['tags'] else 'MSRAHeatmap', input_size=size)
    loss = dict(type='KLDivergence' if bins else 'MeanSquaredError')
    frame = 'BottomUp' if found['tags'] else 'TopDown'
    model = dict(type=frame, codec=codec, backbone=backbone, head=dict(type=head), loss=loss)
    return dict(skeleton=found['skeleton'], model=model)


def parts(found: re.Match[str], size: tuple[int, int]) -> tuple[dict[str, Any], str]:
    """The backbone and the head that a name says."""
    if found['cspnext']:
        widen, deepen = CSPNEXT[found['cspnext']]
        return dict(type='CSPNeXt', widen=widen, deepen=deepen, out_strides=(32,)), 'RTMCCHead'
    if found['size']:
        backbone, head = dict(type='ViT', size=found['size'][0].upper(), input_size=size), 'DeconvHead'
    elif found['width']:
        backbone, head = dict(type='HRNet', width=int(found['width'])), 'HeatmapHead'
    else:
        backbone, head = dict(type='ResNet', depth=int(found['depth'])), 'DeconvHead'
    return backbone, 'SimCCHead' if found['bins'] else head


def weights(golden: Path, name: str) -> dict[str, torch.Tensor]:
    """A state dict as MMPose has it, its values made from its names."""
    value_for = run_path(str(golden / 'weights_from_names.py'))['value_for']
    shapes = json.loads((golden / f'mmpose_keys/{name}.json').read_text())
    return {
        key: torch.tensor(0) if key.endswith('num_batches_tracked') else torch.from_numpy(value_for(key, shape))
        for key, shape in shapes.items()
    }


@pytest.mark.parametrize('name', NAMES or ['none'])
def test_networks_with_converted_weights_give_mmposes_outputs(golden, name):
    if name == 'none':
        pytest.skip(f'no model_*.npz in {golden}')
    model = build_model(network(name)).eval()
    state, _ = converted(model, weights(golden, name), name)
    model.load_state_dict(state)
    with np.load(golden / f'model_{name}.npz') as arrays:
        images, expected = torch.from_numpy(arrays['input']), [arrays[n] for n in sorted(arrays) if n != 'input']
    with torch.no_grad():
        fields = model.head(model.backbone(images))[-1]
    for found, wanted in zip(fields.values(), expected, strict=True):
        assert found.shape == wanted.shape
        assert np.abs(found.numpy() - wanted).max() <= TOLERANCE * np.abs(wanted).max()


RTMO = {  # widening, deepening, width of the features and of the pose branch
    't': (0.375, 0.33, 192, 104),
    's': (0.5, 0.33, 256, 144),
    'm': (0.75, 0.67, 384, 216),
    'l': (1.0, 1.0, 512, 288),
}
SPLIT = ('score', 'raw', 'visible', 'vector')  # what two files each hold, one a level, in MMPose's order


def one_stage(name: str) -> dict[str, Any]:
    """The config of the RTMO that a file's name says."""
    kind, size, skeleton, side = name.split('_')
    if kind != 'rtmo' or size not in RTMO:
        pytest.skip(f'{name} is not yet covered: no network here has this name')
    widen, deepen, features, width = RTMO[size]
    scale = dict(widen=widen, deepen=deepen)
    model = dict(
        type='OneStage',
        codec=dict(type='People', input_size=(int(side), int(side))),
        backbone=dict(type='CSPDarknet', **scale),
        neck=dict(type='HybridEncoder', out=features, **scale),
        head=dict(type='RTMOHead', width=width),
    )
    return dict(skeleton=skeleton, model=model)


@pytest.mark.parametrize('name', ONE_STAGE or ['none'])
def test_rtmo_with_converted_weights_gives_mmposes_outputs(golden, name):
    """Of the cells of either level; a published file's periods of sines are the usual ones, these are random."""
    if name == 'none':
        pytest.skip(f'no model_rtmo_*.npz in {golden}')
    model, given = build_model(one_stage(name)).eval(), weights(golden, name)
    model.load_state_dict(converted(model, given, name)[0])
    model.neck.encoder.periods.copy_(given['neck.sincos_pos_enc.dim_t'])
    with np.load(golden / f'model_{name}.npz') as arrays:
        images, outputs = torch.from_numpy(arrays['input']), [arrays[f'out{i}'] for i in range(2 * len(SPLIT))]
    with torch.no_grad():
        (fields,) = model.head(model.neck(model.backbone(images)))
    for i, field in enumerate(SPLIT):
        levels = [o.reshape(*o.shape[:2], -1).swapaxes(1, 2) for o in outputs[2 * i : 2 * i + 2]]
        wanted = np.concatenate(levels, axis=1)
        found = fields[field].numpy().reshape(wanted.shape)
        assert np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max(), field


@pytest.mark.parametrize(('size', 'millions'), [('s', 9.9), ('m', 22.6), ('l', 44.8)])
def test_rtmo_has_the_published_number_of_parameters(size, millions):
    """Which counts the statistics of batch norms, too; without them s has 9,868,899."""
    with torch.device('meta'):
        model = build_model(one_stage(f'rtmo_{size}_coco_640'))
    counts = [sum(t.numel() for t in tensors) for tensors in (model.parameters(), model.buffers())]
    assert round(sum(counts) / 1e6, 1) == millions
    assert size != 's' or counts[0] == 9_868_899
