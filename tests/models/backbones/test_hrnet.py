import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.hrnet import HRNet

ALL = (4, 8, 16, 32)


def build_on_meta(*args, **settings) -> HRNet:
    """A network without memory for its numbers."""
    with torch.device('meta'):
        return HRNet(*args, **settings)


@pytest.mark.parametrize(('width', 'parameters', 'gmacs'), [(32, 28_536_113, 7.65), (48, 63_595_745, 15.69)])
def test_with_a_1x1_convolution_to_17_keypoints_it_costs_what_is_published(width, parameters, gmacs):
    network = nn.Sequential(build_on_meta(width)).eval()
    assert sum(p.numel() for p in network.parameters()) + 17 * width + 17 == parameters
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 256, 192, device='meta'))
    macs = counter.get_total_flops() // 2 + 17 * width * 64 * 48
    assert macs / 1e9 == pytest.approx(gmacs, abs=0.006)


def test_the_finest_map_is_returned_unless_others_are_requested():
    assert (build_on_meta().out_channels, build_on_meta().strides) == ((32,), (4,))
    assert build_on_meta(18, out_strides=ALL).out_channels == (18, 36, 72, 144)


def test_sums_of_the_last_module_are_built_only_if_they_are_requested():
    fuse_layers = build_on_meta(4, out_strides=[8, 32]).stage4[-1].fuse_layers
    assert {branch: list(layers) for branch, layers in fuse_layers.items()} == {
        '1': ['0', '2', '3'],
        '3': ['0', '1', '2'],
    }
    assert list(build_on_meta(4).stage4[-2].fuse_layers) == ['0', '1', '2', '3']


def test_a_branch_as_wide_as_before_needs_no_transition():
    network = build_on_meta(4)
    assert list(network.transition1) == ['0', '1']
    assert list(network.transition2) == ['2']
    assert list(network.transition3) == ['3']


def test_a_stage_without_modules_is_an_error():
    for num_modules in ((1, 4), (1, 0, 3)):
        with pytest.raises(ConfigError, match='at least one; got'):
            HRNet(4, num_modules=num_modules)


@pytest.mark.parametrize(
    ('name', 'strides'), [('hrnet_w32_coco_256x192', (4,)), ('dekr_hrnet_w32_coco_512', ALL)], ids=['finest', 'all']
)
def test_names_and_shapes_are_those_of_published_weights(golden_networks, name, strides):
    state = build_on_meta(32, out_strides=strides).state_dict()
    assert {name: tuple(v.shape) for name, v in state.items()} == golden_networks.load_shapes(name)


class Pose(nn.Module):
    """The network of the golden numbers: a 1x1 convolution on HRNet-W32."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = HRNet(32), nn.Module()
        self.head.final_layer = nn.Conv2d(32, 17, 1)

    def forward(self, images):
        return self.head.final_layer(self.backbone(images)[0])


@torch.inference_mode()
def test_hrnet_computes_the_golden_numbers(golden_networks):
    images, expected = golden_networks.load_arrays('hrnet_w32_coco_256x192')
    output = golden_networks.fill_weights(Pose())(images)
    assert (output - expected).abs().max() < 1e-4 * expected.abs().max()
