import pytest
import torch
from torch import nn

from poseplug.errors import ConfigError
from poseplug.models.layers import PixelNorm, conv_block, conv_stack, init_convolutions


def test_cpm_reads_blue_first_from_minus_to_plus_one_half():
    pixels = PixelNorm((128, 128, 128), (256, 256, 256), 'bgr')
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    assert pixels(image).flatten().tolist() == [-0.5, 0.0, 127 / 256]


def test_rgb_means_are_applied_to_the_channels_they_name():
    pixels = PixelNorm((10, 20, 30), (1, 2, 3), 'rgb')
    image = torch.tensor([33, 24, 11], dtype=torch.uint8).view(1, 1, 1, 3)  # blue, green, red
    assert pixels(image).flatten().tolist() == [1.0, 2.0, 1.0]


@pytest.mark.parametrize('settings', [dict(mean=(1, 2)), dict(std=(1, 2, 3, 4)), dict(order='brg')])
def test_pixels_have_three_channels_in_a_known_order(settings):
    with pytest.raises(ConfigError):
        PixelNorm(**{'mean': (0, 0, 0), 'std': (1, 1, 1), **settings})


def test_a_stack_is_convolution_relu_and_dropout_where_asked():
    stack, channels = conv_stack(3, [(5, 8), (1, 4, 0.5)])
    assert channels == 4
    assert [type(m).__name__ for m in stack[0]] == ['Conv2d', 'ReLU']
    assert [type(m).__name__ for m in stack[1]] == ['Conv2d', 'ReLU', 'Dropout']
    assert (stack[0][0].kernel_size, stack[0][0].padding) == ((5, 5), (2, 2))


def test_batch_norm_takes_the_place_of_the_bias():
    block = conv_block(3, 8, 3, norm='BN')
    assert [type(m).__name__ for m in block] == ['Conv2d', 'BatchNorm2d', 'ReLU']
    assert block[0].bias is None
    with pytest.raises(ConfigError, match='GN'):
        conv_block(3, 8, 3, norm='GN')


@pytest.mark.parametrize(('std', 'deviation'), [(0.01, 0.01), (None, (2 / (64 * 9)) ** 0.5)])
def test_weights_are_drawn_with_the_deviation_asked_for_and_biases_are_zero(std, deviation):
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 128, 3)
    init_convolutions(layer, std)
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(layer.weight.mean().item()) < deviation / 50
    assert not layer.bias.any()
