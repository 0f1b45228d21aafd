"""Who gets which cells: laws, and small cases by hand."""

import pytest
import torch
from torch.testing import assert_close

from poseplug.errors import ConfigError
from poseplug.models.assigners.base import Truth, likeness
from poseplug.models.assigners.sim_ota import SimOTA, settled
from poseplug.models.heads.one_stage import grid_points

SIGMAS = (0.1, 0.1)
SIZE = 128


def cells(seed: int = 0, noise: float = 4.0) -> dict[str, torch.Tensor]:
    """What a beginner says of a picture of 128 px with strides 16 and 32: each cell a person of about 40 px."""
    chance = torch.Generator().manual_seed(seed)
    points, strides = grid_points([(8, 8), (4, 4)], (16, 32), torch.zeros(1))
    middles = points + noise * torch.randn(points.shape, generator=chance)
    return {
        'score': torch.randn(len(points), generator=chance),
        'box': torch.cat([middles - 20, middles + 20], dim=1),
        'proxy': torch.stack([middles - 10, middles + 10], dim=1),
        'points': points,
        'strides': strides,
    }


def crowd(middles, size: float = 40.0) -> Truth:
    """People of two joints about their middles."""
    middle = torch.tensor(middles, dtype=torch.float32).reshape(-1, 2)
    half = size / 2
    return Truth(
        keypoints=torch.stack([middle - half / 2, middle + half / 2], dim=1),
        labelled=torch.ones(len(middle), 2, dtype=torch.bool),
        boxes=torch.cat([middle - half, middle + half], dim=1),
        areas=torch.full((len(middle),), 0.53 * size**2),
    )


def many(count: int, seed: int = 0) -> Truth:
    return crowd((torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * SIZE).tolist())


@pytest.mark.parametrize('count', [1, 3, 12])
@pytest.mark.parametrize('seed', range(4))
def test_everybody_with_a_candidate_gets_a_cell_and_no_cell_is_given_twice(count, seed):
    truth = many(count, seed)
    found = SimOTA(SIGMAS)(cells(seed), truth)
    assert set(found.people.tolist()) == set(range(count))
    assert len(set(found.cells.tolist())) == len(found.cells)


def test_two_people_in_one_place_get_a_cell_each():
    found = SimOTA(SIGMAS)(cells(noise=0.0), crowd([(60, 60), (60, 60)]))
    assert set(found.people.tolist()) == {0, 1}
    assert len(set(found.cells.tolist())) == len(found.cells)


def test_every_cell_given_lies_in_the_box_or_near_the_middle():
    fields, truth = cells(), many(9)
    found = SimOTA(SIGMAS)(fields, truth)
    away = (fields['points'][found.cells] - truth.keypoints.mean(dim=1)[found.people]).abs().amax(dim=1)
    assert (away < torch.maximum(2.5 * fields['strides'][found.cells], torch.tensor(20.0))).all()


def test_nobody_gets_nothing():
    found = SimOTA(SIGMAS)(cells(), crowd([]))
    assert [len(part) for part in found] == [0, 0, 0]


def test_somebody_far_outside_has_no_candidate_and_gets_nothing():
    found = SimOTA(SIGMAS)(cells(), crowd([(900, 900), (60, 60)]))
    assert set(found.people.tolist()) == {1}


def test_a_small_person_between_the_cells_gets_one_all_the_same():
    assert len(SimOTA(SIGMAS)(cells(), crowd([(64, 64)], size=2.0)).cells) == 1


def test_as_many_cells_are_given_as_the_largest_likenesses_sum_to():
    """All cells are right: ten likenesses of 1 make ten cells, five make five."""
    fields, truth = cells(), crowd([(60, 60)])
    fields['proxy'] = truth.keypoints.expand(len(fields['points']), 2, 2)
    assert len(SimOTA(SIGMAS)(fields, truth).cells) == 10
    assert len(SimOTA(SIGMAS, best=5)(fields, truth).cells) == 5
    fields['proxy'] = fields['proxy'] + 1e4
    assert len(SimOTA(SIGMAS)(fields, truth).cells) == 1


def test_the_cell_that_predicts_a_person_best_is_theirs():
    fields, truth = cells(noise=8.0), crowd([(56, 72)])
    place = int((fields['points'] - torch.tensor([56.0, 72.0])).norm(dim=1)[:64].argmin())
    fields['proxy'][place], fields['box'][place] = truth.keypoints[0], truth.boxes[0]
    found = SimOTA(SIGMAS)(fields, truth)
    assert place in found.cells.tolist()
    assert found.alike[found.cells.tolist().index(place)] == 1


def test_the_likeness_told_is_that_of_the_cells_proxies():
    fields, truth = cells(), many(5)
    found = SimOTA(SIGMAS)(fields, truth)
    wanted = likeness(fields['proxy'][found.cells], truth.of(found.people), torch.tensor(SIGMAS))
    assert_close(found.alike, wanted)


def test_a_cell_that_several_want_goes_to_whom_it_costs_least():
    wants = torch.tensor([[True, True, False], [True, False, False]])
    costs = torch.tensor([[2.0, 1.0, 9.0], [1.0, 5.0, 7.0]])
    assert settled(wants, costs).tolist() == [[False, True, False], [True, False, False]]


def test_whoever_loses_all_cells_gets_the_cheapest_that_nobody_wants():
    wants = torch.tensor([[True, False, False, False], [True, False, False, False]])
    costs = torch.tensor([[2.0, 6.0, 5.0, 7.0], [1.0, 3.0, torch.inf, 4.0]])
    assert settled(wants, costs).tolist() == [[False, False, True, False], [True, False, False, False]]


def test_where_no_cell_is_left_somebody_goes_without():
    wants = torch.tensor([[True, False], [True, False]])
    costs = torch.tensor([[2.0, torch.inf], [1.0, torch.inf]])
    assert settled(wants, costs).tolist() == [[False, False], [True, False]]


def test_the_cost_is_three_logarithms_of_iou_and_of_oks_and_one_of_the_score():
    """Two cells in the box and near the middle: the first has half the box, the second a hundredth of the score."""
    truth = crowd([(50, 50)])
    fields = {
        'points': torch.tensor([[49.0, 50], [51.0, 50]]),
        'strides': torch.tensor([16.0, 16.0]),
        'proxy': truth.keypoints.expand(2, 2, 2),
        'box': torch.stack([torch.tensor([30.0, 30, 50, 70]), truth.boxes[0]]),
        'score': torch.tensor([0.9, 0.009]).logit(),
    }
    # 3 ln 2 = 2.08 against ln 100 = 4.6; with the box counting thrice as much, 6.2 against 4.6
    assert SimOTA(SIGMAS, best=1)(fields, truth).cells.tolist() == [0]
    assert SimOTA(SIGMAS, best=1, weights=(9.0, 3.0, 1.0))(fields, truth).cells.tolist() == [1]


def test_cells_in_the_box_alone_or_near_the_middle_alone_come_last():
    truth = crowd([(50, 50)], size=100.0)
    fields = {
        'points': torch.tensor([[5.0, 50], [60.0, 50]]),
        'strides': torch.tensor([16.0, 16.0]),
        'proxy': torch.stack([truth.keypoints[0], truth.keypoints[0] + 60]),
        'box': truth.boxes.expand(2, 4),
        'score': torch.tensor([5.0, -5.0]),
    }
    assert SimOTA(SIGMAS, best=1)(fields, truth).cells.tolist() == [1]


def test_the_middle_is_that_of_the_labelled_joints_or_of_the_box():
    truth = crowd([(64, 64)], size=120.0)
    truth.labelled[0, 1] = False
    points, strides = torch.tensor([[34.0, 34], [64.0, 64]]), torch.tensor([8.0, 8.0])
    assert SimOTA(SIGMAS).where(points, strides, truth)[1].tolist() == [[True, False]]
    assert SimOTA(SIGMAS, middle='box').where(points, strides, truth)[1].tolist() == [[False, True]]


def test_joints_without_a_label_mean_nothing():
    truth, other = crowd([(60, 60)]), crowd([(60, 60)])
    truth.labelled[0, 1] = other.labelled[0, 1] = False
    other.keypoints[0, 1] = 1e6
    for one, two in zip(SimOTA(SIGMAS)(cells(), truth), SimOTA(SIGMAS)(cells(), other), strict=True):
        assert_close(one, two)


@pytest.mark.parametrize('settings', [dict(middle='head'), dict(best=0), dict(weights=(1.0,))])
def test_a_setting_that_cannot_be_is_refused(settings):
    with pytest.raises(ConfigError, match='SimOTA: middle is'):
        SimOTA(SIGMAS, **settings)


def test_a_skeleton_without_sigmas_is_refused():
    with pytest.raises(ConfigError, match='no sigmas'):
        SimOTA(None)
