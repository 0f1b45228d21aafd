"""Laws of the metrics: order, scale, perfection."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poseplug.evaluation.oks_ap import OKSAP
from poseplug.evaluation.pck import PCK
from poseplug.evaluation.pckh import PCKh
from poseplug.grouping.oks import oks, oks_nms, soft_oks_nms
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP
from poseplug.skeletons.mpii import MPII
from tests.properties.laws import LAW, rng, seeds

SIGMAS = torch.tensor(COCO.sigmas, dtype=torch.float64)


def people(seed, count, skeleton):
    """(N, K, 2) joints in a picture of 200 px."""
    return rng(seed).random((count, len(skeleton), 2)) * 200


def record(keypoints, number, **more):
    count = len(keypoints)
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    boxes = np.concatenate([low, high], axis=1)
    return Record('a.jpg', str(number), keypoints, np.full(keypoints.shape[:2], 2, np.uint8), boxes=boxes,
                  areas=0.5 * (high - low).prod(axis=1), heads=np.full(count, 25.0),
                  numbers=np.arange(count) + 100 * number, **more)  # fmt: skip


def poses(keypoints, scores=None):
    scores = np.ones(len(keypoints)) if scores is None else scores
    return Poses(keypoints, np.ones(keypoints.shape[:2]), scores)


def pictures(seed, skeleton, count=4, most=3):
    """Predicted and true people of a few pictures; the predicted ones are near the true ones, with distinct scores."""
    dice = rng(seed)
    found = []
    for number in range(count):
        true = people(seed + number, int(dice.integers(1, most + 1)), skeleton)
        guess = true + dice.normal(0, dice.choice([1.0, 8.0, 30.0]), true.shape)
        found.append((poses(guess, dice.permutation(len(true)) / 10 + 0.01 * number + 0.1), record(true, number)))
    return found


def values(metric, pairs):
    for predicted, true in pairs:
        metric.add(predicted, true)
    return metric.compute().values


METRICS = {
    'PCK': (lambda: PCK(LSP, people='all'), LSP), 'PCKh': (lambda: PCKh(MPII, people='all'), MPII),
    'AP': (lambda: OKSAP(COCO), COCO), 'AP by the other evaluator': (lambda: OKSAP(COCO, 'xtcocotools'), COCO),
}  # fmt: skip


@pytest.fixture(params=METRICS, scope='module')
def metric(request):
    return METRICS[request.param]


@LAW
@given(seeds)
def test_the_order_of_pictures_does_not_matter(metric, seed):
    make, skeleton = metric
    pairs = pictures(seed, skeleton)
    shuffled = [pairs[i] for i in rng(seed).permutation(len(pairs))]
    assert values(make(), pairs) == pytest.approx(values(make(), shuffled), abs=0.011)


@LAW
@given(seeds)
def test_who_is_right_everywhere_gets_a_hundred(metric, seed):
    make, skeleton = metric
    true = [record(people(seed + n, 2, skeleton), n) for n in range(3)]
    found = values(make(), [(poses(t.keypoints), t) for t in true])
    assert found
    assert all(value == 100 for value in found.values())


@LAW
@given(seeds)
def test_figures_are_percentages(metric, seed):
    make, skeleton = metric
    assert all(0 <= value <= 100 for value in values(make(), pictures(seed, skeleton)).values())


@LAW
@given(seeds)
def test_who_is_nowhere_near_gets_nothing(metric, seed):
    make, skeleton = metric
    true = record(people(seed, 2, skeleton), 0)
    found = values(make(), [(poses(true.keypoints + 1e5), true)])
    assert all(value == 0 for value in found.values())


@LAW
@given(seeds, st.floats(0.25, 4))
def test_pck_does_not_depend_on_the_scale_of_the_picture(seed, factor):
    pairs = pictures(seed, LSP)
    larger = [(poses(p.keypoints * factor), record(t.keypoints * factor, n)) for n, (p, t) in enumerate(pairs)]
    assert values(PCK(LSP, people='all'), pairs) == pytest.approx(values(PCK(LSP, people='all'), larger), abs=0.5)


@LAW
@given(seeds)
def test_a_wider_threshold_never_lowers_pck(seed):
    metric = PCK(LSP, thresholds=(0.05, 0.1, 0.2, 0.5), people='all')
    found = values(metric, pictures(seed, LSP))
    rates = [found[f'PCK@{share}'] for share in (0.05, 0.1, 0.2, 0.5)]
    assert rates == sorted(rates)


@LAW
@given(seeds)
def test_the_order_of_people_in_a_picture_does_not_matter_to_average_precision(seed):
    pairs = pictures(seed, COCO)
    turned = [(p[::-1], t) for p, t in pairs]
    assert values(OKSAP(COCO), pairs) == values(OKSAP(COCO), turned)


@LAW
@given(seeds)
def test_average_precision_asks_for_the_order_of_scores_alone(seed):
    pairs = pictures(seed, COCO)
    other = [(replace(p, person_scores=np.tanh(3 * p.person_scores)), t) for p, t in pairs]
    assert values(OKSAP(COCO), pairs) == values(OKSAP(COCO), other)


@LAW
@given(seeds)
def test_both_evaluators_agree(seed):
    pairs = pictures(seed, COCO)
    assert values(OKSAP(COCO), pairs) == values(OKSAP(COCO, 'xtcocotools'), pairs)


@LAW
@given(seeds, st.floats(10, 1e5))
def test_oks_is_a_share_symmetric_and_1_for_oneself(seed, area):
    one, other = (torch.from_numpy(people(seed + n, 3, COCO)) for n in (0, 9))
    areas = torch.full((1, 1), area, dtype=torch.float64)
    alike = oks(one, other, areas, SIGMAS)
    assert ((alike >= 0) & (alike <= 1)).all()
    assert torch.allclose(alike, oks(other, one, areas, SIGMAS).mT)
    assert torch.allclose(oks(one, one, areas, SIGMAS).diagonal(), torch.ones(3, dtype=torch.float64))


@LAW
@given(seeds, st.floats(0.1, 10), st.floats(-100, 100))
def test_oks_does_not_depend_on_place_and_scale(seed, factor, shift):
    one = torch.from_numpy(people(seed, 3, COCO))
    other = one + torch.from_numpy(rng(seed).normal(0, 5, one.shape))
    areas = torch.full((1, 1), 4000.0, dtype=torch.float64)
    moved = oks(one * factor + shift, other * factor + shift, areas * factor**2, SIGMAS)
    assert torch.allclose(moved, oks(one, other, areas, SIGMAS), atol=1e-7)


@LAW
@given(seeds)
def test_a_larger_area_forgives_more(seed):
    one, other = (torch.from_numpy(people(seed + n, 2, COCO)) for n in (0, 9))
    small, large = (oks(one, other, torch.full((1, 1), a, dtype=torch.float64), SIGMAS) for a in (500.0, 5000.0))
    assert (large >= small).all()


@LAW
@given(seeds, st.integers(0, 16))
def test_a_joint_that_does_not_count_may_be_anywhere(seed, joint):
    one, other = (torch.from_numpy(people(seed + n, 2, COCO)) for n in (0, 9))
    counts = torch.ones(2, 17, dtype=torch.bool)
    counts[:, joint] = False
    moved = other.clone()
    moved[:, joint] += 500
    areas = torch.full((1, 1), 4000.0, dtype=torch.float64)
    assert torch.equal(oks(one, other, areas, SIGMAS, counts), oks(one, moved, areas, SIGMAS, counts))


@pytest.mark.parametrize('suppress', [oks_nms, soft_oks_nms])
@LAW
@given(seeds)
def test_suppression_by_oks_keeps_the_best_and_nobody_twice(suppress, seed):
    keypoints = np.repeat(people(seed, 3, COCO), 2, axis=0) + rng(seed).normal(0, 1, (6, 17, 2))
    scores = rng(seed).permutation(6) / 6
    kept = suppress(keypoints, scores, np.full(6, 5000.0), COCO.sigmas)
    assert kept[0] == scores.argmax()
    assert len(set(kept.tolist())) == len(kept)
