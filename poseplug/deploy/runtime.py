"""Prediction by exported models: `Predictor`'s calls and results, with NumPy, OpenCV and a runtime, without torch."""

from __future__ import annotations

__all__ = ['ExportedPredictor']

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike

from poseplug.core.boxes import BoxFormat
from poseplug.core.crops import fit_image, letterbox_matrix
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import Size, conjugate_about, fit_matrix, scale_of_matrix, scaling_matrix, transform_points
from poseplug.core.poses import POSE_ARRAYS, Poses
from poseplug.core.setting_checks import check_counts
from poseplug.data.image_warp import warp_image
from poseplug.deploy.exported_model import ExportedModel, Runtime
from poseplug.deploy.published_layouts import PublishedLayout
from poseplug.grouping.image_instances import boxed_poses_to_image, poses_to_image
from poseplug.predict.box_checks import ImageBoxes, check_detector, pair_images_with_boxes, parse_boxes, run_detector
from poseplug.predict.detectors import Detector
from poseplug.predict.image_input import ImageInput, is_endless
from poseplug.predict.opened_image import (
    ImageFacts,
    OpenedImage,
    attach_boxes,
    build_result,
    elapsed_ms,
    open_with_boxes,
)
from poseplug.predict.pose_predictor import stream_frames
from poseplug.predict.result import Result

_CROPS_PER_IMAGE = 8  # crops of a batch that one whole image counts as, as for `Predictor`
_INTERPOLATION_FLAGS = {'linear': cv2.INTER_LINEAR, 'cubic': cv2.INTER_CUBIC, 'area': cv2.INTER_AREA}
# Of files that do not say how images meet their input: letterboxed, as one-stage models are trained.
_DEFAULT_CROP = {
    'box': None,
    'image': {'type': 'letterbox', 'fill_fraction': 1.0, 'side': 'longer'},
    'interpolation': 'linear',
    'fill_color': [114, 114, 114],
}


@dataclass
class _ImageCrops(ImageFacts):
    """The inputs of an image, one per instance, each with its matrix (3, 3), and the boxes they were cropped by."""

    inputs: list[np.ndarray] = field(default_factory=list)
    matrices: list[np.ndarray] = field(default_factory=list)
    boxes: np.ndarray | None = None
    box_scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.inputs)


class ExportedPredictor:
    """An exported model that predicts images as `Predictor` does, without torch and mmengine.

    Images are cropped as the exported config's tests crop them: an instance by its box, an image without boxes as a
    whole. Several threads may use one predictor.

    Args:
        file: written by `poseplug export`, or the `ExportedModel` of such a file.
        runtime: 'onnxruntime' or 'openvino'.
        threads: number of threads of the runtime; None leaves it to the runtime.
        detector: finds boxes in images that are given without; see `poseplug.predict.detectors`.
        layout: as for `ExportedModel`.

    Attributes:
        name: of the model and its weights, for result files.
        model: the `ExportedModel`.
        skeleton: names and order of the keypoints.
        detector: as given.

    Raises:
        ConfigError: the runtime is not installed, or the model finds instances by itself and was given a detector.
        CheckpointError: the file is missing or was not written by poseplug export.

    Example:
        >>> predictor = ExportedPredictor('cpm_lsp_lite.onnx')  # doctest: +SKIP
        >>> (result,) = predictor('photo.jpg', boxes=[[10, 20, 80, 200]])  # doctest: +SKIP
    """

    def __init__(
        self,
        file: str | Path | ExportedModel,
        runtime: Runtime = 'onnxruntime',
        threads: int | None = None,
        detector: Detector | None = None,
        layout: PublishedLayout | None = None,
    ):
        self.model = file if isinstance(file, ExportedModel) else ExportedModel(file, runtime, threads, layout=layout)
        settings = self.model.settings
        check_detector(detector, settings.get('model') or self.model.file_name, self.model.finds_instances)
        self.detector, self.skeleton = detector, self.model.skeleton
        model_name = settings.get('model') or 'exported'
        self.name = f'{model_name}, {self.model.file_name}'
        self._crop: Mapping[str, Any] = settings.get('crop') or _DEFAULT_CROP
        self._input_size: Size = (settings['input_size'][0], settings['input_size'][1])

    @property
    def finds_instances(self) -> bool:
        """Whether the instances of an image without boxes are found, by the model or by the detector."""
        return self.model.finds_instances or self.detector is not None

    @property
    def score_meaning(self) -> str:
        """What the score of a keypoint means."""
        return str(self.model.settings.get('score_meaning', 'a number from 0 to 1'))

    def __call__(
        self,
        images: ImageInput | Sequence[ImageInput],
        boxes: ArrayLike | Sequence[ImageBoxes] | None = None,
        batch_size: int = 32,
        box_format: BoxFormat = 'xywh',
    ) -> list[Result]:
        """Predict the instances of images.

        Args:
            images: as for `Predictor`: paths, bytes, arrays (H, W, 3) of uint8 in BGR order, folders, videos, ...
            boxes: for each image (N, 4), or None; for a single image its (N, 4).
            batch_size: instances that go through the network at once; a whole image of a detector or of a model that
                finds instances by itself counts as 8 of them.
            box_format: 'xywh' or 'xyxy'.

        Returns:
            One `Result` per image, in the order of the images.

        Raises:
            ImageError: an image cannot be read.
            AnnotationError: the boxes are not one entry per image, or a box is impossible.
            ConfigError: the model finds instances by itself and was given boxes; or a camera or a stream does not end.
        """
        if is_endless(images):
            raise ConfigError('a camera or a stream does not end by itself; go through ExportedPredictor.stream(...)')
        return list(self.stream(images, boxes, batch_size, box_format))

    def stream(
        self,
        images: ImageInput | Iterable[ImageInput],
        boxes: ArrayLike | Iterable[ImageBoxes] | None = None,
        batch_size: int = 32,
        box_format: BoxFormat = 'xywh',
    ) -> Iterator[Result]:
        """Predict image by image and hold one batch of images in memory.

        Args:
            images: as for a call, a camera, the address of a stream, or any iterable of images; it is read as the
                predictions are.
            boxes: as for a call, or any iterable.
            batch_size: as for a call.
            box_format: as for a call.

        Returns:
            An iterator over the `Result` of each image, in px of the image.

        Raises:
            ImageError: an image cannot be read.
            AnnotationError: the boxes are not one entry per image, or a box is impossible.
            ConfigError: the model finds instances by itself and was given boxes, or `batch_size` is no count.
        """
        pairs = pair_images_with_boxes(images, boxes)
        if is_endless(images):
            return stream_frames(self, pairs, batch_size, box_format)
        return self.stream_pairs(pairs, batch_size, box_format)

    def stream_pairs(
        self, pairs: Iterable[tuple[ImageInput, ImageBoxes]], batch_size: int = 32, box_format: BoxFormat = 'xywh'
    ) -> Iterator[Result]:
        """Predict image by image, as `stream` does, where every image comes with its boxes.

        Args:
            pairs: an image, and its boxes or None; read as the predictions are.
            batch_size: as for a call.
            box_format: as for a call.

        Returns:
            An iterator over the `Result` of each image, in px of the image.

        Raises:
            ImageError: an image cannot be read.
            AnnotationError: a box is impossible.
            ConfigError: the model finds instances by itself and was given boxes, or `batch_size` is no count.
        """
        check_counts('ExportedPredictor', batch_size=batch_size)
        return self._stream_results(enumerate(pairs), batch_size, box_format)

    def stream_inputs(self, images: ImageInput | Iterable[ImageInput]) -> Iterator[np.ndarray]:
        """Yield the inputs (N, H, W, 3) of the network for every image, such as for measurements.

        Args:
            images: as for `stream`; without boxes.
        """
        for image_crops in self._stream_crops(enumerate(pair_images_with_boxes(images, None)), 1, 'xywh'):
            if image_crops.inputs:
                yield np.stack(image_crops.inputs)

    def _stream_results(self, pairs: Iterable[Any], batch_size: int, box_format: BoxFormat) -> Iterator[Result]:
        max_inputs = max(1, batch_size // _CROPS_PER_IMAGE) if self.model.finds_instances else batch_size
        group: list[_ImageCrops] = []
        for image_crops in self._stream_crops(pairs, batch_size, box_format):
            group.append(image_crops)
            if sum(map(len, group)) >= max_inputs:
                yield from self._predict_group(group, max_inputs)
                group = []
        yield from self._predict_group(group, max_inputs)

    # --- images to inputs ---------------------------------------------------------------------------------------------

    def _stream_crops(self, pairs: Iterable[Any], batch_size: int, box_format: BoxFormat) -> Iterator[_ImageCrops]:
        """Yield the inputs of each image; a detector gets a batch of images at once."""
        iterator = iter(pairs)
        num_read = 1 if self.detector is None else max(1, batch_size // _CROPS_PER_IMAGE)
        while batch := list(islice(iterator, num_read)):
            opened = [open_with_boxes(image, image_boxes, position) for position, (image, image_boxes) in batch]
            start = time.perf_counter()
            undetected = [image.pixels for image in opened if image.boxes is None]
            detections = iter(run_detector(self.detector, undetected) if self.detector and undetected else ())
            detect_ms = elapsed_ms(start) / max(1, len(undetected))
            for image in opened:
                crops = ImageFacts(
                    image.position, image.path, image.size, image.source, {'read': image.read_ms}, image.seconds
                )
                start = time.perf_counter()
                if image.boxes is not None:
                    built = self._crop_boxes(crops, image, image.boxes, box_format)
                elif self.detector is not None:
                    detection = next(detections)
                    crops.speed['detect'] = detect_ms
                    built = self._crop_boxes(crops, image, detection.boxes, 'xyxy', detection.scores)
                else:
                    built = self._crop_whole_image(crops, image)
                built.speed['prepare'] = elapsed_ms(start)
                yield built

    def _crop_boxes(
        self,
        facts: ImageFacts,
        image: OpenedImage,
        boxes: ImageBoxes,
        box_format: BoxFormat,
        scores: np.ndarray | None = None,
    ) -> _ImageCrops:
        """The inputs of an image with boxes (N, 4), and their scores (N,) if they were detected."""
        rule = self._crop['box']
        if rule is None:
            raise ConfigError(f'{self.name} finds instances in whole images by itself; leave boxes out')
        boxes_xyxy = parse_boxes(boxes, box_format, image.size, str(image.path))
        matrices = [
            fit_matrix(
                (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * rule['padding'], self._input_size, rule['crop_rule']
            )
            for box in boxes_xyxy
        ]
        inputs = [self._warp(image.pixels, matrix, self._input_size) for matrix in matrices]
        return _ImageCrops(**vars(facts), inputs=inputs, matrices=matrices, boxes=boxes_xyxy, box_scores=scores)

    def _crop_whole_image(self, facts: ImageFacts, image: OpenedImage) -> _ImageCrops:
        """The one input of an image without boxes."""
        settings = dict(self._crop['image'])
        kind, size = settings.pop('type'), self._input_size
        if kind == 'box':
            return self._crop_boxes(facts, image, [[0.0, 0.0, *image.size]], 'xyxy')
        if kind == 'fit' and self.model.settings.get('dynamic_size'):
            matrix, size = fit_image(image.size, size, **settings)
        elif kind == 'top_left':  # resized as OpenCV does, with the padding on the right and at the bottom
            factor = min(size[0] / image.size[0], size[1] / image.size[1])
            matrix = conjugate_about(scaling_matrix(factor), (-0.5, -0.5))
        elif kind == 'fit':  # the network was exported for inputs of one size
            matrix = letterbox_matrix(image.size, size)
        else:
            matrix = letterbox_matrix(image.size, size, **settings)
        return _ImageCrops(**vars(facts), inputs=[self._warp(image.pixels, matrix, size)], matrices=[matrix])

    def _warp(self, pixels: np.ndarray, matrix: np.ndarray, size: Size) -> np.ndarray:
        flag = _INTERPOLATION_FLAGS[self._crop['interpolation']]
        # the same warp as in training and in `Predictor`, which the comparison of exported files relies on
        return warp_image(pixels, matrix, size, flag, self._crop['fill_color'])

    # --- inputs to results --------------------------------------------------------------------------------------------

    def _predict_group(self, group: list[_ImageCrops], max_inputs: int) -> Iterator[Result]:
        """Predict some images, given as the inputs of each."""
        start = time.perf_counter()
        inputs = [crop for image in group for crop in image.inputs]
        predictions = [poses for batch in _batch_by_size(inputs, max_inputs) for poses in self._predict_batch(batch)]
        input_ms, position = elapsed_ms(start) / max(1, len(inputs)), 0
        for image in group:
            image.speed['predict'] = input_ms * len(image)
            # the predictions are in the order of the inputs, those of an image one after the other
            image_predictions = predictions[position : position + len(image)]
            position += len(image)
            yield build_result(image, self._merge_predictions(image, image_predictions), self.skeleton, self.name)

    def _predict_batch(self, inputs: Sequence[np.ndarray]) -> list[Poses]:
        """The instances of each input of a batch, in px of the input."""
        return self.model(np.stack(inputs)).split_by_image(len(inputs))

    def _merge_predictions(self, image: _ImageCrops, predictions: Sequence[Poses]) -> Poses:
        """The instances of an image in its px, from those of its inputs."""
        if not predictions:
            poses = Poses.empty(len(self.skeleton))
            return poses if image.boxes is None else attach_boxes(poses, image.boxes, image.box_scores)
        inverses = [np.linalg.inv(matrix) for matrix in image.matrices]
        kind = self.model.settings['kind']
        # models that find instances have one input for each image
        if kind in ('one_stage', 'dets'):
            return boxed_poses_to_image(predictions[0], inverses[0], image.image_size)
        if kind in ('paf', 'tags'):
            return poses_to_image(predictions[0], inverses[0])
        poses = _concat_instances(predictions)
        pairs = zip(inverses, poses.keypoints, strict=True)
        keypoints = np.stack([transform_points(inverse, points) for inverse, points in pairs]).astype(np.float32)
        sigmas = poses.keypoint_sigmas_px
        if sigmas is not None:
            # px of the input become px of the image
            sigmas = sigmas * np.array([[scale_of_matrix(inverse)] for inverse in inverses], np.float32)
        poses = replace(poses, keypoints=keypoints, keypoint_sigmas_px=sigmas)
        return poses if image.boxes is None else attach_boxes(poses, image.boxes, image.box_scores)


def _batch_by_size(inputs: Sequence[np.ndarray], max_count: int) -> Iterator[Sequence[np.ndarray]]:
    """Split inputs, in order, into batches of at most `max_count` of one size."""
    for _, group in groupby(inputs, key=lambda pixels: pixels.shape):
        same_size = list(group)
        for first in range(0, len(same_size), max_count):
            yield same_size[first : first + max_count]


def _concat_instances(predictions: Sequence[Poses]) -> Poses:
    """The instances of several inputs of one image."""
    arrays = {name: [getattr(poses, name) for poses in predictions] for name in POSE_ARRAYS}
    merged: dict[str, Any] = {
        name: None if any(value is None for value in values) else np.concatenate(values)
        for name, values in arrays.items()
    }
    return Poses(**merged)
