"""Instances from peaks and tags, in images of a few cells whose grouping can be worked out by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.fields.peaks import find_local_maxima
from poseplug.grouping.tag_groups import TagRules, assign_peaks, group_peaks_by_tags
from poseplug.grouping.tags import find_nearest_tag_cells, keep_window_maxima, parse_tags

TAG_THRESHOLD = 1.0


def tag_column(*values):
    return np.array(values, float)[:, None]


def fields_with(num_keypoints, *peaks, size=(7, 9)):
    """Heatmaps and tags (1, K, H, W) with peaks (keypoint, x, y, score, tag)."""
    heatmaps, tags = torch.zeros(1, num_keypoints, *size), torch.full((1, num_keypoints, *size), 50.0)
    for keypoint, x, y, score, tag in peaks:
        heatmaps[0, keypoint, y, x], tags[0, keypoint, y, x] = score, tag
    return heatmaps, tags


def cells_of(result):
    """The cells of every instance's keypoints, as tuples, and their visibility."""
    poses = result.to_poses()
    return [[tuple(cell) for cell in instance] for instance in poses.keypoints.tolist()], poses.visibility.tolist()


def test_peaks_are_assigned_to_the_nearest_mean_and_the_rest_to_none():
    """Of tags 5 and 0 and 9 the first two belong to the instances of 5.2 and 0.1; none is near 9."""
    instances = assign_peaks(tag_column(5, 0, 9), np.array([0.9, 0.8, 0.7]), tag_column(0.1, 5.2), TAG_THRESHOLD)
    assert instances.tolist() == [1, 0, -1]


def test_peaks_are_assigned_together_and_not_one_after_the_other():
    """1.6 is nearest to 2, but so is 2.4, which is far from 0: the smallest sum assigns 1.6 to 0, which is too far."""
    instances = assign_peaks(tag_column(1.6, 2.4), np.array([0.9, 0.8]), tag_column(0, 2), TAG_THRESHOLD)
    assert instances.tolist() == [-1, 1]


def test_of_peaks_as_near_the_highest_scoring_is_assigned():
    """Both distances are 0 as whole numbers."""
    instances = assign_peaks(tag_column(0.1, 0.2), np.array([0.4, 0.8]), tag_column(0), TAG_THRESHOLD)
    assert instances.tolist() == [-1, 0]


def test_of_instances_as_near_in_whole_numbers_the_nearest_is_chosen():
    instances = assign_peaks(tag_column(0.4), np.array([0.4]), tag_column(0.0, 0.3), TAG_THRESHOLD)
    assert instances.tolist() == [1]


def test_distances_of_several_dimensions_are_lengths():
    """(0.6, 0.8) is 1 away from the origin, which is too far."""
    for factor, expected in ((1.0, -1), (0.99, 0)):
        instances = assign_peaks(factor * np.array([[0.6, 0.8]]), np.array([0.4]), np.zeros((1, 2)), TAG_THRESHOLD)
        assert instances.tolist() == [expected]


def test_the_tag_of_an_instance_is_the_mean_of_its_keypoints_so_far():
    """0, then 0.8, then 1.3, which is 0.9 from their mean, and 1.3 from the first."""
    result = group_peaks_by_tags(np.full(3, 0.6), tag_column(0, 0.8, 1.3), np.arange(4), [0, 1, 2], TAG_THRESHOLD)
    assert result.peak_indices.tolist() == [[0, 1, 2]]
    assert result.mean_tags.tolist() == [[pytest.approx(0.7)]]
    assert result.instance_scores.tolist() == [pytest.approx(0.6)]


def test_the_order_of_keypoints_decides_which_instance_is_started_first():
    """From the other end 1.3 and 0.8 meet first, and 0 is 1.05 from their mean."""
    result = group_peaks_by_tags(np.full(3, 0.6), tag_column(0, 0.8, 1.3), np.arange(4), [2, 1, 0], TAG_THRESHOLD)
    assert result.peak_indices.tolist() == [[-1, 1, 2], [0, -1, -1]]
    assert result.instance_scores.tolist() == pytest.approx([0.4, 0.2])


def test_no_peaks_are_grouped_to_no_instances():
    result = group_peaks_by_tags(np.zeros(0), np.zeros((0, 1)), np.zeros(4, int), [0, 1, 2], TAG_THRESHOLD)
    assert (result.peak_indices.shape, result.mean_tags.shape, result.instance_scores.shape) == ((0, 3), (0, 1), (0,))


def test_instances_whose_keypoints_cross_are_separated_by_tags():
    heatmaps, tags = fields_with(
        2, (0, 1, 1, 0.9, 3.0), (1, 7, 5, 0.9, 3.2), (0, 7, 1, 0.8, -2.0), (1, 1, 5, 0.8, -2.1)
    )
    result = parse_tags(heatmaps, tags, [0, 1], TagRules())
    assert cells_of(result) == ([[(1, 1), (7, 5)], [(7, 1), (1, 5)]], [[2, 2], [2, 2]])
    assert result.to_poses((4.0, 2.0), 1.5).keypoints[0].tolist() == [[5.5, 3.5], [29.5, 11.5]]


def test_a_missing_keypoint_is_where_the_tag_is_nearest():
    """Not where the heatmap is largest; and the larger of two cells whose distances are equal as whole numbers."""
    heatmaps, tags = fields_with(
        2, (0, 1, 1, 0.9, 3.0), (1, 6, 1, 0.05, 3.1), (1, 6, 4, 0.06, 2.7), (1, 2, 5, 0.09, 9.0)
    )
    assert cells_of(parse_tags(heatmaps, tags, [0, 1], TagRules())) == ([[(1, 1), (6, 4)]], [[2, 0]])


def test_a_keypoint_filled_in_from_above_the_threshold_is_visible_and_widens_the_box():
    """It lies on the slope of a peak that is another instance's."""
    heatmaps, tags = fields_with(2, (0, 1, 1, 0.9, 3.0), (1, 6, 4, 0.9, 8.0), (1, 5, 4, 0.5, 3.0))
    poses = parse_tags(heatmaps, tags, [0, 1], TagRules()).to_poses()
    index = int(np.argmax(poses.keypoints[:, 0, 0] == 1))
    assert poses.visibility[index].tolist() == [2, 1]
    assert poses.boxes[index].tolist() == [1, 1, 5, 4]
    assert poses.keypoint_scores[index].tolist() == pytest.approx([0.9, 0.5])
    assert poses.instance_scores[index] == pytest.approx(0.45)


def test_without_filling_a_missing_keypoint_scores_0():
    heatmaps, tags = fields_with(2, (0, 1, 1, 0.9, 3.0), (1, 6, 4, 0.05, 3.0))
    poses = parse_tags(heatmaps, tags, [0, 1], TagRules(fill_missing=False)).to_poses()
    assert poses.keypoint_scores.tolist() == [[pytest.approx(0.9), 0]]
    assert poses.visibility.tolist() == [[2, 0]]
    assert poses.boxes.tolist() == [[1, 1, 1, 1]]


def test_missing_keypoints_are_searched_in_the_image_of_the_instance():
    images = [fields_with(2, (0, 1, 1, 0.9, 3.0), (1, x, 4, 0.05, 3.0)) for x in (6, 2)]
    result = parse_tags(*map(torch.cat, zip(*images, strict=True)), [0, 1], TagRules())
    assert result.image_indices.tolist() == [0, 1]
    assert cells_of(result)[0] == [[(1, 1), (6, 4)], [(1, 1), (2, 4)]]


def test_instances_beyond_the_limit_are_dropped_and_counted():
    heatmaps, tags = fields_with(1, (0, 1, 1, 0.5, 0.0), (0, 4, 3, 0.9, 5.0), (0, 7, 5, 0.7, 9.0))
    result = parse_tags(heatmaps, tags, [0], TagRules(max_instances=2, nms_kernel_size=3))
    assert result.to_poses().instance_scores.tolist() == pytest.approx([0.9, 0.7])
    assert result.parsed_instances.counts == {'peaks': 3, 'instances grouped': 3, 'beyond max_instances': 1}


def test_a_peak_is_the_largest_of_its_square_and_among_the_highest_of_its_heatmap():
    """(3, 1) is 2 cells beside the larger (1, 1), and (7, 1) is 6 beside it."""
    heatmaps, _ = fields_with(1, (0, 1, 1, 0.9, 0), (0, 3, 1, 0.8, 0), (0, 7, 1, 0.3, 0))
    width = heatmaps.shape[-1]
    squares = {
        w: keep_window_maxima(heatmaps, find_local_maxima(heatmaps, 0.1), w).sub(width).tolist() for w in (3, 5, 13)
    }
    assert squares == {3: [1, 3, 7], 5: [1, 7], 13: [1]}
    assert parse_tags(heatmaps, 5 * heatmaps, [0], TagRules(top_k=1)).parsed_instances.counts['peaks'] == 1


def test_of_each_keypoint_the_highest_peak_comes_first():
    heatmaps, tags = fields_with(2, (0, 1, 1, 0.3, 0), (0, 7, 5, 0.9, 5), (1, 2, 1, 0.4, 0), (1, 6, 5, 0.8, 5))
    peaks = parse_tags(heatmaps, tags, [0, 1], TagRules()).parsed_instances.peaks
    assert peaks.channels.tolist() == [0, 0, 1, 1]
    assert peaks.scores.tolist() == pytest.approx([0.9, 0.3, 0.8, 0.4])


def test_instances_of_equal_scores_are_in_the_order_of_their_peaks():
    cells = [(x, y) for y in range(0, 16, 2) for x in range(0, 16, 2)]
    peaks = ((0, x, y, 0.5, 9.0 * n) for n, (x, y) in enumerate(cells))
    heatmaps, tags = fields_with(1, *peaks, size=(16, 16))
    rules = TagRules(nms_kernel_size=3, top_k=64, max_instances=64)
    assert cells_of(parse_tags(heatmaps, tags, [0], rules))[0] == [[cell] for cell in cells]


def test_scores_of_instances_end_at_1():
    heatmaps, tags = fields_with(1, (0, 1, 1, 1.7, 0))
    assert parse_tags(heatmaps, tags, [0], TagRules()).to_poses().instance_scores.tolist() == [1]


def test_squares_end_at_the_border():
    heatmaps = torch.zeros(2, 1, 4, 4)
    heatmaps[0, 0, 3, 3], heatmaps[1, 0, 0, 0] = 0.5, 0.4
    assert keep_window_maxima(heatmaps, find_local_maxima(heatmaps, 0.1), 5).tolist() == [15, 16]


def keep_window_maxima_plainly(heatmaps: torch.Tensor, indices: torch.Tensor, kernel_size: int) -> torch.Tensor:
    """The same from the maxima of the squares around all cells."""
    largest = F.max_pool2d(heatmaps, kernel_size, stride=1, padding=kernel_size // 2)
    return indices[heatmaps.flatten()[indices] >= largest.flatten()[indices]]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize('size', [(17, 13), (1, 1), (1, 9), (9, 1), (2, 2), (32, 32)])
def test_window_maxima_are_bit_for_bit_those_of_all_squares(size, dtype):
    noise = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    kinds = {
        'random': noise,
        'with ties': noise.mul(2).round(),
        'all equal': torch.full_like(noise, 0.3),
        'with NaN': torch.where(noise > 2, torch.nan, noise),
        'all NaN': torch.full_like(noise, torch.nan),
        'no images': noise[:0],
    }
    for kind, heatmaps in kinds.items():
        heatmaps = heatmaps.to(dtype)
        maxima = find_local_maxima(heatmaps, -0.5)
        for kernel_size in (3, 5, 7, 13):
            kept = keep_window_maxima(heatmaps, maxima, kernel_size)
            assert torch.equal(kept, keep_window_maxima_plainly(heatmaps, maxima, kernel_size)), (kind, kernel_size)
    every_cell = torch.arange(noise.numel())
    expected = keep_window_maxima_plainly(noise, every_cell, 5)
    assert torch.equal(keep_window_maxima(noise, every_cell, 5), expected)


@pytest.mark.parametrize('shape', [(0, 2, 4, 4), (2, 2, 4, 4)])
def test_where_there_are_no_peaks_there_is_no_instance(shape):
    result = parse_tags(torch.zeros(shape), torch.zeros(shape), [0, 1], TagRules())
    assert result.to_poses().keypoints.shape == (0, 2, 2)
    assert result.parsed_instances.counts['peaks'] == 0


def test_the_nearest_cells_do_not_depend_on_the_chunks_of_the_search(monkeypatch):
    monkeypatch.setattr('poseplug.grouping.tags._CHUNK_SIZE', 50)
    values, tags = torch.rand(3, 20), 5 * torch.rand(3, 2, 20)
    channels, means = torch.tensor([0, 1, 1, 2]), 5 * torch.rand(4, 2)
    before = tags.clone()
    cost = 100 * (tags[channels] - means[:, :, None]).norm(dim=1).round() - values[channels]
    assert find_nearest_tag_cells(values, tags, channels, means).tolist() == cost.argmin(dim=1).tolist()
    assert torch.equal(tags, before)


@pytest.mark.parametrize('shape', [(1, 3, 4, 5), (1, 0, 4, 5), (2, 2, 4, 5), (1, 2, 4, 4)])
def test_tags_that_do_not_fit_the_heatmaps_are_an_error_that_names_both(shape):
    with pytest.raises(MismatchError, match=r'each of the 2 heatmaps of \(4, 5\) cells .* of 1 images; got tags of'):
        parse_tags(torch.zeros(1, 2, 4, 5), torch.zeros(shape), [0, 1], TagRules())


@pytest.mark.parametrize(
    'settings',
    [
        dict(nms_kernel_size=4),
        dict(nms_kernel_size=1),
        dict(keypoint_threshold=-0.1),
        dict(keypoint_threshold=1.0),
        dict(top_k=0),
        dict(tag_threshold=0.0),
        dict(max_instances=0),
    ],
)
def test_a_rule_without_meaning_is_an_error(settings):
    with pytest.raises(ConfigError, match=f'Tags: {next(iter(settings))} is'):
        TagRules(**settings)
