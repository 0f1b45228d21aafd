"""Prediction of poses in images by a trained model, with the same crops and decoding as the test command."""

from __future__ import annotations

__all__ = ['Predictor']

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from poseplug.codecs.base import MapCodec
from poseplug.config.build import require_setting
from poseplug.core.boxes import BoxFormat
from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.setting_checks import check_counts
from poseplug.fields.heatmap_stages import HeatmapStages
from poseplug.files.weights import WeightKind
from poseplug.models.layers.batch_norm_folding import fold_batch_norms
from poseplug.predict.box_checks import (
    ImageBoxes,
    check_detector,
    pair_images_with_boxes,
)
from poseplug.predict.detectors import Detector
from poseplug.predict.image_batches import count_batch_inputs, group_images, open_image_batches
from poseplug.predict.image_input import ImageInput
from poseplug.predict.input_samples import ImageSamples, SampleBuilder, get_test_pipeline
from poseplug.predict.model_loading import ModelSource, load_model, resolve_model
from poseplug.predict.network_runs import predict_images, predict_sample_heatmaps
from poseplug.predict.opened_image import OpenedImage, build_result, open_with_boxes
from poseplug.predict.pose_predictor import ImagePredictor
from poseplug.predict.precision import Precision, PrecisionChoice
from poseplug.predict.result import Result
from poseplug.registry.skeletons import get_skeleton


class Predictor(ImagePredictor):
    """A model, its weights and its test pipeline; without arguments, those of the installed model.

    An image without boxes is one instance, cropped by the config's test pipeline, or as if its box were the whole image
    where that pipeline crops boxes; an instance with a box is cropped by `CropBox`. A model that finds instances by
    itself accepts whole images alone. With a `detector` an image without boxes has the detected instances, whose scores
    follow COCO's protocol: box score times the mean of the keypoint scores above 0.2. Batch norms are folded into the
    convolutions before them, so that `model` cannot be trained further.

    Args:
        model: a name of `list_models`, a config file or a loaded config; None for the installed model.
        weights: a checkpoint of that model; None for the weights that a named model is installed with.
        device: where the network runs; by default a GPU if there is one.
        channels_last: memory format of the network; it changes the speed, not the numbers. None means channels last
            on a CPU, where that is faster, and the config's choice elsewhere.
        detector: finds boxes in images that are given without; see `poseplug.predict.detectors`.
        weight_kind: 'raw' or 'averaged', where a checkpoint has both; by default the averaged ones.
        map_keypoints: whether the channels of weights are taken by the names of their keypoints, where these differ.
        precision: of the network: 'fp32', 'bf16', 'fp16', or 'auto' for bf16 where the CPU has instructions for it and
            the keypoints of the first inputs stay the same; see `PrecisionChoice`.
        flip_test: whether to average with the flipped input; None for what the config says.

    Attributes:
        precision: the choice of the precision, and the reason for it.
        name: names of the config and the weights, for result files.
        model: the estimator.
        skeleton: names and order of the keypoints.

    Raises:
        ConfigError: the model is unknown, has no weights, or its config no test pipeline; or the model finds instances
            by itself and was given a detector.
        CheckpointError: the weights cannot be read, do not fit the model, or are not finite.

    Example:
        >>> import numpy as np
        >>> predictor, image = Predictor(device='cpu'), np.zeros((120, 90, 3), np.uint8)
        >>> (poses,) = predictor(image)
        >>> poses.keypoints.shape
        (1, 14, 2)
        >>> [len(poses) for poses in predictor([image, image], boxes=[[[5, 5, 40, 80], [45, 5, 40, 80]], None])]
        [2, 1]
        >>> predictor.skeleton.keypoints[0]
        'right_ankle'
    """

    def __init__(
        self,
        model: ModelSource | None = None,
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        channels_last: bool | None = None,
        detector: Detector | None = None,
        weight_kind: WeightKind | None = None,
        map_keypoints: bool = False,
        precision: Precision = 'fp32',
        flip_test: bool | None = None,
    ):
        cfg, weights, self.name = resolve_model(model, weights)
        self.model = load_model(cfg, weights, device, weight_kind, map_keypoints)
        check_detector(detector, type(self.model).__name__, self.model.finds_instances)
        self.detector = detector
        fold_batch_norms(self.model)  # with channels last, what makes the network faster here (docs/lab/benchmark.md)
        on_cpu = next(self.model.parameters()).device.type == 'cpu'
        # on a GPU without a choice of the caller the config's own setting stays
        if channels_last is not None or on_cpu:
            is_contiguous = channels_last is False
            self.model.network.set_memory_format(torch.contiguous_format if is_contiguous else torch.channels_last)
        if flip_test is not None:
            self.model.augmentation.flip_test = flip_test
        self.precision = PrecisionChoice(self.model, precision)
        self.skeleton = get_skeleton(require_setting(cfg, 'skeleton'))
        self._sample_builder = SampleBuilder(self.skeleton, get_test_pipeline(cfg), self.model.codec)

    @property
    def finds_instances(self) -> bool:
        """Whether the instances of an image without boxes are found, by the model or by the detector."""
        return bool(self.model.finds_instances) or self.detector is not None

    @property
    def score_meaning(self) -> str:
        """The meaning of a keypoint's score."""
        return self.model.codec.score_meaning

    def predict_stages(
        self,
        images: ImageInput | Sequence[ImageInput],
        boxes: ArrayLike | Sequence[ImageBoxes] | None = None,
        batch_size: int = 32,
        box_format: BoxFormat = 'xywh',
    ) -> list[list[Poses]]:
        """Predict the instances of images by every stage of the head.

        Args:
            images: as for a call.
            boxes: as for a call.
            batch_size: as for a call.
            box_format: as for a call.

        Returns:
            For each image, in their order, a list of one `Poses` per stage, the last stage last:
            `result[image][stage]`.

        Raises:
            ImageError: an image cannot be read.
            AnnotationError: the boxes are not one entry per image, or a box is impossible.
            ConfigError: the model finds instances by itself and was given boxes.

        Example:
            >>> import numpy as np
            >>> (stages,) = Predictor(device='cpu').predict_stages([np.zeros((120, 90, 3), np.uint8)])
            >>> len(stages)
            3
        """
        check_counts('Predictor', batch_size=batch_size)
        pairs = pair_images_with_boxes(images, boxes)
        return [stages for _, stages in self._stream_stages(pairs, batch_size, box_format, all_stages=True)]

    def _stream_results(
        self, pairs: Iterable[tuple[ImageInput, ImageBoxes]], batch_size: int, box_format: BoxFormat
    ) -> Iterator[Result]:
        predictions = self._stream_stages(pairs, batch_size, box_format, all_stages=False)
        return (build_result(image, stages[-1], self.skeleton, self.name) for image, stages in predictions)

    def _stream_stages(
        self, image_pairs: Iterable[Any], batch_size: int, box_format: BoxFormat, all_stages: bool
    ) -> Iterator[tuple[ImageSamples, list[Poses]]]:
        """Yield each image and its poses of every stage, or those of the last stage alone."""
        num_inputs = count_batch_inputs(self.model.finds_instances, batch_size)
        predict_batch = None if all_stages else self.precision.predict
        # a batch holds instances of several images, since one image seldom fills it
        for group in group_images(self._stream_samples(image_pairs, batch_size, box_format), num_inputs):
            yield from predict_images(self.model, group, num_inputs, predict_batch)

    def _stream_samples(
        self, image_pairs: Iterable[Any], batch_size: int, box_format: BoxFormat
    ) -> Iterator[ImageSamples]:
        """Yield the network inputs of each image, one per instance; a detector gets a batch of images at once."""
        for opened in open_image_batches(image_pairs, self.detector, batch_size):
            yield from self._build_samples(opened, box_format)

    def _build_samples(self, images: Sequence[OpenedImage], box_format: BoxFormat) -> Iterator[ImageSamples]:
        """Check that boxes fit the model, and yield the network inputs of each image."""
        if self.model.finds_instances and any(image.boxes is not None for image in images):
            name = type(self.model).__name__
            raise ConfigError(f'{name} finds instances in whole images by itself; leave boxes out')
        return self._sample_builder.build_samples(images, box_format, self.detector)

    def check_heatmaps(self) -> None:
        """Check that the model predicts heatmaps.

        Raises:
            ConfigError: the model's codec has no heatmaps.
        """
        codec = self.model.codec
        if not self.has_heatmaps:
            field_names = ', '.join(codec.fields)
            raise ConfigError(
                f'{type(codec).__name__} predicts no heatmaps, one per keypoint; its fields are {field_names}'
            )

    def predict_heatmaps(
        self, image: ImageInput, box: ArrayLike | None = None, box_format: BoxFormat = 'xywh'
    ) -> HeatmapStages:
        """Predict the heatmaps of one instance at every stage.

        Args:
            image: a path, the bytes of an image file, or an array.
            box: (4,) the instance's box; None for the highest-scoring detection, or the whole image without a
                detector.
            box_format: 'xywh' or 'xyxy'.

        Returns:
            The heatmaps, and the limb fields of a model that has them; with several scales in the pipeline those of
            the first.

        Raises:
            AnnotationError: the detector finds no instance, or the box is impossible.
            ImageError: the image cannot be read.
            ConfigError: the model's codec has no heatmaps.

        Example:
            >>> import numpy as np
            >>> stages = Predictor(device='cpu').predict_heatmaps(np.zeros((120, 90, 3), np.uint8), [5, 5, 40, 80])
            >>> len(stages.heatmaps), stages.heatmaps[-1].shape  # 14 keypoints and the background
            (3, (15, 16, 16))
        """
        self.check_heatmaps()
        opened = open_with_boxes(image, None if box is None else np.asarray(box)[None], 0)
        (image_samples,) = self._build_samples([opened], box_format)
        if not len(image_samples):
            raise AnnotationError('the detector finds no instance in the image; give a box')
        # samples are in the order of the detections, the highest score first
        return predict_sample_heatmaps(self.model, image_samples.samples[0])

    def predict_record_heatmaps(self, record: Record) -> HeatmapStages:
        """Predict the heatmaps of an annotated record at every stage, cropped as in the config's tests.

        Args:
            record: its first instance is the subject of a model that predicts one instance.

        Returns:
            As `predict_heatmaps`.

        Raises:
            ImageError: the image cannot be read.
            ConfigError: the model's codec has no heatmaps.
        """
        self.check_heatmaps()
        return predict_sample_heatmaps(self.model, self._sample_builder.build_record_sample(record))

    @property
    def has_heatmaps(self) -> bool:
        """Whether the model predicts heatmaps, one per keypoint."""
        codec = self.model.codec
        return isinstance(codec, MapCodec) and 'heatmap' in codec.fields
