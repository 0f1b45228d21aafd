"""Similarity of people by hand, and suppression against a plain loop over pairs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poseplug.grouping.oks import oks, oks_nms, soft_oks_nms
from poseplug.skeletons.coco import COCO

SIGMAS = np.array(COCO.sigmas)


def crowd(seed: int, count: int, room: float = 300.0):
    """Joints (N, 17, 2), scores (N,) and areas (N,) of people of 20 to 200 px."""
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(20, 200, (count, 1, 1))
    body = rng.random((17, 2))
    joints = rng.uniform(0, room, (count, 1, 2)) + sizes * (body + rng.normal(0, 0.02, (count, 17, 2)))
    return joints, rng.random(count), sizes[:, 0, 0] ** 2


def pair(one, other, area, visible=slice(None)):
    """The formula for two people, joint by joint."""
    parts = [
        np.exp(-((a - b) ** 2).sum() / (2 * area * (2 * s) ** 2)) for a, b, s in zip(one, other, SIGMAS, strict=True)
    ]
    return np.mean(np.array(parts)[visible])


def plain_loop(joints, scores, areas, threshold):
    kept: list[int] = []
    for n in np.argsort(-scores):
        if all(pair(joints[n], joints[k], (areas[n] + areas[k]) / 2) <= threshold for k in kept):
            kept.append(int(n))
    return kept


def of(one, other, areas, sigmas, **seen):
    arrays = (torch.as_tensor(np.asarray(a, float)) for a in (one, other, areas, sigmas))
    return oks(*arrays, **{name: torch.as_tensor(mask) for name, mask in seen.items()}).numpy()


def test_a_person_is_entirely_like_themselves_and_unlike_one_far_away():
    joints, _, areas = crowd(0, 1)
    assert of(joints, joints, areas[:, None], SIGMAS) == pytest.approx(1.0)
    assert of(joints, joints + 1e5, areas[:, None], SIGMAS) == pytest.approx(0.0)


def test_every_joint_off_by_its_constant_times_the_root_of_the_area_gives_exp_of_minus_an_eighth():
    joints, _, areas = crowd(1, 1)
    moved = joints + np.sqrt(areas[0]) * SIGMAS[None, :, None] * [0.6, 0.8]
    assert of(joints, moved, areas[:, None], SIGMAS) == pytest.approx(np.exp(-1 / 8))


def test_the_table_holds_every_pair_whatever_the_batch():
    joints, _, areas = crowd(2, 5)
    table = of(joints[:3], joints, areas[:3, None], SIGMAS)
    wanted = [[pair(joints[n], other, areas[n]) for other in joints] for n in range(3)]
    assert table == pytest.approx(np.array(wanted))
    batch = of(np.stack([joints[:3], joints[2:]]), np.stack([joints, joints[::-1]]), areas[None, :3, None], SIGMAS)
    assert batch.shape == (2, 3, 5)
    assert batch[0] == pytest.approx(table)


def test_one_area_for_everybody_is_as_one_each():
    joints, _, _ = crowd(3, 4)
    one, other = torch.tensor(joints[:3]), torch.tensor(joints)
    table = oks(one, other, torch.tensor(900.0), torch.tensor(SIGMAS))
    assert torch.equal(table, oks(one, other, torch.full((3, 4), 900.0), torch.tensor(SIGMAS)))


def test_only_joints_visible_in_both_count_and_without_any_nobody_is_alike():
    joints, _, areas = crowd(3, 2)
    one, other = np.zeros((1, 17), bool), np.zeros((1, 17), bool)
    one[0, :5], other[0, 3:9] = True, True
    found = of(joints[:1], joints[1:], areas[:1, None], SIGMAS, visible=one, other_visible=other)
    assert found == pytest.approx(pair(joints[0], joints[1], areas[0], slice(3, 5)))
    assert of(joints[:1], joints[:1], areas[:1, None], SIGMAS, visible=one, other_visible=~one) == 0


def test_one_joint_an_area_of_zero_and_nobody_are_no_trouble():
    point = np.zeros((1, 1, 2))
    assert of(point, point, [[0.0]], [0.1]) == 1
    assert of(point, point + 1, [[0.0]], [0.1]) == pytest.approx(0)
    assert of(np.zeros((0, 17, 2)), np.zeros((3, 17, 2)), np.ones((0, 1)), SIGMAS).shape == (0, 3)


def test_half_precision_comes_near_and_the_gradient_is_that_of_the_formula():
    joints, _, areas = crowd(4, 3)
    exact = of(joints, joints + 3, areas[:, None], SIGMAS)
    half = [torch.as_tensor(a).bfloat16() for a in (joints - joints, joints - joints + 3, areas[:, None], SIGMAS)]
    assert oks(*half).float().diagonal().numpy() == pytest.approx(exact.diagonal(), abs=0.02)
    one = torch.tensor(joints[:2], requires_grad=True)
    rest = (torch.tensor(joints[1:] + 2), torch.tensor(areas[:2, None]), torch.tensor(SIGMAS))
    assert torch.autograd.gradcheck(lambda x: oks(x, *rest), one)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(0, 80), st.sampled_from([0.1, 0.4, 0.7, 0.95]))
def test_suppression_keeps_what_a_plain_loop_over_pairs_keeps(seed, count, threshold):
    joints, scores, areas = crowd(seed, count, room=40.0)
    kept = oks_nms(joints, scores, areas, SIGMAS, threshold)
    assert kept.tolist() == plain_loop(joints, scores, areas, threshold)
    assert (np.diff(scores[kept]) <= 0).all()


def test_soft_suppression_dims_those_alike_and_keeps_the_best_so_far():
    """Of three the second is the first again: it falls to 0.8 exp(-1 / 0.5) = 0.11 and comes after the third."""
    joints, _, areas = crowd(5, 1)
    three = np.concatenate([joints, joints, joints + 1000])
    given_ = (three, np.array([0.9, 0.8, 0.3]), np.repeat(areas, 3), SIGMAS)
    assert soft_oks_nms(*given_, threshold=0.5).tolist() == [0, 2, 1]
    assert soft_oks_nms(*given_, threshold=0.5, most=2).tolist() == [0, 2]
    assert soft_oks_nms(np.zeros((0, 17, 2)), np.zeros(0), np.zeros(0), SIGMAS).tolist() == []
