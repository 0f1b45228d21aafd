"""Costs by number of people: the people are found, and memory is that of tensors that live at a time."""

import pytest
import torch

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.inspect.instance_costs import _MemoryMeter, arrange_instances, measure_instance_costs


@pytest.mark.parametrize(
    ('config', 'family'),
    [
        ('hourglass1_lsp_128', 'top-down'),
        ('openpose_tiny_synthetic_256', 'bottom-up'),
        ('rtmo_tiny_synthetic_256', 'one-stage'),
    ],
)
def test_as_many_people_are_found_as_there_are(config, family):
    model = build_model(load_config(config)).eval()
    costs = measure_instance_costs(model, [1, 2], num_repeats=1)
    assert [(c.family, c.num_instances, c.num_predicted) for c in costs] == [(family, 1, 1), (family, 2, 2)]
    assert all(0 < c.network_ms <= c.total_ms and c.peak_mib > 0 for c in costs)
    if family == 'top-down':
        assert costs[1].peak_mib > 1.5 * costs[0].peak_mib


def test_people_stand_inside_the_image_and_apart():
    keypoints = arrange_instances(7, 5, (90, 60))[0]
    assert keypoints.shape == (7, 5, 2)
    assert (keypoints >= 0).all()
    assert (keypoints[..., 0] < 90).all()
    assert (keypoints[..., 1] < 60).all()
    assert (keypoints[0, :, 0].max() < keypoints[1, :, 0].min()).item()


def test_memory_is_that_of_tensors_that_live_at_the_same_time():
    """4 MiB and 4 MiB; the first is freed before another 4 MiB are made, and a view takes none."""
    with _MemoryMeter() as meter:
        first = torch.zeros(1 << 20)
        second = first + 1
        del first
        third = second * 2
        view = third.view(2, -1)
    assert meter.peak_bytes == 8 << 20
    assert view.shape == (2, 1 << 19)


def test_no_people_and_no_estimator_are_errors():
    with pytest.raises(ConfigError, match='the numbers of people are at least 1'):
        measure_instance_costs(build_model(load_config('hourglass1_lsp_128')), [0])
    with pytest.raises(ConfigError, match='costs are measured of TopDown, BottomUp and OneStage'):
        measure_instance_costs(object(), [1])
