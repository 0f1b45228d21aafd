"""The contract of a metric."""

from __future__ import annotations

__all__ = ['MetricContract']

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import Metric, MetricResult
from poseplug.evaluation.results import compute_metrics
from poseplug.testing.base import Contract
from poseplug.testing.samples import SMALL_SKELETON, create_test_record


class MetricContract(Contract):
    """Laws of a metric: `build_part(skeleton)` returns it.

    Attributes:
        skeleton: Skeleton of the metric under test.
        perfect_value: What a perfect prediction scores in every value. By default 0 where a lower score is better
            (`Metric.lower_is_better`, or `MetricResult.lower_is_better` for single scores), else 100.

    Example:
        >>> from poseplug.evaluation.pck import PCK
        >>> class TestPCK(MetricContract):
        ...     def build_part(self, skeleton):
        ...         return PCK(skeleton)
        >>> TestPCK().test_a_perfect_prediction_has_the_best_score()
    """

    skeleton: ClassVar[Skeleton] = SMALL_SKELETON
    perfect_value: ClassVar[float | None] = None

    def build_part(self, skeleton: Skeleton) -> Metric:
        return super().build_part(skeleton)

    def create_records(self) -> list[Record]:
        """Return annotated instances of several images, one of them with an unlabeled keypoint."""
        rng = np.random.default_rng(0)
        records = [create_test_record(rng, self.skeleton, f'im{i}.jpg') for i in range(6)]
        # Most metrics count labeled keypoints alone, and must not trip over one that is not.
        records[2].instances.visible[0, -1] = 0
        return records

    def compute_scores(self, pairs: Sequence[tuple[Poses, Record]]) -> MetricResult:
        """Return the metric's result over predictions and their annotations, added in this order."""
        metric = self.build_part(self.skeleton)
        for poses, record in pairs:
            metric.update(poses, record)
        return compute_metrics([metric])

    def test_a_perfect_prediction_has_the_best_score(self) -> None:
        # The best score is what `save_best` and reports take for granted.
        pairs = [(_copy_annotations(record), record) for record in self.create_records()]
        result = self.compute_scores(pairs)
        assert result.values
        for name, value in result.values.items():
            default = 0.0 if name in result.lower_is_better else 100.0
            assert value == (default if self.perfect_value is None else self.perfect_value), name

    def test_the_order_of_images_does_not_matter(self) -> None:
        pairs = [(_perturb_keypoints(record, i), record) for i, record in enumerate(self.create_records())]
        assert self.compute_scores(pairs).values == pytest.approx(self.compute_scores(pairs[::-1]).values)

    def test_a_prediction_far_away_scores_worse_than_one_nearby(self) -> None:
        """The direction of a score is the one that the metric declares: the best checkpoint is chosen by it."""
        # Errors of about 1 px count as right by every threshold, those of about 500 px as wrong.
        near, far = (
            self.compute_scores([(_perturb_keypoints(record, 0, px), record) for record in self.create_records()])
            for px in (1.0, 500.0)
        )
        for name in near.values.keys() & far.values.keys():
            best, worst = sorted((near.values[name], far.values[name]), reverse=name not in near.lower_is_better)
            assert (near.values[name], far.values[name]) == (best, worst), f'{name}: is a lower score a better one?'
            assert best != worst, name

    def test_names_of_lower_scores_are_those_of_scores(self) -> None:
        result = self.compute_scores([(_copy_annotations(record), record) for record in self.create_records()])
        assert result.lower_is_better <= set(result.values)

    def test_images_of_one_id_from_two_sources_are_not_merged(self) -> None:
        """The scores are those of images with ids of their own."""
        pairs = [(_perturb_keypoints(record, i), record) for i, record in enumerate(self.create_records())]
        # Two data sets may number their images alike; only the source tells them apart.
        collided = [(poses, replace(record, id='1', source_index=i)) for i, (poses, record) in enumerate(pairs)]
        assert self.compute_scores(collided).values == pytest.approx(self.compute_scores(pairs).values)

    def test_scores_are_finite_and_serializable(self) -> None:
        pairs = [(_perturb_keypoints(record, i), record) for i, record in enumerate(self.create_records())]
        result = self.compute_scores(pairs)
        assert all(np.isfinite(value) and isinstance(value, float) for value in result.values.values())
        assert set(result.to_dict()) == {'metrics', 'curves', 'notes'}

    def test_an_empty_metric_has_no_nan(self) -> None:
        assert not any(np.isnan(value) for value in self.compute_scores([]).values.values())


def _copy_annotations(record: Record) -> Poses:
    """Predictions that equal the annotations."""
    return Poses.from_annotations(record.instances.keypoints, record.instances.visible)


def _perturb_keypoints(record: Record, seed: int, sigma_px: float = 3.0) -> Poses:
    """Predictions off by normally distributed errors; their score depends on the seed."""
    rng = np.random.default_rng(seed)
    annotated = record.instances.keypoints
    keypoints = annotated + rng.normal(0, sigma_px, annotated.shape).astype(np.float32)
    # Scores differ by image: metrics that rank instances would order ties by their arrival.
    scores = np.full(annotated.shape[:2], 0.9 - 0.1 * seed, np.float32)
    return Poses(keypoints, scores, scores.mean(axis=1))
