import pytest
import torch

from poseplug.codecs.heatmap import Heatmap
from poseplug.errors import ConfigError, MismatchError
from poseplug.skeleton import Skeleton


def codec(joints: int, **settings) -> Heatmap:
    """Stride 4, cell g at pixel 4g, sigma 2 cells, of an input of (192, 256)."""
    return Heatmap(Skeleton('numbered', tuple(f'joint_{i}' for i in range(joints))), (192, 256), **settings)


def test_a_joint_that_reaches_no_cell_is_not_counted_unless_asked():
    keypoints, visible = torch.full((1, 1, 2, 2), 50.0), torch.ones(1, 1, 2)
    keypoints[0, 0, 1, 0] = -60.0
    assert codec(2).encode(keypoints, visible).weights['heatmap'].tolist() == [[1, 0]]
    assert codec(2, outside='empty').encode(keypoints, visible).weights['heatmap'].tolist() == [[1, 1]]


def test_of_several_people_the_subject_is_drawn_alone_unless_all_are_asked_for():
    keypoints = torch.tensor([40.0, 120.0])[None, :, None, None].expand(1, 2, 3, 2)
    visible = torch.tensor([[[1, 0, 0], [0, 2, 0]]])
    alone, both = codec(3), codec(3, people='max')
    assert alone.encode(keypoints, visible).weights['heatmap'].tolist() == [[1, 0, 0]]
    assert both.encode(keypoints, visible).weights['heatmap'].tolist() == [[1, 1, 0]]
    everywhere = torch.full((1, 2, 3), 2)
    maps = alone.encode(keypoints, everywhere).at(0)['heatmap']
    torch.testing.assert_close(maps, alone.encode(keypoints[:, :1], everywhere[:, :1]).at(0)['heatmap'])
    assert (both.encode(keypoints, everywhere).at(0)['heatmap'] > maps).any()


def test_decode_undoes_encode_within_the_declared_tolerance_up_to_the_border():
    heatmap = codec(1, refine='dark')
    places = torch.tensor([[96.0, 128.0], [0.0, 0.0], [188.25, 251.5], [3.1, 200.7]])[:, None, None]
    poses = heatmap.decode(heatmap.encode(places, torch.ones(4, 1, 1)).at(0))
    assert (poses.keypoints - places[:, 0]).norm(dim=-1).max() <= heatmap.tolerance


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'people': 'sum'}, "people is one of .*; got 'sum'"),
        ({'missing': 'zero'}, 'missing'),
        ({'outside': 'zero'}, 'outside'),
        ({'refine': 'darker'}, 'refine'),
        ({'sigma': 0.0}, 'sigma and stride are positive'),
        ({'kernel': 4}, 'kernel is odd'),
        ({'smooth': 1}, 'smooth is odd'),
        ({'center': 'middle'}, 'center'),
    ],
)
def test_a_setting_that_means_nothing_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        codec(1, **settings)


def test_maps_of_another_size_are_not_read():
    with pytest.raises(MismatchError, match=r'reads maps of \(48, 64\) cells.*these have \(64, 48\)'):
        codec(1).decode({'heatmap': torch.zeros(1, 1, 48, 64)})


def test_nobody_is_decoded_to_nobody():
    assert len(codec(2).decode({'heatmap': torch.zeros(0, 2, 64, 48)})) == 0
