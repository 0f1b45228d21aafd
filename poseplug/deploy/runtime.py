"""Prediction by exported models: `Predictor`'s calls and results, with NumPy, OpenCV and a runtime, without torch."""

from __future__ import annotations

__all__ = ['ExportedPredictor']

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from poseplug.core.boxes import BoxFormat
from poseplug.core.crops import fit_image, letterbox_matrix
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import Size, conjugate_about, fit_matrix, scale_of_matrix, scaling_matrix, transform_points
from poseplug.core.poses import Poses
from poseplug.data.image_warp import warp_image
from poseplug.deploy.exported_model import ExportedModel, Runtime
from poseplug.deploy.published_layouts import PublishedLayout
from poseplug.grouping.image_instances import boxed_poses_to_image, poses_to_image
from poseplug.predict.box_checks import ImageBoxes, check_detector, pair_images_with_boxes, parse_boxes
from poseplug.predict.image_batches import (
    concat_instances,
    count_batch_inputs,
    group_images,
    locate_instances,
    open_image_batches,
    split_equal_inputs,
)
from poseplug.predict.image_input import ImageInput
from poseplug.predict.opened_image import (
    ImageFacts,
    OpenedImage,
    attach_boxes,
    build_result,
    elapsed_ms,
)
from poseplug.predict.pose_predictor import ImagePredictor
from poseplug.predict.result import Result

if TYPE_CHECKING:
    from poseplug.predict.detectors import Detector

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


class ExportedPredictor(ImagePredictor):
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
        """The meaning of a keypoint's score."""
        return str(self.model.settings.get('score_meaning', 'a number from 0 to 1'))

    def stream_inputs(self, images: ImageInput | Iterable[ImageInput]) -> Iterator[np.ndarray]:
        """Yield the inputs (N, H, W, 3) of the network for every image, such as for measurements.

        Args:
            images: as for `stream`; without boxes.
        """
        for image_crops in self._stream_crops(pair_images_with_boxes(images, None), 1, 'xywh'):
            if image_crops.inputs:
                yield np.stack(image_crops.inputs)

    def _stream_results(
        self, pairs: Iterable[tuple[ImageInput, ImageBoxes]], batch_size: int, box_format: BoxFormat
    ) -> Iterator[Result]:
        max_inputs = count_batch_inputs(self.model.finds_instances, batch_size)
        for group in group_images(self._stream_crops(pairs, batch_size, box_format), max_inputs):
            yield from self._predict_group(group, max_inputs)

    # --- images to inputs ---------------------------------------------------------------------------------------------

    def _stream_crops(self, pairs: Iterable[Any], batch_size: int, box_format: BoxFormat) -> Iterator[_ImageCrops]:
        """Yield the inputs of each image; a detector gets a batch of images at once."""
        for opened in open_image_batches(pairs, self.detector, batch_size):
            for located in locate_instances(opened, box_format, self.detector):
                start = time.perf_counter()
                image = located.image
                facts = ImageFacts(image.position, image.path, image.size, image.source, located.speed, image.seconds)
                if located.boxes is None:
                    crops = self._crop_whole_image(facts, image)
                else:
                    crops = self._crop_boxes(facts, image, located.boxes, located.box_format, located.scores)
                crops.speed['prepare'] = elapsed_ms(start)
                yield crops

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
        inputs = [self._warp_crop(image.pixels, matrix, self._input_size) for matrix in matrices]
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
            # files of earlier versions do not state a rule
            matrix = letterbox_matrix(image.size, size, crop_rule=settings.get('crop_rule', 'pixels'))
        else:
            matrix = letterbox_matrix(image.size, size, **settings)
        return _ImageCrops(**vars(facts), inputs=[self._warp_crop(image.pixels, matrix, size)], matrices=[matrix])

    def _warp_crop(self, pixels: np.ndarray, matrix: np.ndarray, size: Size) -> np.ndarray:
        flag = _INTERPOLATION_FLAGS[self._crop['interpolation']]
        # the same warp as in training and in `Predictor`, which the comparison of exported files relies on
        return warp_image(pixels, matrix, size, flag, self._crop['fill_color'])

    # --- inputs to results --------------------------------------------------------------------------------------------

    def _predict_group(self, group: list[_ImageCrops], max_inputs: int) -> Iterator[Result]:
        """Predict some images, given as the inputs of each."""
        start = time.perf_counter()
        inputs = [crop for image in group for crop in image.inputs]
        predictions = [
            poses for batch in split_equal_inputs(inputs, np.shape, max_inputs) for poses in self._predict_batch(batch)
        ]
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
        poses = concat_instances(predictions, len(self.skeleton))
        pairs = zip(inverses, poses.keypoints, strict=True)
        keypoints = np.stack([transform_points(inverse, points) for inverse, points in pairs]).astype(np.float32)
        sigmas = poses.keypoint_sigmas_px
        if sigmas is not None:
            # px of the input become px of the image
            sigmas = sigmas * np.array([[scale_of_matrix(inverse)] for inverse in inverses], np.float32)
        poses = replace(poses, keypoints=keypoints, keypoint_sigmas_px=sigmas)
        return poses if image.boxes is None else attach_boxes(poses, image.boxes, image.box_scores)
