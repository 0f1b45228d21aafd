import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.cpm import CPMHeatmap
from poseplug.models.losses.squared import SumSquaredError
from poseplug.skeletons.flic import FLIC
from poseplug.skeletons.lsp import LSP

CODEC = CPMHeatmap(LSP, (368, 368))
NECK = LSP.index('neck')


def instances_at(*points: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """One image with instances whose keypoints all lie at one point each, all visible."""
    keypoints = torch.tensor(points).view(1, -1, 1, 2).expand(-1, -1, len(LSP), -1).clone()
    return keypoints, torch.full(keypoints.shape[:3], 2)


def draw_plainly(x: float, y: float) -> np.ndarray:
    """The released code's formula, cell by cell."""
    heatmaps = np.zeros((46, 46))
    for gy in range(46):
        for gx in range(46):
            exponent = ((8 * gx + 3.5 - x) ** 2 + (8 * gy + 3.5 - y) ** 2) / (2 * 7 * 7)
            heatmaps[gy, gx] = 0.0 if exponent > 4.6052 else math.exp(-exponent)
    return heatmaps


def test_there_is_a_heatmap_for_every_keypoint_and_one_for_the_background():
    assert CODEC.fields == {'heatmap': 15}
    assert CPMHeatmap(FLIC, (368, 368)).fields == {'heatmap': 10}
    assert CODEC.grid.size == (46, 46)


def test_a_keypoint_on_a_cell_has_the_value_1_in_it_and_exp_of_minus_64_98ths_one_cell_away():
    heatmaps = CODEC.encode(*instances_at((8 * 10 + 3.5, 8 * 20 + 3.5))).stage_fields(0)['heatmap']
    assert heatmaps[0, NECK, 20, 10] == 1
    for row, column in ((20, 11), (20, 9), (21, 10), (19, 10)):
        assert heatmaps[0, NECK, row, column].item() == pytest.approx(math.exp(-64 / (2 * 49)))


def test_values_below_one_percent_are_0_and_those_just_above_are_not():
    heatmaps = CODEC.encode(*instances_at((8 * 10 + 3.5, 8 * 20 + 3.5))).stage_fields(0)['heatmap'][0, NECK]
    assert heatmaps[22, 12] == 0  # two cells each way: exp(-512 / 98) = 0.0054
    assert heatmaps[20, 12].item() == pytest.approx(math.exp(-256 / 98))
    assert heatmaps[20, 13] == 0  # three cells: exp(-576 / 98) = 0.0028
    assert heatmaps[heatmaps > 0].min() > 0.01


@pytest.mark.parametrize('point', [(100.0, 50.0), (0.0, 0.0), (367.0, 367.0), (183.7, 2.2), (-9.0, 20.0), (380.0, 9.0)])
def test_a_heatmap_is_the_formula_of_the_released_code(point):
    heatmaps = CODEC.encode(*instances_at(point)).stage_fields(1)['heatmap'][0, NECK].numpy()
    np.testing.assert_allclose(heatmaps, draw_plainly(*point), atol=2e-6)


@pytest.mark.parametrize(('instances', 'value'), [('max', 0.6), ('add', 1.0)])
def test_two_instances_in_a_heatmap_are_their_maximum_or_their_sum_capped_at_1(instances, value):
    at_06 = 7 * math.sqrt(-2 * math.log(0.6))  # px at which the Gaussian has fallen to 0.6
    center = 8 * 20 + 3.5
    codec = CPMHeatmap(LSP, (368, 368), instances=instances)
    heatmaps = codec.encode(*instances_at((center - at_06, center), (center + at_06, center))).stage_fields(0)[
        'heatmap'
    ][0, NECK]
    assert heatmaps[20, 20].item() == pytest.approx(value, abs=1e-5)
    assert heatmaps.max() <= 1


def test_the_sum_of_two_instances_below_the_cap_is_their_sum():
    one, other = (100.0, 100.0), (118.0, 100.0)
    both = CODEC.encode(*instances_at(one, other)).stage_fields(0)['heatmap'][0, NECK].numpy()
    np.testing.assert_allclose(both, np.minimum(draw_plainly(*one) + draw_plainly(*other), 1), atol=4e-6)


@pytest.mark.parametrize('instances', ['max', 'add'])
@pytest.mark.parametrize('count', [1, 3])
def test_the_background_is_1_minus_the_largest_keypoint(instances, count):
    keypoints = torch.rand(2, count, 14, 2, generator=torch.Generator().manual_seed(0)) * 367
    codec = CPMHeatmap(LSP, (368, 368), instances=instances)
    for stage in codec.encode(keypoints, torch.full((2, count, 14), 2)).stages:
        heatmaps = stage['heatmap']
        assert_close(heatmaps[:, 14], (1 - heatmaps[:, :14].amax(1)).clamp(min=0))


def test_stage_1_is_trained_on_all_instances_and_later_stages_on_the_subject():
    keypoints, visible = instances_at((100.0, 100.0), (300.0, 300.0))
    targets = CODEC.encode(keypoints, visible)
    subject, other = draw_plainly(100, 100), draw_plainly(300, 300)
    np.testing.assert_allclose(targets.stage_fields(0)['heatmap'][0, NECK], subject + other, atol=2e-6)
    for later in (1, 5):
        np.testing.assert_allclose(targets.stage_fields(later)['heatmap'][0, NECK], subject, atol=2e-6)
    same = CPMHeatmap(LSP, (368, 368), all_instances_first=False).encode(keypoints, visible)
    np.testing.assert_allclose(same.stage_fields(0)['heatmap'][0, NECK], subject, atol=2e-6)


def test_padding_is_no_instance():
    keypoints, visible = instances_at((100.0, 100.0), (300.0, 300.0))
    padded = CODEC.encode(keypoints, visible, torch.tensor([[True, False]]))
    alone = CODEC.encode(keypoints[:, :1], visible[:, :1])
    assert torch.equal(padded.stage_fields(0)['heatmap'], alone.stage_fields(0)['heatmap'])


@pytest.mark.parametrize('position', [0.0, -5e4, math.inf, math.nan])
def test_a_keypoint_that_is_not_labeled_leaves_an_empty_heatmap_whatever_its_position(position):
    keypoints, visible = instances_at((100.0, 100.0))
    keypoints[0, 0, NECK], visible[0, 0, NECK] = position, 0
    heatmaps = CODEC.encode(keypoints, visible).stage_fields(0)['heatmap'][0]
    assert not heatmaps[NECK].any()
    assert heatmaps[:NECK].any()


def test_the_empty_heatmap_of_an_unlabeled_keypoint_counts_or_is_ignored():
    keypoints, visible = instances_at((100.0, 100.0))
    visible[0, 0, NECK] = 0
    predicted, loss = torch.ones(1, 15, 46, 46), SumSquaredError()
    counted = CODEC.encode(keypoints, visible)
    assert 'heatmap' not in counted.weights
    ignored = CPMHeatmap(LSP, (368, 368), unlabeled='ignore').encode(keypoints, visible)
    assert ignored.weights['heatmap'].tolist() == [[1.0] * 12 + [0.0, 1.0, 1.0]]
    expected = counted.stage_fields(0)['heatmap']
    difference = loss(predicted, expected) - loss(predicted, expected, ignored.weights['heatmap'])
    assert difference.item() == pytest.approx(46 * 46 / 2)


def test_a_keypoint_outside_the_crop_is_an_empty_heatmap_that_counts():
    targets = CPMHeatmap(LSP, (368, 368), unlabeled='ignore').encode(*instances_at((-100.0, 50.0)))
    assert not targets.stage_fields(0)['heatmap'][0, :14].any()
    assert targets.weights['heatmap'].all()


def test_an_occluded_keypoint_is_drawn_like_a_visible_one():
    keypoints, visible = instances_at((100.0, 100.0))
    assert torch.equal(
        CODEC.encode(keypoints, visible // 2).stage_fields(0)['heatmap'],
        CODEC.encode(keypoints, visible).stage_fields(0)['heatmap'],
    )


@pytest.mark.parametrize(('refine', 'tolerance'), [('none', 4 * math.sqrt(2)), ('quarter', 3.5), ('taylor', 0.1)])
def test_decode_undoes_encode_within_what_the_refinement_allows(refine, tolerance):
    codec = CPMHeatmap(LSP, (368, 368), refine=refine)
    keypoints = torch.rand(8, 1, 14, 2, generator=torch.Generator().manual_seed(0)) * 330 + 19
    poses = codec.decode(codec.encode(keypoints, torch.full((8, 1, 14), 2)).stage_fields(1))
    assert (poses.keypoints - keypoints[:, 0]).norm(dim=-1).max() <= tolerance


def test_the_score_is_the_peak_clipped_to_0_and_1():
    heatmaps = torch.full((1, 15, 46, 46), -0.5)
    heatmaps[0, 0, 3, 4], heatmaps[0, 1, 5, 6] = 1.5, 0.25
    poses = CODEC.decode({'heatmap': heatmaps})
    assert poses.keypoint_scores[0, :3].tolist() == [1.0, 0.25, 0.0]
    assert poses.instance_scores.item() == pytest.approx(1.25 / 14)
    assert poses.keypoints[0, 0].tolist() == [8 * 4 + 3.5, 8 * 3 + 3.5]
