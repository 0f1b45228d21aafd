import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.models.backbones.hourglass import HourglassStem, PreActResidual
from poseplug.models.heads.hourglass import HourglassHead

SMALL = dict(channels=8, depth=2)


def build_small(num_stacks: int = 3, fields: dict[str, int] | None = None, **settings) -> HourglassHead:
    torch.manual_seed(0)
    head = HourglassHead((8,), (4,), fields or {'heatmap': 3}, 4, num_stacks, **{**SMALL, **settings})
    for convolution in (m for m in head.predict.modules() if isinstance(m, nn.Conv2d)):
        nn.init.normal_(convolution.weight)  # far from the zeros they start near
    return head.eval()


def random_map(channels: int = 8) -> torch.Tensor:
    return torch.randn(2, channels, 8, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ('num_stacks', 'num_keypoints', 'total'), [(8, 16, 25_594_624), (8, 17, 25_598_472), (4, 17, 13_020_612)]
)
def test_the_published_networks_have_the_published_number_of_weights(num_stacks, num_keypoints, total):
    with torch.device('meta'):
        stem = HourglassStem()
        head = HourglassHead(stem.out_channels, stem.strides, {'heatmap': num_keypoints}, 4, num_stacks)
    assert sum(p.numel() for part in (stem, head) for p in part.parameters()) == total


def test_the_next_stack_reads_the_input_the_output_and_the_prediction_of_the_stack_before():
    head, stem = build_small(2, {'heatmap': 3, 'offset': 2}), random_map()
    first, second = head([stem])
    output = head.stacks[0](stem)
    predicted = torch.cat([first['heatmap'], first['offset']], dim=1)
    second_input = stem + head.merges[0](output) + head.remaps[0](predicted)
    assert_close(second, head.predict[1](head.stacks[1](second_input)))


def test_remapping_changes_the_later_stacks_and_can_be_switched_off():
    with_it, without = build_small(2), build_small(2, remap_predictions=False)
    missed = without.load_state_dict(with_it.state_dict(), strict=False)
    assert missed.unexpected_keys == ['remaps.0.weight', 'remaps.0.bias']
    one, other = with_it([random_map()]), without([random_map()])
    assert torch.equal(one[0]['heatmap'], other[0]['heatmap'])
    assert not torch.allclose(one[1]['heatmap'], other[1]['heatmap'])


def test_each_stack_is_supervised_separately():
    """The loss of a stage has a gradient in its stack and those before, and in none behind."""
    for t in range(3):
        head = build_small(3).train()
        head([random_map()])[t]['heatmap'].square().sum().backward()
        has_gradient = [
            any(p.grad is not None and bool(p.grad.any()) for p in stack.parameters()) for stack in head.stacks
        ]
        assert has_gradient == [s <= t for s in range(3)]


def test_a_map_of_other_channels_passes_a_residual_and_any_other_is_read_unchanged():
    assert isinstance(build_small(1).enter, nn.Identity)
    head = HourglassHead((4, 6, 5), (8, 4, 8), {'heatmap': 3}, 4, 1, **SMALL).eval()
    assert isinstance(head.enter, PreActResidual)
    (stage,) = head([torch.rand(2, 4, 4, 3), random_map(6), torch.rand(2, 5, 4, 3)])
    assert stage['heatmap'].shape == (2, 3, 8, 6)


def test_an_image_of_128x96_passes():
    head = HourglassHead((8,), (4,), {'heatmap': 17}, 4, 2, channels=8).eval()
    assert [stage['heatmap'].shape for stage in head([torch.rand(1, 8, 32, 24)])] == [(1, 17, 32, 24)] * 2


def test_no_stack_and_no_map_of_the_stride_are_errors():
    with pytest.raises(ConfigError, match='num_stacks=0'):
        build_small(0)
    with pytest.raises(MismatchError, match=r'HourglassHead .* 4, .* strides \(8, 16\)'):
        HourglassHead((8, 8), (8, 16), {'heatmap': 3}, 4)
