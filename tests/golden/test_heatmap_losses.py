"""Losses on heatmaps against the values of MMPose 1.3.2: losses_inputs*.npz and the 'losses' of models_values.json."""

import json

import numpy as np
import pytest
import torch

from poseplug.models.losses.ohkm import OHKMLoss
from poseplug.models.losses.squared import MeanSquaredError
from tests.golden.conftest import need_golden_file

LOSSES = {
    'KeypointMSELoss(weight)': (MeanSquaredError(), True),
    'KeypointMSELoss(no weight)': (MeanSquaredError(), False),
    'KeypointMSELoss(skip_empty_channel)': (MeanSquaredError(skip_empty_channel=True), True),
    'KeypointOHKMMSELoss(weight,topk=8)': (OHKMLoss(topk=8), True),
}


@pytest.mark.parametrize('name', LOSSES)
def test_losses_of_heatmaps_are_those_of_mmpose(golden, name):
    values, inputs = (need_golden_file(golden, file) for file in ('models_values.json', 'losses_inputs.npz'))
    with np.load(inputs) as content:
        predicted, target, weight = (torch.from_numpy(content[f'hm_{n}']) for n in ('out', 'target', 'weight'))
    loss, weighted = LOSSES[name]
    expected = json.loads(values.read_text())['losses'][name]
    assert loss(predicted, target, weight if weighted else None).item() == pytest.approx(expected, rel=1e-6)
