"""The result of a test run, and of several metrics together."""

from __future__ import annotations

__all__ = ['EvaluationResult', 'compute_metrics', 'list_possible_scores', 'update_metrics']

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from poseplug.core.errors import ConfigError, PluginError, PoseplugError
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.evaluation.base import Metric, MetricResult

_NUM_TRIED_RECORDS = 256  # enough for every kind of score of the usual data sets, in a fraction of a second


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


def update_metrics(metrics: Sequence[Metric], poses: Poses, record: Record) -> None:
    """Add the predictions of one image to metrics.

    Args:
        metrics: of the whole evaluation.
        poses: predicted instances in image pixels.
        record: the annotations of the image.

    Raises:
        PluginError: a metric raises an error that is none of poseplug's.
    """
    for metric in metrics:
        with _name_metric_errors(metric, f'update, of {record.id}'):
            metric.update(poses, record)


def compute_metrics(metrics: Sequence[Metric]) -> MetricResult:
    """Compute several metrics, and merge their results.

    Metrics of one kind, and metrics that return scores or curves of one name, are kept apart: their names begin with a
    label and a colon, such as 'coco:AP' and 'lsp:AP'. The label is the metric's own (`Metric.label`); where it has none
    or shares it, the label is its position in the list, from 1.

    Args:
        metrics: in the order of the config.

    Returns:
        The scores of all metrics; a note per label says which metric it means.

    Raises:
        PluginError: a metric raises an error that is none of poseplug's, or returns something else than a result.
    """
    results = []
    for metric in metrics:
        with _name_metric_errors(metric, 'compute'):
            results.append(_check_result(metric.compute()))
    return _merge_results(metrics, results)


@contextmanager
def _name_metric_errors(metric: Metric, operation: str) -> Iterator[None]:
    """Raise what a metric raises as an error that names it; metrics of plugins raise anything."""
    try:
        yield
    except PoseplugError:
        raise
    except Exception as error:
        name = type(metric).__name__
        raise PluginError(
            f'metric {name} failed in {operation}: {type(error).__name__}: {error}; correct it, or remove it from the '
            f'evaluator (POSEPLUG_TRACE=1 shows the line)'
        ) from error


def _check_result(result: Any) -> MetricResult:
    if isinstance(result, MetricResult) and isinstance(result.values, Mapping):
        return result
    raise TypeError(f"expected a MetricResult, such as MetricResult({{'PCK@0.2': 84.3}}), got {result!r}")


def _merge_results(metrics: Sequence[Metric], results: Sequence[MetricResult]) -> MetricResult:
    labels = _label_metrics(metrics, results)
    merged, lower_is_better = MetricResult(), set[str]()
    for metric, result, label in zip(metrics, results, labels, strict=True):
        prefix = f'{label}:' if label else ''
        for name, value in result.values.items():
            merged.values[f'{prefix}{name}'] = _convert_score(metric, name, value)
        merged.curves.update({f'{prefix}{name}': curve for name, curve in result.curves.items()})
        merged.notes += [f'{prefix} {note}' if prefix else note for note in result.notes]
        if prefix:
            merged.notes.append(f'{prefix} marks the scores of {metric.describe()}')
        names = result.values if metric.lower_is_better else result.lower_is_better
        lower_is_better |= {f'{prefix}{name}' for name in names}
    merged.lower_is_better = frozenset(lower_is_better)
    return merged


def _convert_score(metric: Metric, name: str, value: Any) -> float:
    """A score of a metric as a number: those of plugins may be arrays or tensors of one element."""
    try:
        # not what float() would parse: a text is no measurement
        if not isinstance(value, str | bytes):
            return float(value.item() if hasattr(value, 'item') else value)
    except (TypeError, ValueError, RuntimeError):  # torch raises the last for tensors of several elements
        pass
    raise ConfigError(
        f'{metric.describe()} returns {value!r} as the score {name!r}, which is no number; return one number per score'
    )


def _label_metrics(metrics: Sequence[Metric], results: Sequence[MetricResult]) -> list[str]:
    """The label of every metric; empty for one whose scores cannot be mistaken for another's."""
    metrics_of_kind = Counter(metric.kind for metric in metrics)
    names = [{*result.values, *result.curves} for result in results]
    metrics_of_name = Counter(name for metric_names in names for name in metric_names)
    ambiguous = [
        metrics_of_kind[metric.kind] > 1 or any(metrics_of_name[name] > 1 for name in metric_names)
        for metric, metric_names in zip(metrics, names, strict=True)
    ]
    metrics_of_label = Counter(metric.label for metric, needed in zip(metrics, ambiguous, strict=True) if needed)
    labels = []
    for position, (metric, needed) in enumerate(zip(metrics, ambiguous, strict=True), start=1):
        # The same label twice tells nothing apart.
        is_unique = metric.label and metrics_of_label[metric.label] == 1
        label = metric.label if is_unique else str(position)
        labels.append(label if needed else '')
    return labels


def list_possible_scores(
    create_metrics: Callable[[], list[Metric]], records: Sequence[Record], config_key: str, name: str | None = None
) -> MetricResult | None:
    """Find out which scores metrics will return, by measuring the annotations as if they were predictions.

    So what a metric needs of the data, such as head sizes, is checked before anything is trained or predicted.

    Args:
        create_metrics: returns a new list of metrics.
        records: those that will be measured; some of them, spread evenly, are tried, and all if these do not suffice.
        config_key: the setting that error messages name, such as 'val_evaluator'.
        name: of a score that is looked for; all records are tried before it is found missing.

    Returns:
        The scores by name; their values mean nothing. None if a metric of a plugin cannot be tried this way.

    Raises:
        ConfigError: a metric can measure none of the records.
    """
    # Some first; all only where these lack what a metric needs.
    for tried in (_spread_evenly(records, _NUM_TRIED_RECORDS), records):
        metrics = create_metrics()
        try:
            _measure_annotations(metrics, tried)
            results = [_check_result(metric.compute()) for metric in metrics]
        except PoseplugError:
            raise
        except Exception as error:  # of a plugin: it may need more of a prediction than an annotation has
            cause = f'{type(error).__name__}: {error}'
            logging.getLogger('poseplug').warning('%s cannot be tried on annotations (%s)', config_key, cause)
            return None
        failures = [(metric, result) for metric, result in zip(metrics, results, strict=True) if not result.values]
        scores = _merge_results(metrics, results)
        if not failures and (name is None or name in scores.values or len(tried) == len(records)):
            return scores
    metric, result = failures[0]
    reason = '; '.join(result.notes) or 'it returns no score'
    raise ConfigError(
        f'{config_key}: {metric.describe()} can measure none of the {len(records):,} annotated samples: {reason}. '
        f'Choose another metric, or settings that suit the data'
    )


def _spread_evenly(records: Sequence[Record], count: int) -> list[Record]:
    """At most `count` of the records, from the first to the last."""
    indices = np.unique(np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int))
    return [records[i] for i in indices]


def _measure_annotations(metrics: Sequence[Metric], records: Sequence[Record]) -> None:
    """Pass the first annotated instance of every record to the metrics, as the prediction of the record."""
    for record in records:
        # One instance is enough to learn the names of the scores.
        annotated = (record.ground_truth or record).instances
        poses = Poses.from_annotations(annotated.keypoints[:1], annotated.visible[:1])
        for metric in metrics:
            metric.update(poses, record)
