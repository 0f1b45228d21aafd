"""Evaluation: predict every image of a loader and compute the metrics, of every stage on request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.engine.distributed import merge_rank_results
from poseplug.evaluation.base import Metric
from poseplug.evaluation.results import EvaluationResult, compute_metrics, update_metrics


def evaluate(
    model: Any,
    loader: Iterable[Any],
    create_metrics: Callable[[], list[Metric]],
    all_stages: bool = False,
    undetected_records: Iterable[Record] = (),
    num_batches: int | None = None,
) -> EvaluationResult:
    """Predict the batches of a loader and measure the predictions.

    Args:
        model: an estimator; its `predict(batch)` returns the poses of every image, its `predict_stages(batch)` those
            of every stage.
        loader: the batches (`poseplug.core.batch.Batch`).
        create_metrics: returns a new list of metrics; it is called once per stage.
        all_stages: whether every stage of the head is measured, or only the last one.
        undetected_records: annotated images that no batch contains since a detector found nothing in them
            (`PoseDataset.undetected_records`): all their instances count as missed.
        num_batches: for several processes, each with the loader of its own rank: the number of batches of all
            together. Every process then measures the predictions of all.

    Returns:
        The scores of the last stage, those of every stage with `all_stages`, and every prediction with its record.
    """
    start_time = time.perf_counter()
    stage_metrics: list[list[Metric]] = []
    predictions: list[tuple[Record, Poses]] = []
    predict = model.predict_stages if all_stages else lambda batch: [model.predict(batch)]
    results: Iterable[Any] = ((batch.records, predict(batch)) for batch in loader)
    # predictions are exchanged as they are made, so that metrics run in every process and none waits at the end
    if num_batches is not None:
        results = merge_rank_results(results, num_batches)
    for records, stages in results:
        # the number of a model's stages is known from its first prediction
        stage_metrics = stage_metrics or [create_metrics() for _ in stages]
        for stage_poses, metrics in zip(stages, stage_metrics, strict=True):
            for poses, record in zip(stage_poses, records, strict=True):
                update_metrics(metrics, poses, record)
        predictions += zip(records, stages[-1], strict=True)
    for record in undetected_records:
        # an image without a detected box counts: its annotated instances are missed
        no_poses = Poses.empty(record.instances.keypoints.shape[1])
        for metrics in stage_metrics:
            update_metrics(metrics, no_poses, record)
    # without any prediction, metrics of one stage report that nothing was measured
    stage_scores = [compute_metrics(metrics) for metrics in stage_metrics or [create_metrics()]]
    seconds = time.perf_counter() - start_time
    return EvaluationResult(stage_scores[-1], stage_scores if all_stages else [], predictions, seconds)
