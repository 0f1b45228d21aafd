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
NAMES = sorted(file.stem.removeprefix('model_') for file in FOLDER.glob('model_*.npz'))
NOT_YET = {
    'ae': 'associative embedding comes with its own issue',
    'dekr': 'DEKR comes with its own issue',
    'rtmo': 'RTMO comes with its own issue',
}
CSPNEXT = {'s': (0.5, 0.33), 'm': (0.75, 0.67), 'l': (1.0, 1.0)}
NAME = re.compile(
    r'(?P<bins>simcc_)?(?:hrnet_w(?P<width>\d+)|res(?:net)?_?(?P<depth>\d+)|vitpose_(?P<size>small|base|large|huge)|'
    r'rtmpose_(?P<cspnext>s|m|l))_'
    r'(?:[a-z]+_)*(?P<skeleton>coco|mpii|crowdpose|aic)_(?P<rows>\d+)x(?P<columns>\d+)'
)


def network(name: str) -> dict[str, Any]:
    """The config of the network that a file's name says; one that is not covered skips the test."""
    found = NAME.fullmatch(name)
    if not found:
        pytest.skip(f'{name} is not yet covered: {NOT_YET.get(name.split("_")[0], "no network here has this name")}')
    size = (int(found['columns']), int(found['rows']))
    backbone, head = parts(found, size)
    bins = head in ('SimCCHead', 'RTMCCHead')
    codec = dict(type='SimCC' if bins else 'MSRAHeatmap', input_size=size)
    loss = dict(type='KLDivergence' if bins else 'MeanSquaredError')
    model = dict(type='TopDown', codec=codec, backbone=backbone, head=dict(type=head), loss=loss)
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
