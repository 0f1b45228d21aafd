"""Predict every picture of a loader and measure, stage by stage where asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from poseplug.engine.distributed import everyones
from poseplug.evaluation.base import Metric, Scores
from poseplug.poses import Poses
from poseplug.sample import Record


@dataclass
class Evaluation:
    """Scores of the last stage, of every stage where asked, and every prediction beside its annotation.

    `seconds` is the time from the first picture read to the last one measured; `sources` says what was kept of each.
    """

    scores: Scores
    stages: list[Scores] = field(default_factory=list)
    predictions: list[tuple[Record, Poses]] = field(default_factory=list)
    seconds: float = 0.0
    sources: list[str] = field(default_factory=list)

    @property
    def values(self) -> dict[str, float]:
        return self.scores.values


def evaluate(
    model: Any,
    loader: Iterable[Any],
    metrics: Callable[[], list[Metric]],
    every_stage: bool = False,
    unseen: Iterable[Record] = (),
    total: int | None = None,
) -> Evaluation:
    """Run an estimator's `predict` over a loader of batches. `metrics` makes a new set of metrics, one set a stage.

    `unseen` are pictures of annotated people that no batch holds, as `PoseDataset.unseen`: everybody there is missed.
    Where several processes each have a share of `total` batches, all of them measure all of them.
    """
    begun = time.perf_counter()
    sets: list[list[Metric]] = []
    predictions: list[tuple[Record, Poses]] = []
    found = ((batch.records, model.predict(batch, every_stage=every_stage)) for batch in loader)
    for records, stages in found if total is None else everyones(found, total):
        sets = sets or [metrics() for _ in stages]
        for stage, stage_metrics in zip(stages, sets, strict=True):
            for poses, record in zip(stage, records, strict=True):
                for metric in stage_metrics:
                    metric.add(poses, record)
        predictions += zip(records, stages[-1], strict=True)
    for record in unseen:
        for metric in (m for stage_metrics in sets for m in stage_metrics):
            metric.add(Poses.nobody(record.keypoints.shape[1]), record)
    scores = [merged([m.compute() for m in stage_metrics]) for stage_metrics in sets or [metrics()]]
    return Evaluation(scores[-1], scores if every_stage else [], predictions, time.perf_counter() - begun)


def merged(parts: list[Scores]) -> Scores:
    """The scores of several metrics as one."""
    total = Scores()
    for part in parts:
        total.values.update(part.values)
        total.curves.update(part.curves)
        total.notes += part.notes
    return total
