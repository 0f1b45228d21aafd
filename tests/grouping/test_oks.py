"""Similarity of instances by hand, and suppression against a plain loop over pairs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poseplug.grouping.oks import oks, oks_nms, soft_oks_nms
from poseplug.skeletons.coco import COCO

SIGMAS = np.array(COCO.sigmas)


def random_instances(seed: int, count: int, region_px: float = 300.0):
    """Keypoints (N, 17, 2), scores (N,) and areas (N,) of instances of 20 to 200 px."""
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(20, 200, (count, 1, 1))
    body = rng.random((17, 2))
    keypoints = rng.uniform(0, region_px, (count, 1, 2)) + sizes * (body + rng.normal(0, 0.02, (count, 17, 2)))
    return keypoints, rng.random(count), sizes[:, 0, 0] ** 2


def pair_oks(one, other, area, visible=slice(None)):
    """The formula for two instances, keypoint by keypoint."""
    terms = [
        np.exp(-((a - b) ** 2).sum() / (2 * area * (2 * s) ** 2)) for a, b, s in zip(one, other, SIGMAS, strict=True)
    ]
    return np.mean(np.array(terms)[visible])


def suppress_plainly(keypoints, scores, areas, threshold):
    """The definition: from the highest score down, against all selected before."""
    selected: list[int] = []
    for n in np.argsort(-scores):
        if all(pair_oks(keypoints[n], keypoints[k], (areas[n] + areas[k]) / 2) <= threshold for k in selected):
            selected.append(int(n))
    return selected


def oks_of_arrays(one, other, areas, sigmas, **masks):
    """`oks` of NumPy arrays in double precision."""
    arrays = (torch.as_tensor(np.asarray(a, float)) for a in (one, other, areas, sigmas))
    return oks(*arrays, **{name: torch.as_tensor(mask) for name, mask in masks.items()}).numpy()


def test_the_oks_of_an_instance_with_itself_is_1_and_with_one_far_away_0():
    keypoints, _, areas = random_instances(0, 1)
    assert oks_of_arrays(keypoints, keypoints, areas[:, None], SIGMAS) == pytest.approx(1.0)
    assert oks_of_arrays(keypoints, keypoints + 1e5, areas[:, None], SIGMAS) == pytest.approx(0.0)


def test_the_oks_is_exp_of_minus_an_eighth_where_every_keypoint_is_off_by_sigma_times_the_root_of_the_area():
    keypoints, _, areas = random_instances(1, 1)
    shifted = keypoints + np.sqrt(areas[0]) * SIGMAS[None, :, None] * [0.6, 0.8]
    assert oks_of_arrays(keypoints, shifted, areas[:, None], SIGMAS) == pytest.approx(np.exp(-1 / 8))


def test_the_table_holds_every_pair_whatever_the_batch():
    keypoints, _, areas = random_instances(2, 5)
    table = oks_of_arrays(keypoints[:3], keypoints, areas[:3, None], SIGMAS)
    expected = [[pair_oks(keypoints[n], other, areas[n]) for other in keypoints] for n in range(3)]
    assert table == pytest.approx(np.array(expected))
    batch = oks_of_arrays(
        np.stack([keypoints[:3], keypoints[2:]]), np.stack([keypoints, keypoints[::-1]]), areas[None, :3, None], SIGMAS
    )
    assert batch.shape == (2, 3, 5)
    assert batch[0] == pytest.approx(table)


def test_one_area_for_all_is_as_one_for_each():
    keypoints, _, _ = random_instances(3, 4)
    one, other = torch.tensor(keypoints[:3]), torch.tensor(keypoints)
    table = oks(one, other, torch.tensor(900.0), torch.tensor(SIGMAS))
    assert torch.equal(table, oks(one, other, torch.full((3, 4), 900.0), torch.tensor(SIGMAS)))


def test_arrays_and_tensors_have_the_same_oks():
    keypoints, _, areas = random_instances(6, 5)
    one, other = keypoints[:3], keypoints[1:] + 4
    masks = {'visible': np.arange(51).reshape(3, 17) % 3 > 0, 'other_visible': np.arange(68).reshape(4, 17) % 4 > 0}
    for chosen in ([], ['visible'], ['other_visible'], ['visible', 'other_visible']):
        given = {name: masks[name] for name in chosen}
        table = oks(one, other, areas[:3, None], SIGMAS, **given)
        assert isinstance(table, np.ndarray)
        np.testing.assert_allclose(table, oks_of_arrays(one, other, areas[:3, None], SIGMAS, **given), rtol=1e-12)


def test_only_keypoints_visible_in_both_count_and_without_any_the_oks_is_0():
    keypoints, _, areas = random_instances(3, 2)
    one, other = np.zeros((1, 17), bool), np.zeros((1, 17), bool)
    one[0, :5], other[0, 3:9] = True, True
    similarity = oks_of_arrays(keypoints[:1], keypoints[1:], areas[:1, None], SIGMAS, visible=one, other_visible=other)
    assert similarity == pytest.approx(pair_oks(keypoints[0], keypoints[1], areas[0], slice(3, 5)))
    assert oks_of_arrays(keypoints[:1], keypoints[:1], areas[:1, None], SIGMAS, visible=one, other_visible=~one) == 0


def test_one_keypoint_an_area_of_zero_and_no_instance_are_no_errors():
    point = np.zeros((1, 1, 2))
    assert oks_of_arrays(point, point, [[0.0]], [0.1]) == 1
    assert oks_of_arrays(point, point + 1, [[0.0]], [0.1]) == pytest.approx(0)
    assert oks_of_arrays(np.zeros((0, 17, 2)), np.zeros((3, 17, 2)), np.ones((0, 1)), SIGMAS).shape == (0, 3)


def test_half_precision_comes_near_and_the_gradient_is_that_of_the_formula():
    keypoints, _, areas = random_instances(4, 3)
    exact = oks_of_arrays(keypoints, keypoints + 3, areas[:, None], SIGMAS)
    half = [
        torch.as_tensor(a).bfloat16()
        for a in (keypoints - keypoints, keypoints - keypoints + 3, areas[:, None], SIGMAS)
    ]
    assert oks(*half).float().diagonal().numpy() == pytest.approx(exact.diagonal(), abs=0.02)
    one = torch.tensor(keypoints[:2], requires_grad=True)
    rest = (torch.tensor(keypoints[1:] + 2), torch.tensor(areas[:2, None]), torch.tensor(SIGMAS))
    assert torch.autograd.gradcheck(lambda x: oks(x, *rest), one)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(0, 80), st.sampled_from([0.1, 0.4, 0.7, 0.95]))
def test_suppression_selects_what_a_plain_loop_over_pairs_selects(seed, count, threshold):
    keypoints, scores, areas = random_instances(seed, count, region_px=40.0)
    selected = oks_nms(keypoints, scores, areas, SIGMAS, threshold)
    assert selected.tolist() == suppress_plainly(keypoints, scores, areas, threshold)
    assert (np.diff(scores[selected]) <= 0).all()


def test_soft_suppression_lowers_the_scores_of_similar_instances():
    """Of three the second is the first again: it falls to 0.8 exp(-1 / 0.5) = 0.11 and comes after the third."""
    keypoints, _, areas = random_instances(5, 1)
    three = np.concatenate([keypoints, keypoints, keypoints + 1000])
    arguments = (three, np.array([0.9, 0.8, 0.3]), np.repeat(areas, 3), SIGMAS)
    assert soft_oks_nms(*arguments, threshold=0.5).tolist() == [0, 2, 1]
    assert soft_oks_nms(*arguments, threshold=0.5, max_instances=2).tolist() == [0, 2]
    assert soft_oks_nms(np.zeros((0, 17, 2)), np.zeros(0), np.zeros(0), SIGMAS).tolist() == []


def test_soft_suppression_lowers_a_score_by_the_square_of_the_oks():
    """At an OKS of 0.5 by exp(-0.25 / 0.5): 0.8 falls to 0.485, which stays above 0.48 and falls below 0.49."""
    keypoints, _, areas = random_instances(5, 1)
    distances = np.sqrt(2 * areas[0] * np.log(2)) * 2 * SIGMAS
    similar = keypoints + distances[:, None] * [0.6, 0.8]
    three = np.concatenate([keypoints, similar, keypoints + 1000])
    for third, order in ((0.48, [0, 1, 2]), (0.49, [0, 2, 1])):
        arguments = (three, np.array([0.9, 0.8, third]), np.repeat(areas, 3), SIGMAS)
        assert soft_oks_nms(*arguments, threshold=0.5).tolist() == order
