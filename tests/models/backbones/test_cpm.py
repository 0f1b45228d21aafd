import pytest
import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.cpm import CPMTrunk, CPMVGGTrunk


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_pooling_halves_an_even_size_and_rounds_up():
    pools = [m for m in CPMTrunk(channels=(1, 1, 1)).trunks[0] if isinstance(m, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride, p.padding, p.ceil_mode) for p in pools] == [(3, 2, 0, True)] * 3
    maps, sizes = torch.zeros(1, 1, 368, 368), []
    for pool in pools:
        maps = pool(maps)
        sizes.append(maps.shape[-1])
    assert sizes == [184, 92, 46]


def test_the_last_window_of_a_pooling_is_clipped_at_the_border():
    row = torch.tensor([1.0, 2, 3, 4, 5, 6]).view(1, 1, 1, 6).expand(1, 1, 6, 6)
    pool = CPMTrunk(channels=(1,), kernel_sizes=(9,)).trunks[0][1]
    assert pool(row)[0, 0, 0].tolist() == [3, 5, 6]


def test_a_trunk_has_three_layers_of_9x9_and_128_channels():
    by_hand = (3 * 81 * 128 + 128) + 2 * (128 * 81 * 128 + 128)
    assert by_hand == 2_685_696
    assert count_parameters(CPMTrunk(num_trunks=1)) == by_hand
    assert count_parameters(CPMTrunk()) == 2 * by_hand
    assert (CPMTrunk().out_channels, CPMTrunk().strides) == ((128, 128), (8, 8))


def test_the_trunks_read_the_same_image_with_separate_weights():
    torch.manual_seed(0)
    trunk = CPMTrunk(channels=(4, 4, 4), kernel_sizes=(3, 3, 3)).eval()
    first, second = trunk(torch.rand(2, 3, 64, 48))
    assert first.shape == second.shape == (2, 4, 8, 6)
    assert not torch.equal(first, second)


def test_the_vgg_trunk_is_ten_convolutions_of_vgg_19_and_five_further_ones():
    trunk = CPMVGGTrunk()
    layers = [m for m in trunk.modules() if isinstance(m, nn.Conv2d)]
    channels = [64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 256, 256, 256, 256, 128]
    assert [layer.out_channels for layer in layers] == channels
    assert {layer.kernel_size for layer in layers} == {(3, 3)}
    pools = [m for m in trunk.modules() if isinstance(m, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride) for p in pools] == [(2, 2)] * 3
    assert count_parameters(trunk) == sum(9 * a * b + b for a, b in zip([3, *channels], channels, strict=False))


def test_the_last_convolutions_may_have_learned_slopes():
    trunk = CPMVGGTrunk(extra_channels=(7, 5), num_prelu=3, norm_cfg=dict(type='BN'))
    slopes = {name: m.num_parameters for name, m in trunk.named_modules() if isinstance(m, nn.PReLU)}
    assert slopes == {'vgg.6.1.2': 512, 'extra.0.2': 7, 'extra.1.2': 5}
    assert sum(isinstance(m, nn.ReLU) for m in trunk.modules()) == 12 - 3
    alone = CPMVGGTrunk(extra_channels=(), num_prelu=1)
    assert [m.num_parameters for m in alone.modules() if isinstance(m, nn.PReLU)] == [512]
    with pytest.raises(ConfigError, match='CPMVGGTrunk has 12 convolutions, so num_prelu is from 0 to 12; got 13'):
        CPMVGGTrunk(extra_channels=(7, 5), num_prelu=13)


@pytest.mark.parametrize('trunk', [CPMTrunk, CPMVGGTrunk])
def test_weights_start_at_a_hundredth_and_biases_at_zero(trunk):
    torch.manual_seed(0)
    for layer in trunk().modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
            assert not layer.bias.any()


def test_layers_that_do_not_pair_up_are_an_error():
    with pytest.raises(ConfigError, match='one kernel size per layer'):
        CPMTrunk(channels=(8, 8), kernel_sizes=(9, 9, 9))
    with pytest.raises(ConfigError, match='four blocks'):
        CPMVGGTrunk(vgg_channels=(8, 8))
