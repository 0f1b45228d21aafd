import torch

from poseplug.models.necks.concat_maps import ConcatMaps


def test_maps_are_joined_at_the_size_of_the_finest():
    neck = ConcatMaps(in_channels=(2, 3), strides=(4, 8))
    assert (neck.out_channels, neck.strides) == ((5,), (4,))
    fine, coarse = torch.randn(1, 2, 4, 6), torch.full((1, 3, 2, 3), 7.0)
    (joined,) = neck([fine, coarse])
    assert joined[:, :2].equal(fine)
    assert joined[:, 2:].equal(torch.full((1, 3, 4, 6), 7.0))
