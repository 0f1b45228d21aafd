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


def people(*places: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """One picture with people whose joints all lie at one place each, all visible."""
    keypoints = torch.tensor(places).view(1, -1, 1, 2).expand(-1, -1, len(LSP), -1).clone()
    return keypoints, torch.full(keypoints.shape[:3], 2)


def map_by_hand(x: float, y: float) -> np.ndarray:
    """The released code's formula, cell by cell."""
    maps = np.zeros((46, 46))
    for gy in range(46):
        for gx in range(46):
            exponent = ((8 * gx + 3.5 - x) ** 2 + (8 * gy + 3.5 - y) ** 2) / (2 * 7 * 7)
            maps[gy, gx] = 0.0 if exponent > 4.6052 else math.exp(-exponent)
    return maps


def test_there_is_a_map_for_every_joint_and_one_for_the_background():
    assert CODEC.fields == {'heatmap': 15}
    assert CPMHeatmap(FLIC, (368, 368)).fields == {'heatmap': 10}
    assert CODEC.grid.size == (46, 46)


def test_a_joint_on_a_cell_has_the_value_1_there_and_exp_of_minus_64_98ths_one_cell_away():
    maps = CODEC.encode(*people((8 * 10 + 3.5, 8 * 20 + 3.5))).at(0)['heatmap']
    assert maps[0, NECK, 20, 10] == 1
    for row, column in ((20, 11), (20, 9), (21, 10), (19, 10)):
        assert maps[0, NECK, row, column].item() == pytest.approx(math.exp(-64 / (2 * 49)))


def test_values_below_one_percent_are_cut_and_those_just_above_are_kept():
    maps = CODEC.encode(*people((8 * 10 + 3.5, 8 * 20 + 3.5))).at(0)['heatmap'][0, NECK]
    assert maps[22, 12] == 0  # two cells each way: exp(-512 / 98) = 0.0054
    assert maps[20, 12].item() == pytest.approx(math.exp(-256 / 98))
    assert maps[20, 13] == 0  # three cells: exp(-576 / 98) = 0.0028
    assert maps[maps > 0].min() > 0.01


@pytest.mark.parametrize('place', [(100.0, 50.0), (0.0, 0.0), (367.0, 367.0), (183.7, 2.2), (-9.0, 20.0), (380.0, 9.0)])
def test_a_map_is_the_formula_of_the_released_code(place):
    maps = CODEC.encode(*people(place)).at(1)['heatmap'][0, NECK].numpy()
    np.testing.assert_allclose(maps, map_by_hand(*place), atol=2e-6)


@pytest.mark.parametrize(('how', 'value'), [('max', 0.6), ('add', 1.0)])
def test_two_people_share_a_map_by_their_maximum_or_by_their_sum_capped_at_1(how, value):
    at_06 = 7 * math.sqrt(-2 * math.log(0.6))  # px at which the Gaussian has fallen to 0.6
    center = 8 * 20 + 3.5
    codec = CPMHeatmap(LSP, (368, 368), people=how)
    maps = codec.encode(*people((center - at_06, center), (center + at_06, center))).at(0)['heatmap'][0, NECK]
    assert maps[20, 20].item() == pytest.approx(value, abs=1e-5)
    assert maps.max() <= 1


def test_the_sum_of_two_people_below_the_cap_is_their_sum():
    one, other = (100.0, 100.0), (118.0, 100.0)
    both = CODEC.encode(*people(one, other)).at(0)['heatmap'][0, NECK].numpy()
    np.testing.assert_allclose(both, np.minimum(map_by_hand(*one) + map_by_hand(*other), 1), atol=4e-6)


@pytest.mark.parametrize('how', ['max', 'add'])
@pytest.mark.parametrize('count', [1, 3])
def test_the_background_is_1_minus_the_largest_joint(how, count):
    keypoints = torch.rand(2, count, 14, 2, generator=torch.Generator().manual_seed(0)) * 367
    codec = CPMHeatmap(LSP, (368, 368), people=how)
    for stage in codec.encode(keypoints, torch.full((2, count, 14), 2)).stages:
        maps = stage['heatmap']
        assert_close(maps[:, 14], (1 - maps[:, :14].amax(1)).clamp(min=0))


def test_stage_1_is_trained_on_everybody_and_later_stages_on_the_subject():
    keypoints, visible = people((100.0, 100.0), (300.0, 300.0))
    targets = CODEC.encode(keypoints, visible)
    subject, other = map_by_hand(100, 100), map_by_hand(300, 300)
    np.testing.assert_allclose(targets.at(0)['heatmap'][0, NECK], subject + other, atol=2e-6)
    for later in (1, 5):
        np.testing.assert_allclose(targets.at(later)['heatmap'][0, NECK], subject, atol=2e-6)
    same = CPMHeatmap(LSP, (368, 368), everyone_first=False).encode(keypoints, visible)
    np.testing.assert_allclose(same.at(0)['heatmap'][0, NECK], subject, atol=2e-6)


def test_padding_people_are_nobody():
    keypoints, visible = people((100.0, 100.0), (300.0, 300.0))
    padded = CODEC.encode(keypoints, visible, torch.tensor([[True, False]]))
    alone = CODEC.encode(keypoints[:, :1], visible[:, :1])
    assert torch.equal(padded.at(0)['heatmap'], alone.at(0)['heatmap'])


@pytest.mark.parametrize('position', [0.0, -5e4, math.inf, math.nan])
def test_a_joint_that_is_not_labelled_leaves_an_empty_map_whatever_its_position(position):
    keypoints, visible = people((100.0, 100.0))
    keypoints[0, 0, NECK], visible[0, 0, NECK] = position, 0
    maps = CODEC.encode(keypoints, visible).at(0)['heatmap'][0]
    assert not maps[NECK].any()
    assert maps[:NECK].any()


def test_the_empty_map_of_an_unlabelled_joint_counts_or_is_ignored():
    keypoints, visible = people((100.0, 100.0))
    visible[0, 0, NECK] = 0
    predicted, loss = torch.ones(1, 15, 46, 46), SumSquaredError()
    counted = CODEC.encode(keypoints, visible)
    assert 'heatmap' not in counted.weights
    ignored = CPMHeatmap(LSP, (368, 368), missing='ignore').encode(keypoints, visible)
    assert ignored.weights['heatmap'].tolist() == [[1.0] * 12 + [0.0, 1.0, 1.0]]
    wanted = counted.at(0)['heatmap']
    lost = loss(predicted, wanted) - loss(predicted, wanted, ignored.weights['heatmap'])
    assert lost.item() == pytest.approx(46 * 46 / 2)


def test_a_joint_outside_the_crop_is_an_empty_map_that_counts():
    targets = CPMHeatmap(LSP, (368, 368), missing='ignore').encode(*people((-100.0, 50.0)))
    assert not targets.at(0)['heatmap'][0, :14].any()
    assert targets.weights['heatmap'].all()


def test_an_occluded_joint_is_drawn_like_a_visible_one():
    keypoints, visible = people((100.0, 100.0))
    assert torch.equal(
        CODEC.encode(keypoints, visible // 2).at(0)['heatmap'], CODEC.encode(keypoints, visible).at(0)['heatmap']
    )


@pytest.mark.parametrize(('refine', 'tolerance'), [('none', 4 * math.sqrt(2)), ('quarter', 3.5), ('taylor', 0.1)])
def test_decode_undoes_encode_within_what_the_refinement_allows(refine, tolerance):
    codec = CPMHeatmap(LSP, (368, 368), refine=refine)
    keypoints = torch.rand(8, 1, 14, 2, generator=torch.Generator().manual_seed(0)) * 330 + 19
    poses = codec.decode(codec.encode(keypoints, torch.full((8, 1, 14), 2)).at(1))
    assert (poses.keypoints - keypoints[:, 0]).norm(dim=-1).max() <= tolerance


def test_the_score_is_the_peak_clipped_to_0_and_1():
    maps = torch.full((1, 15, 46, 46), -0.5)
    maps[0, 0, 3, 4], maps[0, 1, 5, 6] = 1.5, 0.25
    poses = CODEC.decode({'heatmap': maps})
    assert poses.scores[0, :3].tolist() == [1.0, 0.25, 0.0]
    assert poses.person_scores.item() == pytest.approx(1.25 / 14)
    assert poses.keypoints[0, 0].tolist() == [8 * 4 + 3.5, 8 * 3 + 3.5]
