"""Receptive fields by layer: the published CPM, counted by hand, and networks without such fields."""

import csv

import pytest
from torch import nn

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.inspect.layer_fields import compute_layer_fields
from poseplug.models.estimators.top_down import TopDown
from poseplug.testing import SMALL_SKELETON
from tests.conftest import ROOT
from tests.inspect.test_receptive_field import Backbone


def list_layer_fields(stride, *layers):
    """The layers in a row, as a backbone below a head of one 1x1 convolution, without that."""
    codec = dict(type='Heatmap', input_size=(64, 64), stride=stride)
    backbone = Backbone(stride, *layers)
    model = TopDown(skeleton=SMALL_SKELETON, codec=codec, backbone=backbone, head=dict(type='HeatmapHead'))
    fields = compute_layer_fields(model)
    assert fields[-1].layer.startswith('head.')
    return fields[:-1]


def test_every_layer_adds_its_window_times_the_strides_before_it():
    """3; 3 + 1 = 4; 4 + 2 * 2 = 8; 8 + 2 = 10, and its inverse: 10 + 0 columns of 4 px from one of them."""
    fields = list_layer_fields(
        2,
        nn.Conv2d(3, 6, 3, padding=1),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(6, 6, (1, 3), padding=(0, 1)),
        nn.AvgPool2d(2, 2),
        nn.ConvTranspose2d(6, 6, 2, stride=2),
    )
    assert [field.field_px for field in fields] == [3, 4, 8, 10, 10]
    assert [field.stride for field in fields] == [1, 2, 1, 2, 0.5]
    assert [field.window for field in fields] == ['3 x 3', '2 x 2', '1 x 3', '2 x 2', '2 x 2']
    assert [field.layer for field in fields] == [f'backbone.layers.{index}' for index in range(5)]


def test_a_layer_that_runs_twice_is_listed_twice():
    layer = nn.Conv2d(3, 3, 3, padding=1)
    fields = list_layer_fields(1, layer, layer, nn.Conv2d(3, 6, 1))
    assert [(field.layer, field.field_px) for field in fields] == [
        ('backbone.layers.0', 3),
        ('backbone.layers.0', 5),
        ('backbone.layers.2', 5),
    ]


def test_the_layers_of_the_published_cpm_see_what_figure_2_states(command, tmp_path):
    """9x9 three times with pooling, 5x5 and 9x9 at stride 8 in stage 1, 11x11 three times in stage 2."""
    options = ['--out', tmp_path / 'out', '--cfg-options', 'model.head.num_stages=2']
    code, out, err = command('analyze', 'layers', ROOT / 'configs/cpm/cpm_lsp_368.py', *options)
    assert (code, err) == (0, '')
    rows = list(csv.DictReader((tmp_path / 'out/rows.csv').read_text().splitlines()))
    fields = {row['layer']: int(row['field_px']) for row in rows}
    trunk = [fields[f'backbone.trunks.0.{name}'] for name in ('0.0', '1', '2.0', '3', '4.0', '5')]
    assert trunk == [9, 9 + 2, 11 + 8 * 2, 27 + 2 * 2, 31 + 8 * 4, 63 + 2 * 4]
    assert [fields[f'head.first.{index}.0'] for index in range(3)] == [71 + 4 * 8, 103 + 8 * 8, 167]
    assert fields['head.images.0.0.0'] == 71 + 4 * 8
    assert [fields[f'head.contexts.0.{index}.0'] for index in range(3)] == [167 + 80 * n for n in (1, 2, 3)]
    assert fields['head.predict.1'] == 407
    assert '| head.predict.1 | Conv2d | 1 x 1 | 1 | 407 |' in out
    assert 'Receptive field by layer' in (tmp_path / 'out/layers.svg').read_text()


def test_a_layer_behind_an_average_over_the_image_sees_all_of_it():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 1)

        def forward(self, x):
            return self.conv(x * x.mean(dim=(2, 3), keepdim=True))

    assert [field.field_px for field in list_layer_fields(1, Scaled())] == [None]


def test_global_attention_has_no_fields_by_layer():
    model = build_model(load_config(ROOT / 'configs/vitpose/vit_tiny_lsp_128.py'))
    with pytest.raises(ConfigError, match="ViT: with attention='full' every cell sees the whole image"):
        compute_layer_fields(model)
