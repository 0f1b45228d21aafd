import pytest
import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.resnet import ResNet

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
    with pytest.raises(ConfigError, match='18, 34, 50, 101, 152; got 42'):
        ResNet(42)


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
