"""The result of a test run."""

from __future__ import annotations

__all__ = ['EvaluationResult', 'merge_metric_results']

from dataclasses import dataclass, field

from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.evaluation.base import MetricResult


@dataclass
class EvaluationResult:
    """Scores of a test run, and every prediction beside its annotation.

    Attributes:
        scores: Result of the last stage.
        stage_scores: Result of every stage, if all stages were evaluated.
        predictions: Every record with its predicted instances.
        seconds: Time from the first image read to the last one measured.
        source_reports: What was kept and dropped of each source.

    Example:
        >>> result = EvaluationResult(MetricResult({'PCK@0.2': 84.3}), seconds=12.5)
        >>> result.values['PCK@0.2']
        84.3
    """

    scores: MetricResult
    stage_scores: list[MetricResult] = field(default_factory=list)
    predictions: list[tuple[Record, Poses]] = field(default_factory=list)
    seconds: float = 0.0
    source_reports: list[str] = field(default_factory=list)

    @property
    def values(self) -> dict[str, float]:
        """Scores of the last stage by name."""
        return self.scores.values


def merge_metric_results(metric_results: list[MetricResult]) -> MetricResult:
    """Merge the results of several metrics into one."""
    merged = MetricResult()
    for result in metric_results:
        merged.values.update(result.values)
        merged.curves.update(result.curves)
        merged.notes += result.notes
    return merged
