"""The cues of a stage in the one before, for networks whose weights say what they are."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.inspect.stage_cues import StageCues, measure_stage_cues
from tests.conftest import ROOT

SKELETON = Skeleton('three', ('shoulder', 'elbow', 'wrist'), (('shoulder', 'elbow'), ('elbow', 'wrist')))
# rows: heatmaps of stage 2, columns: those of stage 1 and the background
WEIGHTS = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.25, -0.25, 0.0], [0.0, 1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0]])


class TwoStages(nn.Module):
    """Heatmaps with one value each, and a stage that mixes them cell by cell."""

    def __init__(self, forward):
        super().__init__()
        self.weight = nn.Parameter(WEIGHTS.clone())
        self.function = forward

    def forward(self, images, centers, source_indices):
        return self.function(self, torch.ones(len(images), 4, 3, 3) * self.weight.sum() / self.weight.sum().detach())

    def select_centers(self, batch):
        return None

    def prediction_source_indices(self, batch):
        return None


def mix(network, heatmaps):
    return torch.einsum('ij,bjhw->bihw', network.weight, heatmaps)


def measure(forward, num_images=3):
    network = TwoStages(forward)
    model = nn.Module()
    model.network, model.skeleton, model.device = network, SKELETON, 'cpu'
    batch = SimpleNamespace(images=torch.zeros(2, 1, 8, 8, 3))
    batch.to = lambda device: batch
    return measure_stage_cues(model, [batch] * num_images, num_images)


def test_the_effect_of_a_channel_is_its_weight_times_its_value():
    cues = measure(lambda net, maps: [{'heatmap': maps}, {'heatmap': mix(net, maps)}])
    assert cues.percents.shape == (3, 1, 3, 4)
    expected = [[100, 0, 0, 0], [50, 25, 25, 0], [0, 25, 0, 75]]
    np.testing.assert_allclose(cues.percents.mean(axis=0)[0], expected, atol=1e-4)
    assert cues.cues == ('shoulder', 'elbow', 'wrist', 'background')
    assert cues.list_strongest_cues(2, 'elbow', 2) == [('shoulder', pytest.approx(50)), ('wrist', pytest.approx(25))]


def test_channels_of_one_layer_are_cues_as_if_they_were_returned_alone():
    """CPM's head returns views of what it passes on; the limb field before the heatmaps is none of them."""

    def forward(net, maps):
        whole = torch.cat([maps.new_full((len(maps), 2, 3, 3), 9.0), maps], dim=1) * 1.0
        limbs, heatmaps = whole.split([2, 4], dim=1)
        return [{'paf': limbs, 'heatmap': heatmaps}, {'paf': limbs, 'heatmap': mix(net, whole[:, 2:])}]

    expected = measure(lambda net, maps: [{'heatmap': maps}, {'heatmap': mix(net, maps)}])
    np.testing.assert_allclose(measure(forward).percents, expected.percents, atol=1e-4)


def test_limb_neighbors_are_compared_with_other_keypoints_by_hand():
    """Neighbors: 0 and 50, 25 and 25 percent; the others, shoulder and wrist of each other: 0 and 0."""
    cues = measure(lambda net, maps: [{'heatmap': maps}, {'heatmap': mix(net, maps)}])
    interval = cues.compare_limb_neighbors(2)
    assert (interval.value, interval.low, interval.high) == pytest.approx((25, 25, 25))
    unlimbed = StageCues(Skeleton('two', ('a', 'b')), ('a', 'b'), np.zeros((1, 1, 2, 2)))
    assert unlimbed.compare_limb_neighbors(2) is None


@pytest.mark.parametrize(
    ('forward', 'message'),
    [
        (lambda net, maps: [{'heatmap': maps}], 'this network has one stage'),
        (
            lambda net, maps: [{'heatmap': maps}, {'heatmap': 2 * maps.detach() * net.weight.sum()}],
            'stage 2 of the network does not read the heatmaps of stage 1',
        ),
        (
            lambda net, maps: [{'paf': maps}, {'heatmap': maps}],
            'stage 1 of the network predicts no heatmaps, but paf',
        ),
    ],
)
def test_networks_without_such_stages_are_errors(forward, message):
    with pytest.raises(ConfigError, match=message):
        measure(forward)


def test_without_images_it_is_an_error():
    with pytest.raises(ConfigError, match='cues are measured on images; the data set has none'):
        measure(lambda net, maps: [{'heatmap': maps}, {'heatmap': maps}], num_images=0)


def test_the_command_writes_a_table_and_a_matrix(command, tiny_weights, tiny_cli_options, tmp_path):
    options = ['--images', 2, '--out', tmp_path / 'out', *tiny_cli_options()]
    code, out, err = command('analyze', 'cues', ROOT / 'configs/cpm/cpm_synthetic.py', tiny_weights, *options)
    assert code == 0, err
    rows = list(csv.DictReader((tmp_path / 'out/rows.csv').read_text().splitlines()))
    assert [(row['stage'], row['keypoint']) for row in rows][:2] == [('2', 'right_ankle'), ('2', 'right_knee')]
    assert len(rows) == 14
    for row in rows:
        assert row['keypoint'] not in (row['cue_1'], row['cue_2'], row['cue_3'])
        assert 100 >= float(row['percent_1']) >= float(row['percent_2']) >= float(row['percent_3']) >= 0
    assert 'Stage 2: a limb neighbor is a stronger cue than another keypoint, by ' in out
    svg = (tmp_path / 'out/stage_2.svg').read_text()
    assert 'heatmap of stage 1' in svg
    assert 'background' in svg
    assert (tmp_path / 'out/stage_2.png').read_bytes().startswith(b'\x89PNG')
