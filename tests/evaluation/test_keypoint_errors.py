"""Kinds of keypoint errors on hand-made predictions, and the intervals of fractions."""

import numpy as np
import pytest

from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.keypoint_errors import (
    ERROR_KINDS,
    bootstrap_ratios,
    collect_keypoint_errors,
    get_error_sigmas,
    summarize_resamples,
)
from poseplug.evaluation.prediction_file import NO_SUBJECT, ImagePredictions, PredictionFile
from poseplug.skeletons.coco import COCO

SKELETON = Skeleton('pair', ('nose', 'left_hand', 'right_hand'), (), (('left_hand', 'right_hand'),), sigmas=(0.05,) * 3)
AREA = 10_000.0
# With sigma 0.05 and this area the similarity is exp(-d² / 200).
ONE = np.array([[100.0, 100.0], [60.0, 200.0], [140.0, 200.0]])
TWO = ONE + [300.0, 0.0]


def build_image(predicted, subjects=None, visible=None, scores=None):
    annotated = np.stack([ONE, TWO])
    predicted = np.asarray(predicted, dtype=float).reshape(-1, 3, 2)
    return ImagePredictions(
        image='a.jpg',
        annotated=annotated,
        visible=np.full((2, 3), 2) if visible is None else np.asarray(visible),
        areas=np.full(2, AREA),
        predicted=predicted,
        keypoint_scores=np.full((len(predicted), 3), 0.9),
        scores=np.arange(len(predicted), 0, -1) / 10 if scores is None else np.asarray(scores),
        subjects=np.full(len(predicted), NO_SUBJECT) if subjects is None else np.asarray(subjects),
    )


def list_kinds(image):
    errors = collect_keypoint_errors(PredictionFile('run', SKELETON, [image]))
    return [ERROR_KINDS[kind] for kind in errors.kinds]


def test_distances_decide_between_good_jitter_and_miss():
    # exp(-d² / 200) is 0.85 at 5.70 px and 0.5 at 11.77 px.
    offsets = np.array([[5.6, 0.0], [5.8, 0.0], [0.0, 11.8]])
    assert list_kinds(build_image([ONE + offsets, TWO])) == ['good', 'jitter', 'miss', 'good', 'good', 'good']
    errors = collect_keypoint_errors(PredictionFile('run', SKELETON, [build_image([ONE + offsets, TWO])]))
    np.testing.assert_allclose(errors.similarities[:3], np.exp(-(np.array([5.6, 5.8, 11.8]) ** 2) / 200))
    np.testing.assert_allclose(errors.oks, [(errors.similarities[:3].mean() + 1) / 2])


def test_exchanged_keypoints_of_one_instance_are_inversions():
    assert list_kinds(build_image([ONE[[0, 2, 1]], TWO]))[:3] == ['good', 'inversion', 'inversion']


def test_a_keypoint_on_another_instance_is_a_swap():
    predicted = ONE.copy()
    predicted[1] = TWO[1]
    assert list_kinds(build_image([predicted, TWO]))[:3] == ['good', 'swap', 'good']


def test_an_instance_without_a_prediction_is_undetected():
    assert list_kinds(build_image([TWO])) == ['undetected'] * 3 + ['good'] * 3
    assert list_kinds(build_image([])) == ['undetected'] * 6


def test_keypoints_that_are_not_labeled_do_not_count():
    visible = [[2, 0, 1], [0, 0, 0]]
    errors = collect_keypoint_errors(PredictionFile('run', SKELETON, [build_image([ONE], visible=visible)]))
    assert errors.keypoint_indices.tolist() == [0, 2]
    assert errors.is_occluded.tolist() == [False, True]


def test_the_higher_scoring_prediction_is_matched_first_and_only_once():
    shifted = ONE + [8.0, 0.0]
    kinds = list_kinds(build_image([shifted, ONE], scores=[0.9, 0.1]))
    assert kinds == ['jitter'] * 3 + ['undetected'] * 3


def test_a_given_box_decides_whose_prediction_it_is():
    # Both predictions lie on the second instance, but the first one was made in the box of the first instance.
    assert list_kinds(build_image([TWO, TWO], subjects=[0, 1])) == ['swap'] * 3 + ['good'] * 3


def test_a_skeleton_without_sigmas_is_judged_by_those_of_coco():
    sigmas = get_error_sigmas(Skeleton('own', ('left_hip', 'tail', 'nose')))
    assert sigmas.tolist() == [0.107, pytest.approx(np.mean(COCO.sigmas)), 0.026]
    assert get_error_sigmas(SKELETON).tolist() == [0.05] * 3


def test_intervals_are_those_of_a_binomial():
    rng = np.random.default_rng(0)
    successes = (rng.random(2000) < 0.3).astype(float)[:, None]
    (interval,) = summarize_resamples(bootstrap_ratios(successes, np.ones(2000)))
    half_width = 1.96 * np.sqrt(0.3 * 0.7 / 2000)
    assert interval.value == successes.mean()
    assert interval.high - interval.low == pytest.approx(2 * half_width, rel=0.1)
    assert interval.low < 0.3 < interval.high


def test_the_same_seed_resamples_the_same_images():
    values = np.random.default_rng(1).random((50, 1))
    one, other = (bootstrap_ratios(v, np.ones(50)) for v in (values, values + 0.25))
    np.testing.assert_allclose(other - one, 0.25)


def test_resamples_without_a_counted_image_say_nothing():
    # One image of ten counts; a resample that leaves it out has no ratio.
    numerators, denominators = np.zeros((10, 1)), np.zeros(10)
    numerators[3], denominators[3] = 1, 2
    ratios = bootstrap_ratios(numerators, denominators)
    assert np.isnan(ratios).any()
    assert summarize_resamples(ratios) == [(0.5, 0.5, 0.5)]


def test_an_image_without_labels_has_no_keypoint_and_no_similarity():
    unlabeled = build_image([], visible=np.zeros((2, 3)))
    errors = collect_keypoint_errors(PredictionFile('run', SKELETON, [unlabeled, build_image([ONE, TWO])]))
    assert np.isnan(errors.oks).tolist() == [True, False]
    assert errors.image_indices.tolist() == [1] * 6
    assert errors.count_kinds().sum(axis=1).tolist() == [0, 6]
    assert errors.count_kinds(errors.keypoint_indices == 0).sum(axis=1).tolist() == [0, 2]
