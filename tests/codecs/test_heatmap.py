import pytest
import torch

from poseplug.codecs.heatmap import Heatmap
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.skeleton import Skeleton


def build(num_keypoints: int, **settings) -> Heatmap:
    """Stride 4, cell g at pixel 4g, sigma 2 cells, of an input of (192, 256)."""
    return Heatmap(Skeleton('numbered', tuple(f'keypoint_{i}' for i in range(num_keypoints))), (192, 256), **settings)


def test_a_keypoint_that_reaches_no_cell_is_ignored_by_default():
    keypoints, visible = torch.full((1, 1, 2, 2), 50.0), torch.ones(1, 1, 2)
    keypoints[0, 0, 1, 0] = -60.0
    assert build(2).encode(keypoints, visible).weights['heatmap'].tolist() == [[1, 0]]
    assert build(2, outside='empty').encode(keypoints, visible).weights['heatmap'].tolist() == [[1, 1]]


def test_of_several_instances_the_subject_is_drawn_alone_by_default():
    keypoints = torch.tensor([40.0, 120.0])[None, :, None, None].expand(1, 2, 3, 2)
    visible = torch.tensor([[[1, 0, 0], [0, 2, 0]]])
    alone, both = build(3), build(3, instances='max')
    assert alone.encode(keypoints, visible).weights['heatmap'].tolist() == [[1, 0, 0]]
    assert both.encode(keypoints, visible).weights['heatmap'].tolist() == [[1, 1, 0]]
    all_visible = torch.full((1, 2, 3), 2)
    heatmaps = alone.encode(keypoints, all_visible).stage_fields(0)['heatmap']
    torch.testing.assert_close(heatmaps, alone.encode(keypoints[:, :1], all_visible[:, :1]).stage_fields(0)['heatmap'])
    assert (both.encode(keypoints, all_visible).stage_fields(0)['heatmap'] > heatmaps).any()


def test_decode_undoes_encode_within_the_declared_tolerance_up_to_the_border():
    heatmap = build(1, refine='dark')
    keypoints = torch.tensor([[96.0, 128.0], [0.0, 0.0], [188.25, 251.5], [3.1, 200.7]])[:, None, None]
    poses = heatmap.decode(heatmap.encode(keypoints, torch.ones(4, 1, 1)).stage_fields(0))
    assert (poses.keypoints - keypoints[:, 0]).norm(dim=-1).max() <= heatmap.tolerance


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'instances': 'sum'}, "instances is one of .*; got 'sum'"),
        ({'unlabeled': 'zero'}, 'unlabeled'),
        ({'outside': 'zero'}, 'outside'),
        ({'refine': 'darker'}, 'refine'),
        ({'sigma_px': 0.0}, 'sigma_px is a number above 0 and up to .*; got 0.0'),
        ({'blur_kernel_size': 4}, 'blur_kernel_size is an odd number'),
        ({'smoothing_kernel_size': 1}, 'smoothing_kernel_size is an odd number'),
        ({'center': 'middle'}, 'center'),
        ({'rescale': 'range'}, "rescale='range' is for refine 'dark' of one subject per heatmap; got refine='quarter'"),
        ({'rescale': 'range', 'refine': 'dark', 'instances': 'max'}, "got refine='dark' and instances='max'"),
    ],
)
def test_a_setting_without_meaning_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(1, **settings)


def test_heatmaps_of_another_size_are_an_error():
    with pytest.raises(MismatchError, match=r'reads maps of \(48, 64\) cells.*these have \(64, 48\)'):
        build(1).decode({'heatmap': torch.zeros(1, 1, 48, 64)})


def test_an_empty_batch_is_decoded_to_no_instance():
    assert len(build(2).decode({'heatmap': torch.zeros(0, 2, 64, 48)})) == 0
