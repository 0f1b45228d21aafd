"""Predict every picture of a loader and measure, stage by stage where asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from poseplug.evaluation.base import Metric, Scores
from poseplug.poses import Poses
from poseplug.sample import Record


@dataclass
class Evaluation:
    """Scores of the last stage, of every stage where asked, and every prediction beside its annotation."""

    scores: Scores
    stages: list[Scores] = field(default_factory=list)
    predictions: list[tuple[Record, Poses]] = field(default_factory=list)

    @property
    def values(self) -> dict[str, float]:
        return self.scores.values


def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    metrics: Callable[[], list[Metric]],
    every_stage: bool = False,
) -> Evaluation:
    """Run `model.predict` over a loader of batches. `metrics` makes a new set of metrics, one set a stage."""
    sets: list[list[Metric]] = []
    predictions: list[tuple[Record, Poses]] = []
    for batch in loader:
        stages = model.predict(batch, every_stage=every_stage)
        sets = sets or [metrics() for _ in stages]
        for stage, stage_metrics in zip(stages, sets, strict=True):
            for poses, record in zip(stage, batch.records, strict=True):
                for metric in stage_metrics:
                    metric.add(poses, record)
        predictions += zip(batch.records, stages[-1], strict=True)
    found = [merged([m.compute() for m in stage_metrics]) for stage_metrics in sets or [metrics()]]
    return Evaluation(found[-1], found if every_stage else [], predictions)


def merged(parts: list[Scores]) -> Scores:
    """The scores of several metrics as one."""
    total = Scores()
    for part in parts:
        total.values.update(part.values)
        total.curves.update(part.curves)
        total.notes += part.notes
    return total
