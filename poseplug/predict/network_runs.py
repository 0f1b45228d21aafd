"""Runs a network on prepared inputs: the poses of images in batches, and the heatmaps of one input."""

from __future__ import annotations

__all__ = ['predict_images', 'predict_sample_heatmaps']

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from poseplug.codecs.base import MapCodec
from poseplug.core.batch import Batch
from poseplug.core.instances import Instances
from poseplug.core.poses import Poses
from poseplug.core.sample import Sample
from poseplug.data.collate import collate
from poseplug.fields.heatmap_stages import HeatmapStages
from poseplug.models.estimators.base import Estimator
from poseplug.predict.image_batches import concat_instances, split_equal_inputs
from poseplug.predict.input_samples import ImageSamples
from poseplug.predict.opened_image import attach_boxes, elapsed_ms


def predict_images(
    model: Estimator,
    images: Sequence[ImageSamples],
    num_inputs: int,
    predict_batch: Callable[[Batch], list[Poses]] | None,
) -> Iterator[tuple[ImageSamples, list[Poses]]]:
    """Predict the instances of some images.

    Args:
        model: the estimator.
        images: each with its inputs; the time of the prediction is stored in its `speed`.
        num_inputs: the largest number of inputs that go through the network at once, of any image.
        predict_batch: predicts the last stage of a batch; None to decode every stage.

    Yields:
        Each image, and its poses by stage, in px of the image.
    """
    start_time = time.perf_counter()
    samples = [sample for image in images for sample in image.samples]
    predictions: list[tuple[Poses, ...]] = []
    for batch_samples in split_equal_inputs(samples, lambda sample: sample.view_sizes, num_inputs):
        batch = collate(batch_samples)
        stages = model.predict_stages(batch) if predict_batch is None else [predict_batch(batch)]
        # from stages of inputs to inputs of stages
        predictions += zip(*stages, strict=True)
    # the inputs of several images share batches, so that each has the mean time
    sample_ms = elapsed_ms(start_time) / max(1, len(samples))
    # not from the predictions, since images without instances have none
    num_stages = model.network.num_stages if predict_batch is None else 1
    start = 0
    for image in images:
        image_predictions = predictions[start : start + len(image)]
        image.speed['predict'] = sample_ms * len(image)
        start += len(image)
        image_stages = (
            concat_instances([stages[t] for stages in image_predictions], len(model.skeleton))
            for t in range(num_stages)
        )
        yield image, [_attach_sample_boxes(poses, image.samples) for poses in image_stages]


def predict_sample_heatmaps(model: Estimator, sample: Sample) -> HeatmapStages:
    """Predict the heatmaps of one input at every stage.

    Args:
        model: an estimator whose codec has heatmaps.
        sample: the input.

    Returns:
        The heatmaps of the first view, and its limb fields if the model has them.
    """
    batch = collate([sample])
    codec = model.postprocess.get_codec(batch.view_sizes[0])
    assert isinstance(codec, MapCodec)
    stages = model.predict_fields(batch)[0]
    return HeatmapStages(
        image=sample.pixels,
        input_image=batch.images[0, 0].numpy(),
        image_to_input=sample.image_to_input,
        heatmaps=_stages_to_numpy(stages, 'heatmap'),
        keypoints=model.skeleton.keypoints,
        grid=codec.grid,
        limb_fields=_stages_to_numpy(stages, 'paf'),
    )


def _stages_to_numpy(stages: Sequence[Mapping[str, torch.Tensor]], field_name: str) -> tuple[np.ndarray, ...]:
    """A field (C, rows, columns) of the first input at every stage that has it."""
    return tuple(stage[field_name][0].float().cpu().numpy() for stage in stages if field_name in stage)


def _attach_sample_boxes(poses: Poses, samples: Sequence[Sample]) -> Poses:
    """Attach the boxes of the crops; the scores of detected boxes multiply those of their instances."""
    if not samples:
        return poses
    instances = Instances.concatenate([sample.record.instances for sample in samples])
    # an input without a box is a whole image; a model may also find several instances in one input
    if not instances.has_box.all() or len(instances) != len(poses):
        return poses
    return attach_boxes(poses, instances.boxes, instances.box_scores if instances.is_detected.all() else None)
