"""Receptive fields by gradient: networks counted by hand, published ones, and what must not count."""

import pytest
import torch
from torch import nn

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.inspect.receptive_field import (
    GLOBAL_ATTENTION,
    _measure_receptive_fields,
    build_averaging_network,
    compute_receptive_fields,
    find_global_fields,
)
from poseplug.models.estimators.top_down import TopDown
from poseplug.testing import SMALL_SKELETON


class Backbone(nn.Module):
    """Layers in a row, of one stride, to six channels."""

    def __init__(self, stride, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.out_channels, self.strides = (6,), (stride,)

    def forward(self, images):
        return [self.layers(images)]


def measure_width(stride, *layers, size=(64, 64)):
    """The receptive field of layers, as a backbone below a head of one 1x1 convolution."""
    backbone = Backbone(stride, *layers)
    codec = dict(type='Heatmap', input_size=size, stride=stride)
    model = TopDown(skeleton=SMALL_SKELETON, codec=codec, backbone=backbone, head=dict(type='HeatmapHead'))
    fields = compute_receptive_fields(model)
    assert fields.head == fields.backbone
    return fields.backbone[0]


@pytest.mark.parametrize(('layers', 'width'), [
    ([nn.Conv2d(3, 6, 3, padding=1)], 3),
    ([nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 5, padding=2)], 7),
    ([nn.Conv2d(3, 6, 3, padding=2, dilation=2)], 5),
    ([nn.Conv2d(3, 6, (9, 1), padding=(4, 0))], 1),
    ([nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 6, 1)], 5),
    ([nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3, padding=1)], 5),
    ([nn.Conv2d(3, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.SiLU(), nn.Dropout(0.5), nn.Conv2d(6, 6, 3, padding=1)], 5),
])  # fmt: skip
def test_layers_of_stride_1_see_the_sum_of_their_kernels(layers, width):
    assert measure_width(1, *layers) == width


@pytest.mark.parametrize(('stride', 'layers', 'width'), [
    (2, [nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Conv2d(6, 6, 3, padding=1)], 3 + 2 * 2),
    (2, [nn.Conv2d(3, 6, 3, padding=1), nn.MaxPool2d(2, 2), nn.Conv2d(6, 6, 3, padding=1)], 3 + 1 + 2 * 2),
    (4, [nn.Conv2d(3, 6, 5, padding=2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(3, 2, padding=1)], 5 + 2 + 4),
    (1, [nn.Conv2d(3, 6, 2, stride=2), nn.ConvTranspose2d(6, 6, 2, stride=2)], 2),
])  # fmt: skip
def test_a_layer_behind_a_stride_counts_stride_times(stride, layers, width):
    assert measure_width(stride, *layers) == width


def test_of_two_branches_the_wider_one_counts():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.far, self.near = nn.Conv2d(3, 3, 11, padding=5), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return torch.cat([self.near(x), self.far(x)], dim=1)

    assert measure_width(1, Branches()) == 11


def test_an_average_over_all_cells_sees_the_whole_image():
    class Average(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Conv2d(3, 6, 1)

        def forward(self, x):
            return self.mix(x + x.mean(dim=(2, 3), keepdim=True))

    assert measure_width(1, Average()) is None


def test_a_network_of_one_input_size_is_measured_at_that_size():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.positions = nn.Conv2d(3, 6, 5, padding=2), nn.Parameter(torch.randn(1, 6, 32, 48))

        def forward(self, x):
            return self.mix(x) + self.positions

    assert measure_width(1, Positions(), size=(48, 32)) == 5


def test_a_field_wider_than_the_first_input_is_measured_on_a_wider_one():
    assert (
        measure_width(8, nn.Conv2d(3, 6, 8, stride=8), *(nn.Conv2d(6, 6, 41, padding=20) for _ in range(4)))
        == 8 + 8 * 160
    )


def test_windows_with_holes_are_an_error():
    with pytest.raises(ConfigError, match='windows have holes'):
        measure_width(1, nn.Conv2d(3, 6, 1), nn.MaxPool2d(3, 1, padding=2, dilation=2))


@pytest.mark.parametrize(('config', 'stages'), [
    ('cpm_lsp_368', [167, 407, 647, 887, 1127, 1367]),
    ('cpm_flic_368', [167, 407, 647, 887]),
    ('cpm_vgg_lsp_368', [164, 404, 644, 884, 1124, 1364]),
])  # fmt: skip
def test_published_networks_see_what_is_counted_by_hand(root, config, stages):
    """Stage 1 of CPM: 9x9 and pooling 3 at strides 1, 2, 4, then 5x5 and 9x9 at 8; each stage adds 3 * 10 * 8."""
    assert 1 + (8 + 2) * (1 + 2 + 4) + (4 + 8) * 8 == 167
    assert compute_receptive_fields(build_model(load_config(root / f'configs/cpm/{config}.py'))).head == stages


def test_the_center_map_does_not_count(root):
    """With it, a head that reads only stage 1 and the center map would see more than stage 1 does."""
    options = {'model.head.num_stages': 2, 'model.head.context_layers': ((1, 8),), 'model.head.image_layers': ()}
    model = build_model(load_config(root / 'configs/cpm/cpm_lsp_lite.py', options))
    first, second = compute_receptive_fields(model).head
    assert first == second


def test_the_model_itself_is_not_changed(root):
    model = build_model(load_config(root / 'configs/cpm/cpm_lsp_lite.py'))
    before = {n: v.clone() for n, v in model.state_dict().items()}
    compute_receptive_fields(model)
    assert model.training
    assert all(torch.equal(v, before[n]) and v.dtype == before[n].dtype for n, v in model.state_dict().items())


def test_the_cheap_convolution_is_the_convolution_of_its_weights():
    """The shortcut for equal weights against PyTorch's own convolution with those weights."""
    for groups in (1, 2, 4):
        layer = nn.Conv2d(4, 8, (3, 5), stride=2, padding=(1, 2), groups=groups)
        cheap = build_averaging_network(layer)
        x = torch.rand(1, 4, 9, 12, dtype=torch.float64)
        torch.testing.assert_close(cheap(x), nn.Conv2d.forward(cheap, x))


@pytest.mark.parametrize('attention', ['full', 'window', 'shift', 'pool', 'shift+pool'])
@pytest.mark.parametrize('experts', [(), ('a', 'b')])
def test_global_attention_reaches_every_border_and_windows_do_not(attention, experts):
    """Measured at 512 px although global attention is known; windows are 2 cells of 16 px, one further per block."""
    backbone = dict(
        type='ViT', embed_dim=8, depth=3, num_heads=2, attention=attention, window_size=(2, 2), experts=experts
    )
    codec = dict(type='Heatmap', input_size=(64, 32), stride=16)
    model = TopDown(skeleton=SMALL_SKELETON, codec=codec, backbone=backbone, head=dict(type='HeatmapHead'))
    is_global = attention in GLOBAL_ATTENTION
    fields = _measure_receptive_fields(build_averaging_network(model.network), 512, 16)
    assert all(find_global_fields(fields)) == is_global
    assert (compute_receptive_fields(model).head == [None]) == is_global
