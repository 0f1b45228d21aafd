"""Prediction of poses in images by a trained model, with the same crops and decoding as the test command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poseplug.config.build import build_model, require_setting
from poseplug.config.load import load_config
from poseplug.core.boxes import BoxFormat, boxes_to_corners
from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.core.poses import Poses
from poseplug.core.sample import Record, Sample, SampleKey
from poseplug.data.collate import collate
from poseplug.data.dataset import mask_outside_keypoints
from poseplug.data.transforms.base import Transform
from poseplug.engine.checkpoint import load_weights
from poseplug.evaluation.coco_collector import average_confident_scores
from poseplug.fields.heatmap_stages import HeatmapStages
from poseplug.models.layers.batch_norm_folding import fold_batch_norms
from poseplug.predict.detectors import Detector
from poseplug.predict.image_input import ImageInput, open_image
from poseplug.predict.shipped_model import load_shipped_model
from poseplug.registry import TRANSFORMS
from poseplug.registry.skeletons import get_skeleton

# Transforms that place a whole image in the input: `CropBox` replaces them where an instance has a box.
_WHOLE_IMAGE_TRANSFORMS = ('LetterboxImage', 'CropByScale', 'TransformBySource')
CROPS_PER_IMAGE = 8  # crops of a batch that one whole image counts as, if the model finds instances by itself
_MAX_OVERHANG_FRACTION = 0.25  # of its size: a box that leaves the image by more is suspected to be in another format


class Predictor:
    """A model, its weights and its test pipeline; without arguments, those of the installed model.

    An image without boxes is one instance, cropped by the config's test pipeline; an instance with a box is cropped by
    `CropBox` instead. A model that finds instances by itself accepts whole images alone. With a `detector` an image
    without boxes has the detected instances, whose scores follow COCO's protocol: box score times the mean of the
    keypoint scores above 0.2. Batch norms are folded into the convolutions before them, so that `model` cannot be
    trained further.

    Args:
        config: a config file or a loaded config; None for the installed model.
        weights: a checkpoint of that config's model; None for the installed model.
        device: where the network runs; by default a GPU if there is one.
        channels_last: memory format of the network; it changes the speed, not the numbers. None means channels last
            on a CPU, where that is faster, and the config's choice elsewhere.
        detector: finds boxes in images that are given without; see `poseplug.predict.detectors`.

    Attributes:
        name: names of the config and the weights, for result files.
        model: the estimator.
        skeleton: names and order of the keypoints.

    Raises:
        ConfigError: config and weights are not given together, the config has no test pipeline, or the model finds
            instances by itself and was given a detector.
        CheckpointError: the weights cannot be read or do not fit the model.

    Example:
        >>> import numpy as np
        >>> predictor = Predictor(device='cpu')
        >>> (poses,) = predictor([np.zeros((120, 90, 3), np.uint8)])
        >>> poses.keypoints.shape
        (1, 14, 2)
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any] | None = None,
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        channels_last: bool | None = None,
        detector: Detector | None = None,
    ):
        if (config is None) != (weights is None):
            raise ConfigError('a predictor needs a config and its checkpoint, or neither for the installed model')
        cfg: Any = load_config(config) if isinstance(config, (str, Path)) else config
        if weights is None:
            cfg, weights = load_shipped_model()
        config_name = Path(getattr(cfg, 'filename', None) or weights).stem
        self.name = f'{config_name}, {Path(weights).name}'
        self.model: Any = build_model(cfg)
        self.detector = _check_detector(detector, self.model)
        load_weights(self.model, weights)
        device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        self.model.to(device).eval()
        fold_batch_norms(self.model)  # with channels last, what makes the network faster here (docs/lab/benchmark.md)
        if channels_last is not None or device.type == 'cpu':
            _set_memory_format(self.model, torch.contiguous_format if channels_last is False else torch.channels_last)
        self.skeleton = get_skeleton(require_setting(cfg, 'skeleton'))
        specs = _get_test_pipeline(cfg)
        self.image_pipeline = self._build_pipeline(specs)
        self.box_pipeline = self._build_pipeline([_replace_with_box_crop(spec) for spec in specs])

    @property
    def finds_instances(self) -> bool:
        """Whether the instances of an image without boxes are found, by the model or by the detector."""
        return bool(self.model.finds_instances) or self.detector is not None

    def _build_pipeline(self, specs: Sequence[Any]) -> list[Transform]:
        return [TRANSFORMS.build(spec, input_size=self.model.codec.input_size) for spec in specs]

    def __call__(
        self,
        images: Sequence[ImageInput],
        boxes: Sequence[Any] | None = None,
        batch_size: int = 32,
        all_stages: bool = False,
        box_format: BoxFormat = 'xywh',
    ) -> Any:
        """Predict the instances of images.

        Args:
            images: paths, the bytes of image files, or arrays (H, W, 3) of uint8 in BGR order.
            boxes: for each image (N, 4), one row per instance, or None for the instances that the detector finds
                (without a detector, for the whole image).
            batch_size: instances that go through the network at once, of any image; a whole image of a model that
                finds instances by itself counts as `CROPS_PER_IMAGE` of them.
            all_stages: return the predictions of every stage of the head.
            box_format: 'xywh' (x, y of the upper left corner, width, height) or 'xyxy' (x, y of two corners).

        Returns:
            One `Poses` per image, in px of the image; with `all_stages` a list of such lists, one per stage.

        Raises:
            ImageError: an image cannot be read.
            AnnotationError: the boxes are not one entry per image, or a box is impossible.
            ConfigError: the model finds instances by itself and was given boxes.
        """
        predictions = list(self.stream_predictions(images, boxes, batch_size, all_stages, box_format))
        if not all_stages:
            return [stages[-1] for stages in predictions]
        return [list(stage) for stage in zip(*predictions, strict=True)]

    def stream_predictions(
        self,
        images: Iterable[ImageInput],
        boxes: Iterable[Any] | None = None,
        batch_size: int = 32,
        all_stages: bool = False,
        box_format: BoxFormat = 'xywh',
    ) -> Iterator[list[Poses]]:
        """Predict image by image and hold one batch of images in memory; arguments as for a call.

        Yields:
            For each image its `Poses` at the last stage, or at every stage with `all_stages`.
        """
        group: list[list[Sample]] = []
        for index, (image, image_boxes) in enumerate(_pair_images_with_boxes(images, boxes)):
            group.append(self.build_samples(image, image_boxes, box_format, index))
            if sum(map(len, group)) >= self._input_batch_size(batch_size):
                yield from self._predict_group(group, batch_size, all_stages)
                group = []
        yield from self._predict_group(group, batch_size, all_stages)

    def _predict_group(self, group: list[list[Sample]], batch_size: int, all_stages: bool) -> Iterator[list[Poses]]:
        """Predict some images, given as the samples of each; yields the stages of each image."""
        samples = [sample for image_samples in group for sample in image_samples]
        predictions: list[tuple[Poses, ...]] = []
        for batch_samples in _group_by_input_size(samples, self._input_batch_size(batch_size)):
            stages = self.model.predict(collate(batch_samples), all_stages=all_stages)
            predictions += zip(*stages, strict=True)
        num_stages = self.model.head.num_stages if all_stages else 1
        start = 0
        for image_samples in group:
            image_predictions = predictions[start : start + len(image_samples)]
            start += len(image_samples)
            image_stages = (
                _concat_image_poses([stages[t] for stages in image_predictions], len(self.skeleton))
                for t in range(num_stages)
            )
            yield [_attach_boxes(poses, image_samples) for poses in image_stages]

    def _input_batch_size(self, batch_size: int) -> int:
        """How many inputs go through the network at once."""
        return max(1, batch_size // CROPS_PER_IMAGE) if self.model.finds_instances else batch_size

    def build_samples(
        self, image: ImageInput, boxes: Any, box_format: BoxFormat = 'xywh', index: int = 0
    ) -> list[Sample]:
        """Build the network inputs of an image, one per instance.

        Args:
            image: a path, the bytes of an image file, or an array.
            boxes: (N, 4), or None for the detected instances; without a detector the image is then one instance.
            box_format: 'xywh' or 'xyxy'.
            index: position of the image among the caller's images, for messages.
        """
        path, pixels = open_image(image, index)
        if boxes is not None and self.model.finds_instances:
            raise ConfigError(f'{type(self.model).__name__} finds instances in whole images by itself; leave boxes out')
        scores = None
        if boxes is None:
            if self.detector is None:
                return [self._build_sample(path, pixels, None, index)]
            boxes, scores = _run_detector(self.detector, pixels)
            box_format = 'xyxy'
        boxes_xyxy = parse_boxes(boxes, box_format, (pixels.shape[1], pixels.shape[0]), str(path))
        return [
            self._build_sample(path, pixels, box, index, None if scores is None else scores[n : n + 1])
            for n, box in enumerate(boxes_xyxy)
        ]

    def _build_sample(
        self, path: Path, image: np.ndarray, box: np.ndarray | None, index: int, box_score: np.ndarray | None = None
    ) -> Sample:
        """Pass one instance through the pipeline: its box (4,) as two corners, and its score (1,) if detected."""
        keypoints = np.zeros((1, len(self.skeleton), 2), np.float32)
        visible = np.zeros(keypoints.shape[:2], np.uint8)
        record = Record(path, path.name, keypoints, visible, box_scores=box_score)
        if box is not None:
            record = replace(record, boxes=box[None], centers=box.reshape(1, 2, 2).mean(axis=1))
        # A random transform of the pipeline draws the same numbers in every run.
        rng = np.random.Generator(np.random.Philox(key=[0, index]))
        visible_inside = mask_outside_keypoints(record, image.shape[1::-1])
        sample = Sample(record, self.skeleton, image, rng, SampleKey(0, index), keypoints, visible_inside)
        for transform in self.image_pipeline if box is None else self.box_pipeline:
            sample = transform(sample)
        return sample

    def predict_heatmaps(self, image: ImageInput, box: Any = None, box_format: BoxFormat = 'xywh') -> HeatmapStages:
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
            AnnotationError: the detector finds no instance.
            ConfigError: the model's codec has no heatmaps.
        """
        samples = self.build_samples(image, None if box is None else np.asarray(box)[None], box_format)
        if not samples:
            raise AnnotationError('the detector finds no instance in the image; give a box')
        sample, codec = samples[0], self.model.codec
        batch = collate([sample])
        if not hasattr(self.model, 'predict_fields') or 'heatmap' not in codec.fields:
            field_names = ', '.join(codec.fields)
            raise ConfigError(
                f'{type(codec).__name__} predicts no heatmaps, one per keypoint; its fields are {field_names}'
            )
        stages = self.model.predict_fields(batch)[0]  # of the first view
        if batch.view_sizes:
            codec = self.model.get_codec(batch.view_sizes[0])
        return HeatmapStages(
            image=sample.pixels,
            input_image=batch.images[0, 0].numpy(),
            image_to_input=sample.image_to_input,
            heatmaps=_stages_to_numpy(stages, 'heatmap'),
            keypoints=self.skeleton.keypoints,
            grid=codec.grid,
            limb_fields=_stages_to_numpy(stages, 'paf'),
        )


def _stages_to_numpy(stages: Sequence[Mapping[str, torch.Tensor]], field_name: str) -> tuple[np.ndarray, ...]:
    """A field (C, rows, columns) of the first input at every stage that has it."""
    return tuple(stage[field_name][0].float().cpu().numpy() for stage in stages if field_name in stage)


def _check_detector(detector: Detector | None, model: Any) -> Detector | None:
    """Return the detector; raise if it is none or if the model needs none."""
    if detector is not None and model.finds_instances:
        raise ConfigError(f'{type(model).__name__} finds instances in whole images by itself; leave the detector out')
    if detector is not None and not callable(detector):
        raise ConfigError(
            f'a detector is called with images and returns boxes, which a {type(detector).__name__} cannot; for an '
            f'ONNX file give OnnxDetector(FILE) of poseplug.predict.detectors'
        )
    return detector


def _run_detector(detector: Detector, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes (N, 4; two corners) and scores (N,) that a detector finds in an image (H, W, 3)."""
    result = detector([image])
    try:
        ((boxes, scores),) = result
        boxes, scores = np.asarray(boxes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        is_valid = scores.shape == (len(boxes),) and np.isfinite(scores).all()
    except (TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise ConfigError(
            f'{type(detector).__name__} did not return boxes (N, 4) and finite scores (N,) for each image; see '
            'Detector in poseplug.predict.detectors'
        )
    return boxes, scores


def _group_by_input_size(samples: Sequence[Sample], max_count: int) -> Iterator[Sequence[Sample]]:
    """Split samples, in order, into batches of at most `max_count` inputs of one size."""
    # A batch is one tensor: inputs of another size start another batch.
    for _, group in groupby(samples, key=lambda sample: sample.view_sizes):
        same_size = list(group)
        for first in range(0, len(same_size), max_count):
            yield same_size[first : first + max_count]


def _set_memory_format(model: Any, memory_format: torch.memory_format) -> None:
    """Set the memory format of a network's weights, and of the images that it will be given."""
    model.memory_format = memory_format
    model.to(memory_format=memory_format)


def _get_test_pipeline(cfg: Mapping[str, Any]) -> Sequence[Any]:
    """The transforms of a config's test data."""
    try:
        return require_setting(cfg, 'test_dataloader')['dataset']['pipeline']
    except KeyError as error:
        raise ConfigError(f'test_dataloader has no {error}; add the pipeline that crops images for the model') from None


def _replace_with_box_crop(spec: Any) -> Any:
    """Return a transform of the test pipeline, or `CropBox` in place of one that crops whole images."""
    is_whole_image = isinstance(spec, Mapping) and spec.get('type') in _WHOLE_IMAGE_TRANSFORMS
    return dict(type='CropBox') if is_whole_image else spec


def _pair_images_with_boxes(
    images: Iterable[ImageInput], boxes: Iterable[Any] | None
) -> Iterator[tuple[ImageInput, Any]]:
    """Pair every image with its boxes; raise if the counts differ."""
    if isinstance(images, (str, Path, bytes, np.ndarray)):
        raise ImageError('images is a list of images; put a single image into a list')
    if boxes is None:
        return ((image, None) for image in images)
    if isinstance(images, Sequence) and isinstance(boxes, Sequence) and len(images) != len(boxes):
        raise AnnotationError(
            f'{len(images)} images were given boxes for {len(boxes)}; give each image its own (N, 4), or None'
        )
    return zip(images, boxes, strict=True)


def parse_boxes(boxes: Any, box_format: BoxFormat, image_size: tuple[int, int], name: str) -> np.ndarray:
    """Check the boxes of an image and convert them to corners.

    Args:
        boxes: (N, 4) in px, one row per instance; anything that NumPy makes an array of.
        box_format: 'xywh' (x, y of the upper left corner, width, height) or 'xyxy' (x, y of two corners).
        image_size: (width, height) of the image.
        name: the image's name, for messages.

    Returns:
        (N, 4) float64, x, y of two corners.

    Raises:
        ConfigError: `box_format` is another one.
        AnnotationError: the boxes have another shape, or one of them cannot be a box of this image.

    Example:
        >>> parse_boxes([[10, 20, 30, 40]], 'xywh', (200, 100), 'a.jpg').tolist()
        [[10.0, 20.0, 40.0, 60.0]]
    """
    if box_format not in ('xywh', 'xyxy'):
        raise ConfigError(f"box_format is 'xywh' or 'xyxy'; got {box_format!r}")
    try:
        rows = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise AnnotationError(f'{name}: boxes are numbers, four per instance; {error}') from None
    rows = rows.reshape(0, 4) if rows.size == 0 else rows  # an empty list is an array of shape (0,)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise AnnotationError(f'{name}: boxes are (N, 4), one row per instance; got an array of shape {rows.shape}')
    boxes_xyxy = boxes_to_corners(rows, box_format)
    for n, (row, box_xyxy) in enumerate(zip(rows, boxes_xyxy, strict=True)):
        if problem := _find_box_error(row, box_xyxy, box_format, image_size):
            numbers = ', '.join(f'{value:g}' for value in row)
            raise AnnotationError(f'{name}: box {n} ({numbers}) {problem}')
    return boxes_xyxy


def _find_box_error(
    values: np.ndarray, box_xyxy: np.ndarray, box_format: BoxFormat, image_size: tuple[int, int]
) -> str | None:
    """What is wrong with one box and what to do, or None; `values` are its numbers in `box_format`."""
    if not np.isfinite(values).all():
        return 'is not finite; drop that instance'
    size = f'{image_size[0]}x{image_size[1]} px'
    width, height = box_xyxy[2:] - box_xyxy[:2]
    if width <= 0 or height <= 0:
        rule = 'they are positive'
        if box_format == 'xyxy':
            rule = 'the second corner lies right of and below the first'
        return f'has a width of {width:g} and a height of {height:g} px; {rule}'
    if box_format == 'xywh' and looks_like_xyxy(values, image_size):
        return (
            f'extends far beyond the image ({size}) as x, y, width, height, but would fit it as two corners; if it is '
            f"two corners, declare it (box_format='xyxy', --box-format xyxy), otherwise clip it to the image"
        )
    last_pixel = np.array(image_size) - 1  # pixel centers sit on integers
    if (box_xyxy[:2] > last_pixel).any() or (box_xyxy[2:] < 0).any():
        return f'lies outside the image ({size}); does it belong to another image, or is it in fractions of the size?'
    return None


def looks_like_xyxy(values: np.ndarray, image_size: tuple[int, int]) -> bool:
    """Whether a box, read as x, y, width, height, leaves the image widely, but lies inside as two corners.

    Args:
        values: (4,) the numbers of the box.
        image_size: (width, height) of the image.
    """
    corner = np.array(image_size, dtype=float)
    overhang = values[:2] + values[2:] - corner
    # With a tolerance of 1 px at every border.
    starts_inside, ends_inside = (values[:2] >= -1).all(), (values[2:] <= corner + 1).all()
    fits_as_corners = starts_inside and ends_inside and (values[2:] > values[:2]).all()
    return bool(fits_as_corners and (overhang > _MAX_OVERHANG_FRACTION * values[2:]).any())


def _concat_image_poses(poses_list: Sequence[Poses], num_keypoints: int) -> Poses:
    """Concatenate the instances of an image; empty poses where there are none."""
    if not poses_list:
        return Poses.empty(num_keypoints)
    parts = [poses.numpy() for poses in poses_list]
    arrays: dict[str, Any] = {}
    for field in fields(Poses):
        values = [getattr(poses, field.name) for poses in parts]
        arrays[field.name] = None if any(value is None for value in values) else np.concatenate(values)
    return Poses(**{**arrays, 'image_indices': None})


def _attach_boxes(poses: Poses, samples: Sequence[Sample]) -> Poses:
    """Attach the boxes that the instances were cropped by; detected ones multiply the scores by their own."""
    records = [sample.record for sample in samples if sample.record.boxes is not None]
    if not records or len(records) != len(poses):
        return poses
    poses = replace(poses, boxes=np.concatenate([record.boxes for record in records]))
    # As COCO's protocol ranks detections, and the metric with score_mode='bbox_keypoint'.
    box_scores = [record.box_scores for record in records if record.box_scores is not None]
    if not box_scores:
        return poses
    scores = np.concatenate(box_scores) * average_confident_scores(poses.keypoint_scores)
    return replace(poses, instance_scores=scores.astype(np.float32))
