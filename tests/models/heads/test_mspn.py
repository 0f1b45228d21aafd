import pytest
import torch

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.mspn import MSPN, RSN, ResidualStepsBlock
from poseplug.models.heads.mspn import MSPNHead


@pytest.mark.parametrize(
    ('strides', 'indices'),
    [
        ((4, 8, 16, 32), [3, 2, 1, 0]),
        ((4, 8, 4, 8), [1, 0, 3, 2]),
        ((4, 4, 4), [0, 1, 2]),
        ((2, 4, 8), [2, 1]),
    ],
)
def test_every_pyramid_is_predicted_coarsest_first_and_finer_levels_are_left_out(strides, indices):
    head = MSPNHead((6,) * len(strides), strides, {'heatmap': 3}, stride=4)
    assert head.feature_indices == indices
    features = [torch.ones(1, 6, 64 // s, 32 // s) for s in strides]
    assert [stage['heatmap'].shape for stage in head(features)] == [(1, 3, 16, 8)] * len(indices)


def test_a_step_reads_the_step_before_and_that_of_the_branch_before():
    """With convolutions that copy their input, the outputs of three branches are sums that can be counted by hand."""
    block = ResidualStepsBlock(64, 78, num_steps=3).eval()
    block.enter, block.leave = torch.nn.Identity(), torch.nn.Identity()
    block.downsample = None
    for branch in block.branches:
        for index in range(len(branch)):
            branch[index] = torch.nn.Identity()
    a, b, c = 1.0, 10.0, 100.0  # the three parts of the input
    x = torch.tensor([a, b, c]).repeat_interleave(26).view(1, 78, 1, 1)
    # first branch: a. Second: b + a, then the same. Third: c + (b + a), plus the second branch's last, then the same
    outputs = torch.tensor([a, b + a, c + 2 * (b + a)]).repeat_interleave(26).view(1, 78, 1, 1)
    torch.testing.assert_close(block(x), outputs + x)


@pytest.mark.parametrize(
    ('part', 'settings', 'message'),
    [
        (MSPN, dict(num_stages=0), 'at least one stage'),
        (RSN, dict(num_blocks=(1, 1)), 'each of four levels'),
        (RSN, dict(num_steps=0), 'at least one step'),
    ],
)
def test_a_number_that_is_too_small_is_an_error(part, settings, message):
    with pytest.raises(ConfigError, match=message):
        part(**settings)


def test_the_stages_of_mspn_are_pyramids_of_one_width():
    backbone = MSPN(num_stages=2, unit_channels=8, num_blocks=(1, 1, 1, 1), base_channels=4)
    assert backbone.strides == (4, 8, 16, 32) * 2
    assert backbone.out_channels == (8,) * 8
