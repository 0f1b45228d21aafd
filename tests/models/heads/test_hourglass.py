import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.errors import ConfigError, MismatchError
from poseplug.models.backbones.hourglass import HourglassStem, Residual
from poseplug.models.heads.hourglass import HourglassHead

SMALL = dict(channels=8, depth=2)


def small(stacks: int = 3, fields: dict[str, int] | None = None, **settings) -> HourglassHead:
    torch.manual_seed(0)
    head = HourglassHead((8,), (4,), fields or {'heatmap': 3}, 4, stacks, **{**SMALL, **settings})
    for convolution in (m for m in head.predict.modules() if isinstance(m, nn.Conv2d)):
        nn.init.normal_(convolution.weight)  # far from the zeros they start near
    return head.eval()


def maps(channels: int = 8) -> torch.Tensor:
    return torch.randn(2, channels, 8, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(('stacks', 'joints', 'total'), [(8, 16, 25_594_624), (8, 17, 25_598_472), (4, 17, 13_020_612)])
def test_the_published_networks_have_the_published_number_of_weights(stacks, joints, total):
    with torch.device('meta'):
        stem = HourglassStem()
        head = HourglassHead(stem.out_channels, stem.strides, {'heatmap': joints}, 4, stacks)
    assert sum(p.numel() for part in (stem, head) for p in part.parameters()) == total


def test_the_next_stack_sees_what_was_seen_what_was_made_of_it_and_what_was_predicted():
    head, seen = small(2, {'heatmap': 3, 'offset': 2}), maps()
    first, second = head([seen])
    made = head.stacks[0](seen)
    predicted = torch.cat([first['heatmap'], first['offset']], dim=1)
    later = seen + head.merges[0](made) + head.remaps[0](predicted)
    assert_close(second, head.predict[1](head.stacks[1](later)))


def test_remapping_changes_the_later_stacks_and_can_be_left_out():
    with_it, without = small(2), small(2, remap=False)
    missed = without.load_state_dict(with_it.state_dict(), strict=False)
    assert missed.unexpected_keys == ['remaps.0.weight', 'remaps.0.bias']
    one, other = with_it([maps()]), without([maps()])
    assert torch.equal(one[0]['heatmap'], other[0]['heatmap'])
    assert not torch.allclose(one[1]['heatmap'], other[1]['heatmap'])


def test_each_stack_is_supervised_on_its_own():
    """The loss of a stage pulls at its own stack and those before, and at none behind."""
    for t in range(3):
        head = small(3).train()
        head([maps()])[t]['heatmap'].square().sum().backward()
        pulled = [any(p.grad is not None and bool(p.grad.any()) for p in stack.parameters()) for stack in head.stacks]
        assert pulled == [s <= t for s in range(3)]


def test_a_map_of_other_channels_comes_in_through_a_residual_and_any_other_as_it_is():
    assert isinstance(small(1).enter, nn.Identity)
    head = HourglassHead((4, 6, 5), (8, 4, 8), {'heatmap': 3}, 4, 1, **SMALL).eval()
    assert isinstance(head.enter, Residual)
    (stage,) = head([torch.rand(2, 4, 4, 3), maps(6), torch.rand(2, 5, 4, 3)])
    assert stage['heatmap'].shape == (2, 3, 8, 6)


def test_a_picture_of_128x96_passes():
    head = HourglassHead((8,), (4,), {'heatmap': 17}, 4, 2, channels=8).eval()
    assert [stage['heatmap'].shape for stage in head([torch.rand(1, 8, 32, 24)])] == [(1, 17, 32, 24)] * 2


def test_no_stack_and_no_map_of_the_stride_are_errors():
    with pytest.raises(ConfigError, match='stacks=0'):
        small(0)
    with pytest.raises(MismatchError, match=r'HourglassHead .* 4, .* strides \(8, 16\)'):
        HourglassHead((8, 8), (8, 16), {'heatmap': 3}, 4)
