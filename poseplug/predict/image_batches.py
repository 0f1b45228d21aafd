"""Images on their way to a network, whatever runs it: opened, with boxes of a detector, in batches."""

from __future__ import annotations

__all__ = [
    'CROPS_PER_IMAGE',
    'LocatedImage',
    'concat_instances',
    'count_batch_inputs',
    'group_images',
    'locate_instances',
    'open_image_batches',
    'split_equal_inputs',
]

import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from poseplug.core.boxes import BoxFormat
from poseplug.core.poses import POSE_ARRAYS, Poses
from poseplug.predict.box_checks import ImageBoxes, run_detector
from poseplug.predict.image_input import ImageInput
from poseplug.predict.opened_image import OpenedImage, elapsed_ms, open_with_boxes

if TYPE_CHECKING:
    from poseplug.predict.detectors import Detector

CROPS_PER_IMAGE = 8  # crops of a batch that one whole image counts as, for a detector or a model that finds instances

_Input = TypeVar('_Input')
_Image = TypeVar('_Image', bound=Sized)


class LocatedImage(NamedTuple):
    """An image and where its instances are.

    Attributes:
        image: the opened image.
        boxes: (N, 4) of its instances; None for one instance, the whole image.
        box_format: of the boxes.
        scores: (N,) of detected boxes; None for others.
        speed: milliseconds of the phases so far.
    """

    image: OpenedImage
    boxes: ImageBoxes
    box_format: BoxFormat
    scores: np.ndarray | None
    speed: dict[str, float]


def count_batch_inputs(finds_instances: bool, batch_size: int) -> int:
    """Count the inputs that go through a network at once.

    Args:
        finds_instances: whether the model finds instances in whole images, which are larger than crops.
        batch_size: instances per batch.
    """
    return max(1, batch_size // CROPS_PER_IMAGE) if finds_instances else batch_size


def open_image_batches(
    pairs: Iterable[tuple[ImageInput, ImageBoxes]], detector: Detector | None, batch_size: int
) -> Iterator[list[OpenedImage]]:
    """Open images as they are needed: as many as a detector gets at once, or one by one without a detector.

    Args:
        pairs: an image, and its boxes or None.
        detector: of the images without boxes; None for none.
        batch_size: instances per batch.

    Raises:
        ImageError: an image cannot be read.
    """
    numbered = enumerate(pairs)
    # without a detector one image is read at a time, so that memory holds few images
    num_read = 1 if detector is None else max(1, batch_size // CROPS_PER_IMAGE)
    while batch := list(islice(numbered, num_read)):
        yield [open_with_boxes(image, image_boxes, position) for position, (image, image_boxes) in batch]


def locate_instances(
    images: Sequence[OpenedImage], box_format: BoxFormat, detector: Detector | None
) -> Iterator[LocatedImage]:
    """Find where the instances of images are: by their boxes, else by a detector, else in the whole image.

    Args:
        images: with or without boxes.
        box_format: of the boxes.
        detector: of the images without; None for none.

    Raises:
        ConfigError: the detector returns something else than boxes and scores.
    """
    start = time.perf_counter()
    undetected = [image.pixels for image in images if image.boxes is None]
    # the detector gets all images of the batch in one call
    detections = iter(run_detector(detector, undetected) if detector and undetected else ())
    detect_ms = elapsed_ms(start) / max(1, len(undetected))
    for image in images:
        speed = {'read': image.read_ms}
        if image.boxes is not None or detector is None:
            yield LocatedImage(image, image.boxes, box_format, None, speed)
        else:
            # detectors return corners, whatever the format of the boxes that were given
            detection = next(detections)
            yield LocatedImage(image, detection.boxes, 'xyxy', detection.scores, speed | {'detect': detect_ms})


def group_images(images: Iterable[_Image], num_inputs: int) -> Iterator[list[_Image]]:
    """Group images until their inputs fill a batch; an image without instances waits for the next ones.

    Args:
        images: whose length is the number of their inputs.
        num_inputs: of a batch; no group has more images than that.

    Example:
        >>> list(group_images(['ab', 'c', '', 'defg', 'h'], num_inputs=3))
        [['ab', 'c'], ['', 'defg'], ['h']]
        >>> list(group_images(['', '', '', '', 'a'], num_inputs=2))
        [['', ''], ['', ''], ['a']]
    """
    group: list[_Image] = []
    for image in images:
        group.append(image)
        # also by images: in an empty scene no input comes, and the images would wait, and fill memory, without end
        if sum(map(len, group)) >= num_inputs or len(group) >= num_inputs:
            yield group
            group = []
    if group:
        yield group


def split_equal_inputs(
    inputs: Iterable[_Input], get_size: Callable[[_Input], Any], max_count: int
) -> Iterator[list[_Input]]:
    """Split inputs, in order, into batches of one size: a batch is one tensor.

    Args:
        inputs: of a network.
        get_size: of an input; another size starts another batch.
        max_count: of the inputs of a batch.

    Example:
        >>> list(split_equal_inputs(['a', 'b', 'c', 'de'], len, max_count=2))
        [['a', 'b'], ['c'], ['de']]
    """
    for _, group in groupby(inputs, key=get_size):
        same_size = list(group)
        for first in range(0, len(same_size), max_count):
            yield same_size[first : first + max_count]


def concat_instances(parts: Sequence[Poses], num_keypoints: int) -> Poses:
    """Concatenate the instances of an image, as NumPy arrays; an array that a part lacks is left out.

    Args:
        parts: those of each input.
        num_keypoints: of the empty poses of an image without inputs.
    """
    if not parts:
        return Poses.empty(num_keypoints)
    parts = [poses.numpy() for poses in parts]
    # the indices count inputs of the batch and not images
    if len(parts) == 1:
        return replace(parts[0], image_indices=None)
    arrays = {name: [getattr(poses, name) for poses in parts] for name in POSE_ARRAYS}
    merged: dict[str, Any] = {
        name: None if any(value is None for value in values) else np.concatenate(values)
        for name, values in arrays.items()
    }
    return Poses(**{**merged, 'image_indices': None})
