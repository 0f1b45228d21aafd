import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.core.errors import MismatchError
from poseplug.models.heads.rtmw import RTMWHead

SHAPES = {'x': (2, 16), 'y': (2, 8)}


def test_a_token_is_made_of_the_coarse_map_and_then_of_the_fine_one_with_the_coarse_one_shuffled_in():
    head = RTMWHead((2, 8), (4, 8), SHAPES, input_size=(16, 8), hidden_dims=6, query_dims=4).eval()
    tokens = []
    head.attention = nn.Identity()
    head.bins.register_forward_pre_hook(lambda _, args: tokens.append(args[0]))
    head.shuffle = nn.Identity()
    fine, coarse = torch.randn(1, 2, 2, 4), torch.randn(1, 8, 1, 2)
    head([torch.zeros(1, 1, 4, 8), fine, coarse])
    # cell (row, column) of a 2x2 square reads channel 4 c + 2 row + column of the coarse map
    shuffled = torch.zeros(1, 2, 2, 4)
    for channel in range(8):
        row, column = channel % 4 // 2, channel % 2
        shuffled[:, channel // 4, row, column::2] = coarse[:, channel, 0]
    coarse_half = head.tokens[1](head.maps[1](coarse).flatten(2))
    fine_half = head.tokens[0](head.maps[0](torch.cat([shuffled, fine], 1)).flatten(2))
    assert_close(tokens[0], torch.cat([coarse_half, fine_half], 2))


@pytest.mark.parametrize(('channels', 'strides'), [((8,), (8,)), ((8, 8), (8, 8)), ((8, 6), (8, 16))])
def test_other_feature_maps_are_refused_with_what_would_fit(channels, strides):
    with pytest.raises(MismatchError, match='RTMWHead reads two feature maps'):
        RTMWHead(channels, strides, SHAPES, input_size=(64, 64))
