import pytest
import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.resnet import ResNet
from poseplug.models.layers.residual_variants import SelfCalibration, SplitAttention
from poseplug.models.layers.squeeze_excitation import SqueezeExcitation
from poseplug.testing import BackboneContract

# The table of SimpleBaseline (3 deconvolutions, 17 keypoints) less what stands behind the backbone.
SIMPLE_HEAD = (2048 + 256 + 256) * 256 * 16 + 3 * 2 * 256 + 256 * 17 + 17


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ('depth', 'parameters'), [(50, 33_999_697), (101, 52_991_825), (152, 68_635_473)], ids='R{}'.format
)
def test_parameters_are_those_of_simple_baseline_less_its_head(depth, parameters):
    with torch.device('meta'):
        assert count_parameters(ResNet(depth)) == parameters - SIMPLE_HEAD


@pytest.mark.parametrize(('depth', 'parameters'), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_with_a_classifier_of_1000_classes_it_is_the_image_net_network(depth, parameters):
    with torch.device('meta'):
        network = ResNet(depth)
    assert count_parameters(network) + 1000 * network.out_channels[-1] + 1000 == parameters


def test_layers_are_as_wide_as_their_stride_and_four_times_so_from_50_on():
    with torch.device('meta'):
        assert (ResNet(34).out_channels, ResNet(34).strides) == ((64, 128, 256, 512), (4, 8, 16, 32))
        assert ResNet(50).out_channels == (256, 512, 1024, 2048)
        assert ResNet(18, base_channels=8, out_strides=[8, 16]).out_channels == (16, 32)


def test_the_stride_is_in_the_3x3_convolution():
    with torch.device('meta'):
        halving = ResNet(50).layer2[0]
    assert [c.stride for c in (halving.conv1, halving.conv2, halving.conv3)] == [(1, 1), (2, 2), (1, 1)]


def test_an_unknown_depth_is_an_error_that_names_the_known():
    with pytest.raises(ConfigError, match='18, 34, 50, 101, 152, 200, 269; got 42'):
        ResNet(42)


VARIANTS = {
    'plain bottlenecks': dict(),
    'resnet-d': dict(deep_stem=True, pool_shortcut=True),
    'resnext': dict(groups=2, width_per_group=32),
    'se-resnet': dict(se_ratio=16),
    'scnet': dict(block='self_calibrated'),
    'resnest': dict(block='split_attention', deep_stem=True, pool_shortcut=True),
    'all of it': dict(block='split_attention', deep_stem=True, pool_shortcut=True, groups=2, se_ratio=4),
}


@pytest.mark.parametrize('variant', VARIANTS)
class TestVariants:
    """The contract of a backbone, kept by every variant."""

    @pytest.fixture
    def contract(self, variant):
        class VariantContract(BackboneContract):
            def build_part(self, **settings):
                return ResNet(50, base_channels=8, **{**VARIANTS[variant], **settings})

            def build_part_with(self, **settings):
                return self.build_part(**settings)

        return VariantContract()

    @pytest.mark.parametrize('law', sorted(name for name in dir(BackboneContract) if name.startswith('test_')))
    def test_laws(self, contract, law):
        getattr(contract, law)()


@pytest.mark.parametrize('settings', [dict(groups=2), dict(width_per_group=4), dict(block='split_attention')], ids=str)
def test_what_changes_bottlenecks_is_refused_where_there_are_none(settings):
    with pytest.raises(ConfigError, match='from depth 50 on; got depth=34'):
        ResNet(34, **settings)


def test_an_unknown_block_is_an_error_that_names_the_known():
    with pytest.raises(ConfigError, match="plain, split_attention, self_calibrated; got 'bottle'"):
        ResNet(50, block='bottle')


def test_channel_weights_of_zero_logits_halve_the_map():
    weighting = SqueezeExcitation(8, 4)
    nn.init.zeros_(weighting.fc2.weight)
    nn.init.zeros_(weighting.fc2.bias)
    x = torch.randn(2, 8, 3, 3)
    assert weighting(x).equal(x / 2)
    assert weighting.fc1.out_channels == 2


@torch.no_grad()
def test_split_attention_of_equal_logits_is_the_mean_of_its_maps():
    torch.manual_seed(0)
    layer = SplitAttention(4).eval()
    nn.init.zeros_(layer.fc2.weight)
    nn.init.zeros_(layer.fc2.bias)
    x = torch.randn(1, 4, 5, 5)
    maps = layer.relu(layer.bn0(layer.conv(x)))
    torch.testing.assert_close(layer(x), (maps[:, :4] + maps[:, 4:]) / 2)


@torch.no_grad()
def test_self_calibration_of_a_silent_coarse_view_is_weighted_by_the_input():
    torch.manual_seed(0)
    layer = SelfCalibration(4).eval()
    nn.init.zeros_(layer.coarse[0].weight)
    x = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(layer(x), layer.last(layer.fine(x) * x.sigmoid()))
    assert layer(x[..., :2, :3]).shape == (1, 4, 2, 3)  # smaller than one square of the coarse view


def test_names_and_shapes_are_those_of_published_weights(golden_networks):
    with torch.device('meta'):
        state = ResNet(50).state_dict()
    assert {name: tuple(v.shape) for name, v in state.items()} == golden_networks.load_shapes('res50_coco_256x192')


class Simple(nn.Module):
    """The network of the golden numbers: three deconvolutions and a 1x1 convolution on a ResNet-50."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = ResNet(50), nn.Module()
        layers: list[nn.Module] = []
        for channels in (2048, 256, 256):
            deconvolution = nn.ConvTranspose2d(channels, 256, 4, 2, 1, bias=False)
            layers += [deconvolution, nn.BatchNorm2d(256), nn.ReLU()]
        self.head.deconv_layers = nn.Sequential(*layers)
        self.head.final_layer = nn.Conv2d(256, 17, 1)

    def forward(self, images):
        return self.head.final_layer(self.head.deconv_layers(self.backbone(images)[-1]))


@torch.inference_mode()
def test_simple_baseline_computes_the_golden_numbers(golden_networks):
    images, expected = golden_networks.load_arrays('res50_coco_256x192')
    output = golden_networks.fill_weights(Simple())(images)
    assert (output - expected).abs().max() < 1e-4 * expected.abs().max()
