import pytest
import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.conv import ChannelAttention, check_strides, conv_block, conv_stack, init_convolutions
from poseplug.models.layers.input_norm import InputNorm
from poseplug.models.layers.residual import BasicBlock, Bottleneck, residual_blocks


def test_cpm_reads_blue_first_from_minus_to_plus_one_half():
    norm = InputNorm((128, 128, 128), (256, 256, 256), 'bgr')
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    assert norm(image).flatten().tolist() == [-0.5, 0.0, 127 / 256]


def test_rgb_means_are_applied_to_the_channels_they_name():
    norm = InputNorm((10, 20, 30), (1, 2, 3), 'rgb')
    image = torch.tensor([33, 24, 11], dtype=torch.uint8).view(1, 1, 1, 3)  # blue, green, red
    assert norm(image).flatten().tolist() == [1.0, 2.0, 1.0]


@pytest.mark.parametrize('settings', [dict(mean=(1, 2)), dict(std=(1, 2, 3, 4)), dict(channel_order='brg')])
def test_an_input_norm_has_three_channels_in_a_known_order(settings):
    with pytest.raises(ConfigError, match=f'input_norm.*{next(iter(settings))}'):
        InputNorm(**{'mean': (0, 0, 0), 'std': (1, 1, 1), **settings})


def test_a_stack_is_convolution_relu_and_dropout_if_set():
    stack, channels = conv_stack(3, [(5, 8), (1, 4, 0.5)])
    assert channels == 4
    assert [type(m).__name__ for m in stack[0]] == ['Conv2d', 'ReLU']
    assert [type(m).__name__ for m in stack[1]] == ['Conv2d', 'ReLU', 'Dropout']
    assert (stack[0][0].kernel_size, stack[0][0].padding) == ((5, 5), (2, 2))


def test_batch_norm_replaces_the_bias():
    block = conv_block(3, 8, 3, norm='BN')
    assert [type(m).__name__ for m in block] == ['Conv2d', 'BatchNorm2d', 'ReLU']
    assert block[0].bias is None
    with pytest.raises(ConfigError, match='GN'):
        conv_block(3, 8, 3, norm='GN')


@pytest.mark.parametrize(('std', 'deviation'), [(0.01, 0.01), (None, (2 / (64 * 9)) ** 0.5)])
def test_weights_have_the_requested_deviation_and_biases_are_zero(std, deviation):
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 128, 3)
    init_convolutions(layer, std)
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(layer.weight.mean().item()) < deviation / 50
    assert not layer.bias.any()


def test_a_block_accepts_a_stride_groups_and_another_activation_or_none():
    block = conv_block(4, 8, 5, 'BN', stride=2, groups=4, activation=nn.SiLU)
    assert [type(m).__name__ for m in block] == ['DepthwiseConv2d', 'BatchNorm2d', 'SiLU']
    assert block[0].weight.shape == (8, 1, 5, 5)
    assert block(torch.rand(1, 4, 7, 10)).shape == (1, 8, 4, 5)
    assert [type(m).__name__ for m in conv_block(4, 8, 1, activation=None)] == ['Conv2d']


def test_a_deviation_by_fan_out_counts_the_output_channels():
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 256, 3)
    init_convolutions(layer, fan_mode='fan_out')
    assert layer.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize('block', [BasicBlock, Bottleneck])
def test_a_residual_block_whose_convolutions_are_zero_is_its_shortcut(block):
    x = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    same = block(8, 8 // block.expansion).eval()
    last = same.bn2 if block is BasicBlock else same.bn3
    nn.init.zeros_(last.weight)
    assert same.downsample is None
    assert torch.equal(same(x), x.relu())


def test_only_the_first_residual_block_has_the_stride_and_changes_the_channels():
    blocks = residual_blocks(Bottleneck, 8, 4, depth=3, stride=2)
    assert [b.downsample is None for b in blocks] == [False, True, True]
    assert blocks(torch.rand(2, 8, 7, 8)).shape == (2, 16, 4, 4)
    assert residual_blocks(BasicBlock, 8, 8, depth=1)[0].downsample is None


def test_channel_attention_is_a_hard_sigmoid_of_the_means():
    attention = ChannelAttention(2)
    with torch.no_grad():
        attention.fc.weight.copy_(torch.tensor([[0.0, 1.0], [0.0, 0.0]])[..., None, None])
        attention.fc.bias.copy_(torch.tensor([0.0, 4.0]))
    x = torch.tensor([[6.0, 6.0], [0.0, 3.0]]).view(1, 2, 1, 2)  # means 6 and 1.5
    assert attention(x).flatten().tolist() == [4.5, 4.5, 0.0, 3.0]  # weights (1.5 + 3) / 6 and 1


def test_strides_are_some_of_the_available_in_their_order():
    assert check_strides('Net', [4, 16], (4, 8, 16)) == (4, 16)
    for wrong in ((), (16, 4), (4, 4), (32,)):
        with pytest.raises(ConfigError, match='Net has feature maps of strides 4, 8, 16; .* each once; got'):
            check_strides('Net', wrong, (4, 8, 16))
