"""Detectors for prediction: the interface, and one that runs ONNX files."""

from __future__ import annotations

__all__ = ['DEFAULT_DETECTOR_INPUT_SIZE', 'Detector', 'OnnxDetector']

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from poseplug.core.boxes import DetectedBoxes
from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.core.geometry import Size
from poseplug.files.onnx_file import OnnxGraphInfo, OnnxValueInfo
from poseplug.predict.detection_funnel import DetectionFunnel, check_candidates, select_detections
from poseplug.predict.detector_classes import ClassChoice, choose_classes
from poseplug.predict.detector_families.base import Candidates
from poseplug.predict.detector_input import ChannelOrder, DetectorInput, ResizeMode, warp_detector_input
from poseplug.predict.detector_network import DetectorNetwork, DetectorRuntime
from poseplug.predict.detector_recognition import (
    describe_shapes,
    find_detector_family,
    format_shape,
    list_detector_families,
    recognize_family,
)
from poseplug.predict.image_input import ImageInput, open_image

DEFAULT_DETECTOR_INPUT_SIZE = (640, 640)  # of files that take any size and do not name one: what most are trained with
_PROBE_GRAY = 114  # of the image that a network runs on once: what most detectors see beside an image
_IMAGE_TYPES = ('float32', 'float16', 'float64', 'uint8')
Detections = Sequence[tuple[np.ndarray, np.ndarray]]


class Detector(Protocol):
    """Any callable that finds the people in images.

    Args:
        images: arrays (H, W, 3) of uint8 in BGR order.

    Returns:
        For each image boxes (N, 4), x, y of two corners in px of the image, and scores (N,) from 0 to 1, the highest
        first.

    Example:
        >>> def detect_center(images):
        ...     sizes = [image.shape[1::-1] for image in images]
        ...     return [(np.array([[w / 4, h / 4, 3 * w / 4, 3 * h / 4]]), np.array([0.9])) for w, h in sizes]
        >>> ((boxes, scores),) = detect_center([np.zeros((80, 40, 3), np.uint8)])
        >>> boxes.tolist()
        [[10.0, 20.0, 30.0, 60.0]]
    """

    def __call__(self, images: Sequence[np.ndarray], /) -> Detections: ...


class OnnxDetector:
    """Detects people, or objects of other classes, with an ONNX file on the CPU.

    Files differ in how they are fed and read; a *family* (`DETECTOR_FAMILIES`) knows both. It is recognized by the
    inputs, outputs and metadata of the file, or named. What it says of the input can be set otherwise.

    Args:
        file: path of the file, or `URL#sha256=DIGITS`.
        threshold: boxes with a lower score are dropped.
        nms_threshold: of two boxes with a larger IoU the one with the lower score is dropped; None takes the family's,
            and drops none where a file has dropped them itself.
        classes: indices or names of the classes to detect, or a single one; None detects people.
        family: such as 'YOLOX'; None recognizes it.
        mean: (3,) subtracted from the channels in their order, for values of 0 to 255; None takes the family's.
        std: (3,) the channels are then divided by it; None takes the family's.
        channel_order: 'rgb' or 'bgr'; None takes the family's.
        resize: 'letterbox', 'letterbox_corner' or 'stretch'; None takes the family's.
        fill: value from 0 to 255 beside a letterboxed image; None takes the family's.
        input_size: (width, height) in px, for a file that takes any; None takes what its metadata say, or 640 x 640.
        runtime: 'onnxruntime' or 'opencv'; None takes ONNX Runtime if it is installed.

    Attributes:
        family_name: the family's name.
        description: family, runtime and input in words.
        funnel: how many candidates each step left, over all images so far.

    Raises:
        CheckpointError: the file is missing, is no ONNX file, or its inputs or outputs fit no family, or several.
        ConfigError: a setting is out of its range, or the detector has no such class.

    Example:
        >>> detector = OnnxDetector('yolox_m.onnx', threshold=0.4)  # doctest: +SKIP
        >>> ((boxes, scores),) = detector(['photo.jpg'])  # doctest: +SKIP
    """

    def __init__(
        self,
        file: str | Path,
        threshold: float = 0.4,
        nms_threshold: float | None = None,
        classes: ClassChoice = None,
        family: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        channel_order: ChannelOrder | None = None,
        resize: ResizeMode | None = None,
        fill: int | None = None,
        input_size: Size | None = None,
        runtime: DetectorRuntime | None = None,
    ):
        for name, value in (('threshold', threshold), ('nms_threshold', nms_threshold)):
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f'OnnxDetector: {name} lies between 0 and 1; got {value}')
        self.file = _fetch_file(file) if isinstance(file, str) and '://' in file else Path(file)
        self.threshold, self.nms_threshold = threshold, nms_threshold
        self.funnel = DetectionFunnel()
        named_family = None if family is None else find_detector_family(family)
        self.network = DetectorNetwork(self.file, runtime)
        info = self.network.info
        self._image_input, self._size_input = self._find_inputs(info)
        # a file for any batch size runs image by image
        self._batch_size = self._image_input.shape[0] or 1
        self.input_size = self._choose_input_size(input_size)
        # One run on a gray image: unsupported outputs are an error now, not at the first image.
        probe = np.full((3, self.input_size[1], self.input_size[0]), _PROBE_GRAY, np.float32)
        (outputs,) = self._run_network([probe])
        shapes = {name: output.shape for name, output in outputs.items()}
        self.family_name, self.family = named_family or recognize_family(self.file, info, shapes, self.input_size)
        settings: dict[str, Any] = dict(resize=resize, fill=fill, channel_order=channel_order, mean=mean, std=std)
        self.input_rule = self._choose_input_rule({k: value for k, value in settings.items() if value is not None})
        candidates = self._read_candidates(outputs)
        self.classes, self._classes_text = choose_classes(classes, self.file, info, self.family, candidates.num_classes)

    @property
    def description(self) -> str:
        """Family, runtime and input in words."""
        width, height = self.input_size
        return (
            f'{self.file.name}: {self.family_name}, {self.network.description}, input {width}x{height} '
            f'{self.input_rule.channel_order} ({self.input_rule.resize}), detects {self._classes_text}'
        )

    def describe_funnel(self) -> str:
        """Describe in words what became of the candidates of all images so far."""
        return self.funnel.describe(self.threshold, self._classes_text)

    def __call__(self, images: Sequence[ImageInput], /) -> list[DetectedBoxes]:
        """Detect the objects of every image.

        Args:
            images: arrays (H, W, 3) of uint8 in BGR order, paths, or the bytes of image files.

        Returns:
            For each image boxes (N, 4), two corners in px, and scores (N,), the highest first.

        Raises:
            ImageError: an image cannot be read.
            CheckpointError: what the network gives fits another family.
        """
        results: list[DetectedBoxes] = []
        for start in range(0, len(images), self._batch_size):
            batch = images[start : start + self._batch_size]
            results += self._detect_batch([open_image(image, start + n).pixels for n, image in enumerate(batch)])
        return results

    def _detect_batch(self, images: Sequence[np.ndarray]) -> Iterator[DetectedBoxes]:
        placed = [warp_detector_input(image, self.input_size, self.input_rule) for image in images]
        outputs = self._run_network([self.input_rule.normalize(inputs) for inputs, _ in placed])
        for image, (_, matrix), image_outputs in zip(images, placed, outputs, strict=True):
            candidates = self._read_candidates(image_outputs)
            self._check_candidates(candidates)
            # the caller's threshold counts even where the file has suppressed already; the family's only where boxes
            # overlap
            nms_threshold = self.nms_threshold
            if nms_threshold is None and candidates.overlap:
                nms_threshold = self.family.nms_threshold
            placement = (matrix, (image.shape[1], image.shape[0]))
            detections, funnel = select_detections(candidates, self.classes, self.threshold, nms_threshold, placement)
            self.funnel += funnel
            yield detections

    def _read_candidates(self, outputs: Mapping[str, np.ndarray]) -> Candidates:
        """Read the outputs for one image."""
        candidates = self.family.read(self.network.info, outputs, self.input_size)
        if candidates is None:
            shapes = describe_shapes({name: output.shape for name, output in outputs.items()})
            raise CheckpointError(
                f'{self.file}: its outputs are {shapes}, but those of {self.family_name} are '
                f'{self.family.outputs_text}; name another family (--detector-family): {_list_families()}'
            )
        return candidates

    def _check_candidates(self, candidates: Candidates) -> None:
        """Refuse candidates that another family would have read otherwise."""
        try:
            check_candidates(candidates, self.threshold, self.input_size)
        except CheckpointError as error:
            raise CheckpointError(
                f'{self.file}: read as {self.family_name}, {error}; name the family that it is of '
                f'(--detector-family): {_list_families()}'
            ) from None

    def _run_network(self, inputs: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Run the network on inputs (3, H, W); returns the outputs of each, without the batch axis."""
        # the last images of a file with a fixed batch are filled up by zeros, whose outputs are left out
        batch = np.zeros((self._batch_size, *inputs[0].shape), self._image_input.element_type)
        for index, image_input in enumerate(inputs):
            batch[index] = image_input
        feeds = {self._image_input.name: batch}
        if self._size_input is not None:
            # As the size of its image a network is told the input's, so that its boxes are in px of the input.
            sizes = np.array([self.input_size] * self._batch_size)
            feeds[self._size_input.name] = sizes.astype(self._size_input.element_type)
        try:
            outputs = self.network.run_session(feeds)
            return [_select_from_batch(outputs, index, self._batch_size) for index in range(len(inputs))]
        except CheckpointError as error:
            raise CheckpointError(f'{self.file}: {error}') from None

    def _find_inputs(self, info: OnnxGraphInfo) -> tuple[OnnxValueInfo, OnnxValueInfo | None]:
        """The input of an image, and that of its size if there is one."""
        # 0 stands for a length that the file leaves open
        images = [value for value in info.inputs if len(value.shape) == 4 and value.shape[1] in (0, 3)]
        others = [value for value in info.inputs if value not in images]
        sizes = [value for value in others if _takes_size(value)]
        if len(images) != 1 or images[0].element_type not in _IMAGE_TYPES or others != sizes or len(others) > 1:
            actual_inputs = ', '.join(
                f'{value.name} ({format_shape(value.shape)}, {value.element_type})' for value in info.inputs
            )
            raise CheckpointError(
                f"{self.file} has the inputs {actual_inputs}, but a detector's is 1 x 3 x height x width of "
                f'{", ".join(_IMAGE_TYPES)}, beside at most the size of the image (1 x 2, whole numbers); export it so'
            )
        if images[0].element_type == 'float16' and self.network.runtime == 'opencv':
            raise CheckpointError(
                f"{self.file} takes half precision, which OpenCV does not run; pip install 'poseplug[onnx]'"
            )
        return images[0], sizes[0] if sizes else None

    def _choose_input_size(self, input_size: Size | None) -> Size:
        """The input's (width, height): the file's, where it is fixed; or the caller's, the metadata's, the default."""
        height, width = self._image_input.shape[2:]
        chosen = input_size or _parse_metadata_size(self.network.info) or DEFAULT_DETECTOR_INPUT_SIZE
        if min(chosen) < 1:
            raise ConfigError(f'the input size of a detector is a width and a height above 0; got {chosen}')
        resolved = (width or chosen[0], height or chosen[1])
        if input_size is not None and resolved != tuple(input_size):
            raise ConfigError(
                f'{self.file} takes inputs of {format_shape((width, height))} px; got an input size of '
                f'{format_shape(input_size)}'
            )
        return resolved

    def _choose_input_rule(self, settings: Mapping[str, Any]) -> DetectorInput:
        """The family's rule with the caller's settings; a network that takes uint8 normalizes pixels itself."""
        if self._image_input.element_type != 'uint8':
            return replace(self.family.input_rule, **settings)
        if settings.keys() & {'mean', 'std'}:
            raise ConfigError(f'{self.file} takes pixels of uint8 and normalizes them itself; leave mean and std out')
        # settings of the caller last, so that they replace those of the family
        return replace(self.family.input_rule, **{'mean': (0.0,) * 3, 'std': (1.0,) * 3, **settings})


def _list_families() -> str:
    return ', '.join(list_detector_families())


def _parse_metadata_size(info: OnnxGraphInfo) -> Size | None:
    """The input's (width, height) that Ultralytics' exporter writes as `imgsz`, height first."""
    try:
        height, width = ast.literal_eval(info.metadata['imgsz'])
        return int(width), int(height)
    except (KeyError, ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _takes_size(value: OnnxValueInfo) -> bool:
    """Whether an input takes the width and height of each image."""
    has_shape = len(value.shape) == 2 and value.shape[1] in (0, 2)
    return has_shape and value.element_type in ('int64', 'int32', 'float32')


def _select_from_batch(outputs: Mapping[str, np.ndarray], index: int, batch_size: int) -> dict[str, np.ndarray]:
    """The outputs for one image of a batch, without the batch axis.

    Of a batch of one some exporters leave the axis out: where no output has three axes, there is none.
    """
    if batch_size == 1 and not any(output.ndim >= 3 and len(output) == 1 for output in outputs.values()):
        return dict(outputs)
    without_axis = [name for name, output in outputs.items() if output.ndim < 2 or len(output) != batch_size]
    if without_axis:
        shapes = describe_shapes({name: outputs[name].shape for name in without_axis})
        raise CheckpointError(f'its outputs {shapes} do not have the batch of {batch_size}; export it for one image')
    return {name: output[index] for name, output in outputs.items()}


def _fetch_file(address: str) -> Path:
    """The file at an address; the modules of downloads, which take long to import, are loaded here alone."""
    from poseplug.files.fetch import fetch_pinned_url

    return fetch_pinned_url(address)
