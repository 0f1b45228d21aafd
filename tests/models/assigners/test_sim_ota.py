"""Which cells are assigned to which instances: laws, and small cases by hand."""

import pytest
import torch
from torch.testing import assert_close

from poseplug.core.errors import ConfigError
from poseplug.models.assigners.base import GroundTruthInstances, compute_keypoint_oks
from poseplug.models.assigners.sim_ota import SimOTA, resolve_conflicts
from poseplug.models.heads.one_stage import build_grid_points

SIGMAS = (0.1, 0.1)
SIZE = 128


def random_fields(seed: int = 0, noise: float = 4.0) -> dict[str, torch.Tensor]:
    """Fields of an untrained head for an image of 128 px: each cell an instance of about 40 px."""
    generator = torch.Generator().manual_seed(seed)
    points, strides = build_grid_points([(8, 8), (4, 4)], (16, 32), torch.zeros(1))
    centers = points + noise * torch.randn(points.shape, generator=generator)
    boxes = torch.cat([centers - 20, centers + 20], dim=1)
    return {
        'score': torch.randn(len(points), generator=generator),
        'box': boxes,
        'proxy': torch.stack([centers - 10, centers + 10], dim=1),
        'points': points,
        'strides': strides,
    }


def build_instances(centers, size: float = 40.0) -> GroundTruthInstances:
    """Instances of two keypoints about their centers."""
    points, half = torch.tensor(centers, dtype=torch.float32).reshape(-1, 2), size / 2
    keypoints = torch.stack([points - half / 2, points + half / 2], dim=1)
    labeled = torch.ones(len(points), 2, dtype=torch.bool)
    boxes = torch.cat([points - half, points + half], dim=1)
    return GroundTruthInstances(keypoints, labeled, boxes, areas=torch.full((len(points),), 0.53 * size**2))


def random_instances(count: int, seed: int = 0) -> GroundTruthInstances:
    return build_instances((torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * SIZE).tolist())


@pytest.mark.parametrize('count', [1, 3, 12])
@pytest.mark.parametrize('seed', range(4))
def test_every_instance_with_a_candidate_has_a_cell_and_no_cell_is_assigned_twice(count, seed):
    ground_truth = random_instances(count, seed)
    assignment = SimOTA(SIGMAS)(random_fields(seed), ground_truth)
    assert set(assignment.instance_indices.tolist()) == set(range(count))
    assert len(set(assignment.cell_indices.tolist())) == len(assignment.cell_indices)


def test_two_instances_at_one_position_have_a_cell_each():
    assignment = SimOTA(SIGMAS)(random_fields(noise=0.0), build_instances([(60, 60), (60, 60)]))
    assert set(assignment.instance_indices.tolist()) == {0, 1}
    assert len(set(assignment.cell_indices.tolist())) == len(assignment.cell_indices)


def test_every_assigned_cell_lies_in_the_box_or_near_the_center():
    fields, ground_truth = random_fields(), random_instances(9)
    assignment = SimOTA(SIGMAS)(fields, ground_truth)
    centers = ground_truth.keypoints.mean(dim=1)[assignment.instance_indices]
    distances = (fields['points'][assignment.cell_indices] - centers).abs().amax(dim=1)
    assert (distances < torch.maximum(2.5 * fields['strides'][assignment.cell_indices], torch.tensor(20.0))).all()


def test_no_instances_have_no_cells():
    assignment = SimOTA(SIGMAS)(random_fields(), build_instances([]))
    assert [len(part) for part in assignment] == [0, 0, 0]


def test_an_instance_far_outside_has_no_candidate_and_no_cell():
    assignment = SimOTA(SIGMAS)(random_fields(), build_instances([(900, 900), (60, 60)]))
    assert set(assignment.instance_indices.tolist()) == {1}


def test_a_small_instance_between_the_cells_still_has_one():
    assert len(SimOTA(SIGMAS)(random_fields(), build_instances([(64, 64)], size=2.0)).cell_indices) == 1


def test_as_many_cells_are_assigned_as_the_largest_oks_sum_to():
    """All cells are exact: ten OKS of 1 are ten cells, five are five."""
    fields, ground_truth = random_fields(), build_instances([(60, 60)])
    fields['proxy'] = ground_truth.keypoints.expand(len(fields['points']), 2, 2)
    assert len(SimOTA(SIGMAS)(fields, ground_truth).cell_indices) == 10
    assert len(SimOTA(SIGMAS, candidate_topk=5)(fields, ground_truth).cell_indices) == 5
    fields['proxy'] = fields['proxy'] + 1e4
    assert len(SimOTA(SIGMAS)(fields, ground_truth).cell_indices) == 1


def test_the_cell_that_predicts_an_instance_best_is_assigned_to_it():
    fields, ground_truth = random_fields(noise=8.0), build_instances([(56, 72)])
    best_cell = int((fields['points'] - torch.tensor([56.0, 72.0])).norm(dim=1)[:64].argmin())
    fields['proxy'][best_cell], fields['box'][best_cell] = ground_truth.keypoints[0], ground_truth.boxes[0]
    assignment = SimOTA(SIGMAS)(fields, ground_truth)
    assert best_cell in assignment.cell_indices.tolist()
    assert assignment.oks[assignment.cell_indices.tolist().index(best_cell)] == 1


def test_the_returned_oks_is_that_of_the_cells_proxies():
    fields, ground_truth = random_fields(), random_instances(5)
    assignment = SimOTA(SIGMAS)(fields, ground_truth)
    proxies, instances = fields['proxy'][assignment.cell_indices], ground_truth.select_rows(assignment.instance_indices)
    assert_close(assignment.oks, compute_keypoint_oks(proxies, instances, torch.tensor(SIGMAS)))


def test_a_cell_that_several_select_is_assigned_to_the_one_that_it_costs_the_minimum():
    selected = torch.tensor([[True, True, False], [True, False, False]])
    costs = torch.tensor([[2.0, 1.0, 9.0], [1.0, 5.0, 7.0]])
    assert resolve_conflicts(selected, costs).tolist() == [[False, True, False], [True, False, False]]


def test_an_instance_that_loses_all_cells_receives_its_cheapest_free_candidate():
    selected = torch.tensor([[True, False, False, False], [True, False, False, False]])
    costs = torch.tensor([[2.0, 6.0, 5.0, 7.0], [1.0, 3.0, torch.inf, 4.0]])
    assert resolve_conflicts(selected, costs).tolist() == [[False, False, True, False], [True, False, False, False]]


def test_without_a_free_candidate_an_instance_has_no_cell():
    selected = torch.tensor([[True, False], [True, False]])
    costs = torch.tensor([[2.0, torch.inf], [1.0, torch.inf]])
    assert resolve_conflicts(selected, costs).tolist() == [[False, False], [True, False]]


def test_the_cost_is_three_logarithms_of_iou_and_of_oks_and_one_of_the_score():
    """Two cells in the box and near the center: the first has half the box, the second a hundredth of the score."""
    ground_truth = build_instances([(50, 50)])
    fields = {
        'points': torch.tensor([[49.0, 50], [51.0, 50]]),
        'strides': torch.tensor([16.0, 16.0]),
        'proxy': ground_truth.keypoints.expand(2, 2, 2),
        'box': torch.stack([torch.tensor([30.0, 30, 50, 70]), ground_truth.boxes[0]]),
        'score': torch.tensor([0.9, 0.009]).logit(),
    }
    # 3 ln 2 = 2.08 against ln 100 = 4.6; with the box counting thrice as much, 6.2 against 4.6
    assert SimOTA(SIGMAS, candidate_topk=1)(fields, ground_truth).cell_indices.tolist() == [0]
    other_weights = SimOTA(SIGMAS, candidate_topk=1, cost_weights=(9.0, 3.0, 1.0))
    assert other_weights(fields, ground_truth).cell_indices.tolist() == [1]


def test_cells_only_in_the_box_or_only_near_the_center_come_last():
    ground_truth = build_instances([(50, 50)], size=100.0)
    fields = {
        'points': torch.tensor([[5.0, 50], [60.0, 50]]),
        'strides': torch.tensor([16.0, 16.0]),
        'proxy': torch.stack([ground_truth.keypoints[0], ground_truth.keypoints[0] + 60]),
        'box': ground_truth.boxes.expand(2, 4),
        'score': torch.tensor([5.0, -5.0]),
    }
    assert SimOTA(SIGMAS, candidate_topk=1)(fields, ground_truth).cell_indices.tolist() == [1]


def test_the_center_is_that_of_the_labeled_keypoints_or_of_the_box():
    ground_truth = build_instances([(64, 64)], size=120.0)
    ground_truth.labeled[0, 1] = False
    points, strides = torch.tensor([[34.0, 34], [64.0, 64]]), torch.tensor([8.0, 8.0])
    from_keypoints, from_box = SimOTA(SIGMAS), SimOTA(SIGMAS, center_from='box')
    assert from_keypoints.find_candidates(points, strides, ground_truth)[1].tolist() == [[True, False]]
    assert from_box.find_candidates(points, strides, ground_truth)[1].tolist() == [[False, True]]


def test_unlabeled_keypoints_are_ignored():
    ground_truth, other = build_instances([(60, 60)]), build_instances([(60, 60)])
    ground_truth.labeled[0, 1] = other.labeled[0, 1] = False
    other.keypoints[0, 1] = 1e6
    assignments = (SimOTA(SIGMAS)(random_fields(), instances) for instances in (ground_truth, other))
    for one, two in zip(*assignments, strict=True):
        assert_close(one, two)


@pytest.mark.parametrize('settings', [dict(center_from='head'), dict(candidate_topk=0), dict(cost_weights=(1.0,))])
def test_an_invalid_setting_is_refused(settings):
    with pytest.raises(ConfigError, match='SimOTA: '):
        SimOTA(SIGMAS, **settings)


def test_a_skeleton_without_sigmas_is_refused():
    with pytest.raises(ConfigError, match='no sigmas'):
        SimOTA(None)
