"""Laws of the metrics: order, scale, perfect predictions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poseplug.core.poses import Poses
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.evaluation.pck import PCK
from poseplug.evaluation.pckh import PCKh
from poseplug.grouping.oks import oks, oks_nms, soft_oks_nms
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP
from poseplug.skeletons.mpii import MPII
from poseplug.testing import create_annotated_record
from tests.properties.laws import LAW, rng, seeds

SIGMAS = torch.tensor(COCO.sigmas, dtype=torch.float64)


def random_keypoints(seed, count, skeleton):
    """(N, K, 2) keypoints in an image of 200 px."""
    return rng(seed).random((count, len(skeleton), 2)) * 200


def make_record(keypoints, number, **fields):
    count = len(keypoints)
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    fields['boxes'] = np.concatenate([low, high], axis=1)
    fields['areas'] = 0.5 * (high - low).prod(axis=1)
    fields['head_sizes'] = np.full(count, 25.0)
    fields['annotation_ids'] = np.arange(count) + 100 * number
    visible = np.full(keypoints.shape[:2], 2, np.uint8)
    return create_annotated_record('a.jpg', str(number), keypoints, visible, **fields)


def make_poses(keypoints, scores=None):
    scores = np.ones(len(keypoints)) if scores is None else scores
    return Poses(keypoints, np.ones(keypoints.shape[:2]), scores)


def make_pairs(seed, skeleton, num_images=4, max_instances=3):
    """Predicted and annotated instances of some images; the predictions are near, with distinct scores."""
    generator = rng(seed)
    pairs = []
    for number in range(num_images):
        annotated = random_keypoints(seed + number, int(generator.integers(1, max_instances + 1)), skeleton)
        predicted = annotated + generator.normal(0, generator.choice([1.0, 8.0, 30.0]), annotated.shape)
        scores = generator.permutation(len(annotated)) / 10 + 0.01 * number + 0.1
        pairs.append((make_poses(predicted, scores), make_record(annotated, number)))
    return pairs


def compute_values(metric, pairs):
    for predictions, record in pairs:
        metric.update(predictions, record)
    return metric.compute().values


METRICS = {
    'PCK': (lambda: PCK(LSP, instances='all'), LSP),
    'PCKh': (lambda: PCKh(MPII, instances='all'), MPII),
    'AP': (lambda: OKSAP(COCO), COCO),
    'AP by the other evaluator': (lambda: OKSAP(COCO, 'xtcocotools'), COCO),
}


@pytest.fixture(params=METRICS, scope='module')
def metric(request):
    """A function that builds a metric, and its skeleton."""
    return METRICS[request.param]


@LAW
@given(seeds)
def test_the_order_of_images_does_not_matter(metric, seed):
    build, skeleton = metric
    pairs = make_pairs(seed, skeleton)
    shuffled = [pairs[i] for i in rng(seed).permutation(len(pairs))]
    assert compute_values(build(), pairs) == pytest.approx(compute_values(build(), shuffled), abs=0.011)


@LAW
@given(seeds)
def test_perfect_predictions_score_100(metric, seed):
    build, skeleton = metric
    records = [make_record(random_keypoints(seed + n, 2, skeleton), n) for n in range(3)]
    values = compute_values(build(), [(make_poses(record.instances.keypoints), record) for record in records])
    assert values
    assert all(value == 100 for value in values.values())


@LAW
@given(seeds)
def test_values_are_percentages(metric, seed):
    build, skeleton = metric
    assert all(0 <= value <= 100 for value in compute_values(build(), make_pairs(seed, skeleton)).values())


@LAW
@given(seeds)
def test_predictions_far_away_score_0(metric, seed):
    build, skeleton = metric
    record = make_record(random_keypoints(seed, 2, skeleton), 0)
    values = compute_values(build(), [(make_poses(record.instances.keypoints + 1e5), record)])
    assert all(value == 0 for value in values.values())


@LAW
@given(seeds, st.floats(0.25, 4))
def test_pck_does_not_depend_on_the_scale_of_the_image(seed, factor):
    pairs = make_pairs(seed, LSP)
    scaled = [
        (make_poses(poses.keypoints * factor), make_record(record.instances.keypoints * factor, n))
        for n, (poses, record) in enumerate(pairs)
    ]
    expected = compute_values(PCK(LSP, instances='all'), scaled)
    assert compute_values(PCK(LSP, instances='all'), pairs) == pytest.approx(expected, abs=0.5)


@LAW
@given(seeds)
def test_a_larger_threshold_never_lowers_pck(seed):
    thresholds = (0.05, 0.1, 0.2, 0.5)
    values = compute_values(PCK(LSP, thresholds=thresholds, instances='all'), make_pairs(seed, LSP))
    percentages = [values[f'PCK@{threshold}'] for threshold in thresholds]
    assert percentages == sorted(percentages)


@LAW
@given(seeds)
def test_the_order_of_instances_in_an_image_does_not_matter_to_average_precision(seed):
    pairs = make_pairs(seed, COCO)
    reversed_pairs = [(poses[::-1], record) for poses, record in pairs]
    assert compute_values(OKSAP(COCO), pairs) == compute_values(OKSAP(COCO), reversed_pairs)


@LAW
@given(seeds)
def test_average_precision_depends_on_the_order_of_scores_alone(seed):
    pairs = make_pairs(seed, COCO)
    rescored = [(replace(poses, instance_scores=np.tanh(3 * poses.instance_scores)), record) for poses, record in pairs]
    assert compute_values(OKSAP(COCO), pairs) == compute_values(OKSAP(COCO), rescored)


@LAW
@given(seeds)
def test_both_evaluators_agree(seed):
    pairs = make_pairs(seed, COCO)
    assert compute_values(OKSAP(COCO), pairs) == compute_values(OKSAP(COCO, 'xtcocotools'), pairs)


@LAW
@given(seeds, st.floats(10, 1e5))
def test_oks_is_a_fraction_symmetric_and_1_for_equal_instances(seed, area):
    one, other = (torch.from_numpy(random_keypoints(seed + n, 3, COCO)) for n in (0, 9))
    areas = torch.full((1, 1), area, dtype=torch.float64)
    similarity = oks(one, other, areas, SIGMAS)
    assert ((similarity >= 0) & (similarity <= 1)).all()
    assert torch.allclose(similarity, oks(other, one, areas, SIGMAS).mT)
    assert torch.allclose(oks(one, one, areas, SIGMAS).diagonal(), torch.ones(3, dtype=torch.float64))


@LAW
@given(seeds, st.floats(0.1, 10), st.floats(-100, 100))
def test_oks_does_not_depend_on_position_and_scale(seed, factor, shift):
    one = torch.from_numpy(random_keypoints(seed, 3, COCO))
    other = one + torch.from_numpy(rng(seed).normal(0, 5, one.shape))
    areas = torch.full((1, 1), 4000.0, dtype=torch.float64)
    transformed = oks(one * factor + shift, other * factor + shift, areas * factor**2, SIGMAS)
    assert torch.allclose(transformed, oks(one, other, areas, SIGMAS), atol=1e-7)


@LAW
@given(seeds)
def test_oks_rises_with_the_area(seed):
    one, other = (torch.from_numpy(random_keypoints(seed + n, 2, COCO)) for n in (0, 9))
    small, large = (oks(one, other, torch.full((1, 1), a, dtype=torch.float64), SIGMAS) for a in (500.0, 5000.0))
    assert (large >= small).all()


@LAW
@given(seeds, st.integers(0, 16))
def test_oks_ignores_the_position_of_a_keypoint_that_does_not_count(seed, keypoint_index):
    one, other = (torch.from_numpy(random_keypoints(seed + n, 2, COCO)) for n in (0, 9))
    visible = torch.ones(2, 17, dtype=torch.bool)
    visible[:, keypoint_index] = False
    elsewhere = other.clone()
    elsewhere[:, keypoint_index] += 500
    areas = torch.full((1, 1), 4000.0, dtype=torch.float64)
    assert torch.equal(oks(one, other, areas, SIGMAS, visible), oks(one, elsewhere, areas, SIGMAS, visible))


@pytest.mark.parametrize('suppress', [oks_nms, soft_oks_nms])
@LAW
@given(seeds)
def test_suppression_by_oks_keeps_the_highest_scoring_and_no_instance_twice(suppress, seed):
    keypoints = np.repeat(random_keypoints(seed, 3, COCO), 2, axis=0) + rng(seed).normal(0, 1, (6, 17, 2))
    scores = rng(seed).permutation(6) / 6
    indices = suppress(keypoints, scores, np.full(6, 5000.0), COCO.sigmas)
    assert indices[0] == scores.argmax()
    assert len(set(indices.tolist())) == len(indices)
