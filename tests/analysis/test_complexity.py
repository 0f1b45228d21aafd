"""Parameters and multiply-adds: counted by hand, and the published networks."""

import pytest
from torch import nn

from poseplug.analysis.complexity import costs, trace
from poseplug.build import build_model
from poseplug.config import load_config
from poseplug.models.estimators.top_down import TopDown
from poseplug.testing import SMALL


class Backbone(nn.Module):
    """Two convolutions, of which the second is used twice."""

    def __init__(self, needs_values=False):
        super().__init__()
        self.first, self.twice = nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.Conv2d(4, 4, 1, bias=False)
        self.out_channels, self.strides, self.needs_values = (4,), (4,), needs_values

    def forward(self, images):
        x = self.first(images)
        if self.needs_values and x.sum().item() != x.sum().item():
            return [x]
        return [self.twice(self.twice(x))]


def model(**settings):
    codec = dict(type='Heatmap', input_size=(32, 16))
    return TopDown(skeleton=SMALL, codec=codec, backbone=Backbone(**settings), head=dict(type='HeatmapHead'))


@pytest.mark.parametrize('needs_values', [False, True])
def test_parameters_count_once_and_multiply_adds_at_every_use(needs_values):
    """Maps of 8 x 4 cells: 3*9*4 + 4 weights, 4*4 used twice, and a head of 4*3 + 3."""
    made = model(needs_values=needs_values)
    cost = costs(made, trace(made).macs)
    cells = 8 * 4
    assert cost.inner['backbone'].inner['first'].macs == 3 * 9 * 4 * cells
    assert cost.inner['backbone'].inner['twice'].macs == 2 * 16 * cells
    assert cost.inner['backbone'].parameters == 3 * 9 * 4 + 4 + 16
    assert cost.inner['head'].macs == 4 * 3 * cells
    assert (cost.parameters, cost.macs) == (112 + 16 + 15, (108 + 32 + 12) * cells)


def test_shapes_are_those_of_the_way_from_input_to_fields():
    traced = trace(model())
    assert traced.input == (3, 16, 32)
    assert traced.features == [(4, 4, 8)]
    assert traced.stages == [{'heatmap': (3, 4, 8)}]
    assert traced.necked == []


def test_the_model_stays_where_it_is():
    made = model()
    trace(made)
    assert {p.device.type for p in made.parameters()} == {'cpu'}
    assert made.training


@pytest.mark.parametrize(('config', 'parameters', 'giga'), [
    ('cpm_lsp_368', 31_219_866, 175.4), ('cpm_flic_368', 21_323_816, 154.5), ('cpm_vgg_lsp_368', 29_852_058, 88.4),
])  # fmt: skip
def test_the_published_networks_have_their_sizes(root, config, parameters, giga):
    made = build_model(load_config(root / f'configs/cpm/{config}.py'))
    cost = costs(made, trace(made).macs)
    assert (cost.parameters, round(cost.macs / 1e9, 1)) == (parameters, giga)


def test_the_parts_of_cpm_have_the_sizes_counted_from_its_definition(root):
    """Stage 1, stage 2 with the shared trunk, and each later stage, as counted layer by layer."""
    inner = costs(build_model(load_config(root / 'configs/cpm/cpm_lsp_368.py')), {}).inner
    trunk = [inner['backbone'].inner[f'trunks.{i}'].parameters for i in (0, 1)]
    head = {name: cost.parameters for name, cost in inner['head'].inner.items()}
    assert trunk[0] + head['first'] + head['predict.0'] == 4_386_095
    assert trunk[1] + head['images.0'] + head['contexts.0'] + head['predict.1'] == 7_515_311
    assert head['images.4'] + head['contexts.4'] + head['predict.5'] == 4_829_615
