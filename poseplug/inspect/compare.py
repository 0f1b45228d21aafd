"""Compares the predictions of test runs: error kinds with intervals, paired differences, and calibration of scores."""

from __future__ import annotations

__all__ = ['Comparison', 'calibrate_scores', 'chart_reliability', 'compare_predictions', 'summarize_errors']

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from poseplug.core.errors import MismatchError
from poseplug.evaluation.keypoint_errors import (
    ERROR_KINDS,
    Interval,
    KeypointErrors,
    bootstrap_ratios,
    collect_keypoint_errors,
    summarize_resamples,
)
from poseplug.evaluation.prediction_file import PredictionFile
from poseplug.report.charts import Chart, Series

MEASURES = ('mean OKS', *ERROR_KINDS)
_SMALL_AREA_PX2, _MEDIUM_AREA_PX2 = 32.0**2, 96.0**2  # COCO's sizes of instances
_NEAR_SIMILARITY = 0.5  # a keypoint counts as right for the calibration of scores
_NUM_BINS = 10


@dataclass(frozen=True)
class Comparison:
    """Several results on the same images.

    Attributes:
        names: of the results.
        num_images: number of images that all results have.
        num_left_out: number of images that only some results have.
        values: by measure, an interval per result, in percent.
        differences: by measure, the paired difference of each result to the first one, in percentage points.
        results: with these images alone, in the order of the first one.
        oks: (number of results, number of images) mean OKS of each image, 0 to 1; NaN without labeled keypoints.
        inversions: (number of results, number of images) number of keypoints at the position of another keypoint of
            their instance, such as the other wrist.
        num_occluded: (number of images,) number of keypoints that are annotated as occluded.
    """

    names: list[str]
    num_images: int
    num_left_out: int
    values: dict[str, list[Interval]]
    differences: dict[str, list[Interval]]
    results: list[PredictionFile]
    oks: np.ndarray
    inversions: np.ndarray
    num_occluded: np.ndarray


def compare_predictions(results: Sequence[PredictionFile]) -> Comparison:
    """Compare results on the images that all of them have.

    Args:
        results: two or more, on the same keypoints; one is only summarized.

    Raises:
        MismatchError: the results have different keypoints, no image in common, or other annotations of an image.
    """
    first = results[0]
    for other in results[1:]:
        if other.skeleton.keypoints != first.skeleton.keypoints:
            raise MismatchError(
                f'{first.name} and {other.name} have different keypoints ({first.skeleton.name}, '
                f'{other.skeleton.name}); only results on the same keypoints compare'
            )
    # by name: results may have their images in another order
    images = [{image.image: image for image in result.images} for result in results]
    common = [name for name in images[0] if all(name in each for each in images)]
    if not common:
        raise MismatchError('the results have no image in common; they are of different test sets')
    _check_annotations(results, images, common)
    # in the order of the first result, by which resamples are the same images
    aligned = [
        PredictionFile(result.name, result.skeleton, [by_name[name] for name in common])
        for result, by_name in zip(results, images, strict=True)
    ]
    errors = [collect_keypoint_errors(result) for result in aligned]
    # Every result is resampled with the same images, so that differences are paired: what is hard for all cancels.
    resamples = [_resample_measures(each) for each in errors]
    values = [summarize_resamples(each) for each in resamples]
    differences = [summarize_resamples(each - resamples[0]) for each in resamples]
    return Comparison(
        names=number_repeated_names([result.name for result in results]),
        num_images=len(common),
        num_left_out=len(set().union(*images)) - len(common),
        values={measure: [each[i] for each in values] for i, measure in enumerate(MEASURES)},
        differences={measure: [each[i] for each in differences] for i, measure in enumerate(MEASURES)},
        results=aligned,
        oks=np.stack([each.oks for each in errors]),
        inversions=np.stack([each.count_kinds()[:, ERROR_KINDS.index('inversion')] for each in errors]),
        num_occluded=errors[0].count_kinds(errors[0].is_occluded).sum(axis=1),
    )


def _check_annotations(results: Sequence[PredictionFile], images: list[dict], common: list[str]) -> None:
    """Raise if an image is annotated otherwise in one of the results."""
    for result, by_name in zip(results[1:], images[1:], strict=True):
        for name in common:
            one, other = images[0][name], by_name[name]
            # A top-down test lists the instances in another order.
            keys = [
                sorted(map(tuple, each.annotated.reshape(len(each.annotated), -1).tolist())) for each in (one, other)
            ]
            if keys[0] != keys[1]:
                raise MismatchError(
                    f'{results[0].name} and {result.name}: {name} has other annotations; only results on the same '
                    f'annotations compare'
                )


def _resample_measures(errors: KeypointErrors) -> np.ndarray:
    """All measures in percent, (1 + number of resamples, number of measures)."""
    counts = errors.count_kinds()
    # an image without labeled keypoints has no OKS
    has_instances = ~np.isnan(errors.oks)
    # a mean is a ratio of sums, too: of OKS over the number of instances
    oks = bootstrap_ratios(np.nan_to_num(errors.oks)[:, None], has_instances.astype(float))
    return 100 * np.concatenate([oks, bootstrap_ratios(counts, counts.sum(axis=1))], axis=1)


def number_repeated_names(names: list[str]) -> list[str]:
    """Return the names made unique by appending `_2`, `_3`, ... to repeated ones."""
    return [name if names.index(name) == i else f'{name}_{names[: i + 1].count(name)}' for i, name in enumerate(names)]


def summarize_errors(errors: KeypointErrors, keypoints: Sequence[str]) -> dict[str, list[Interval]]:
    """Summarize the kinds of error of a result, in percent of the labeled keypoints.

    Args:
        errors: of the result.
        keypoints: the names of the keypoints.

    Returns:
        By group (all, every keypoint, sizes of instances, visible and occluded) an interval per kind; groups without
        keypoints are left out.
    """
    areas = errors.areas
    groups = {'all': np.ones(len(areas), dtype=bool)}
    groups |= {name: errors.keypoint_indices == i for i, name in enumerate(keypoints)}
    groups |= {
        'small instances': areas < _SMALL_AREA_PX2,
        'medium instances': (areas >= _SMALL_AREA_PX2) & (areas < _MEDIUM_AREA_PX2),
        'large instances': areas >= _MEDIUM_AREA_PX2,
        'visible': ~errors.is_occluded,
        'occluded': errors.is_occluded,
    }
    rows = {}
    for name, selected in groups.items():
        if selected.any():
            counts = errors.count_kinds(selected)
            rows[name] = summarize_resamples(100 * bootstrap_ratios(counts, counts.sum(axis=1)))
    return rows


def calibrate_scores(errors: KeypointErrors) -> tuple[list[tuple[float, float, int]], float]:
    """Compare the scores of the keypoints of matched instances with how often they are right (similarity from 0.5 on).

    Args:
        errors: of a result.

    Returns:
        For each of 10 bins of the score from 0 to 1 that is not empty: the mean score, the fraction that is right, and
        the number of keypoints; and the expected calibration error, the mean absolute difference of the two.
    """
    detected = ~np.isnan(errors.scores)
    scores = np.clip(errors.scores[detected], 0, 1)
    is_right = errors.similarities[detected] >= _NEAR_SIMILARITY
    # a score of 1 belongs to the last bin
    bins = np.minimum((scores * _NUM_BINS).astype(int), _NUM_BINS - 1)
    rows = []
    for i in range(_NUM_BINS):
        members = bins == i
        if members.any():
            rows.append((float(scores[members].mean()), float(is_right[members].mean()), int(members.sum())))
    total = sum(count for *_, count in rows)
    # Guo et al. 2017 (arXiv:1706.04599), eq. 3
    error = sum(count * abs(score - fraction) for score, fraction, count in rows) / max(total, 1)
    return rows, error


def chart_reliability(comparison: Comparison) -> Chart:
    """Build the chart that shows whether scores are probabilities: those of a calibrated model lie on the diagonal."""
    lines = []
    for name, result in zip(comparison.names, comparison.results, strict=True):
        rows, _ = calibrate_scores(collect_keypoint_errors(result))
        lines.append(Series(name, [score for score, *_ in rows], [fraction for _, fraction, _ in rows]))
    diagonal = Series('calibrated', (0, 1), (0, 1))
    label = 'fraction of right keypoints'
    return Chart('Reliability of the scores', 'mean score', label, [*lines, diagonal], y_range=(0, 1))
