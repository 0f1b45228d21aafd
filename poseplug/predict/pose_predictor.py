"""The interface of a predictor, by which videos, trackers and result files use one."""

from __future__ import annotations

__all__ = ['ImagePredictor', 'PosePredictor', 'stream_frames']

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import ArrayLike

from poseplug.core.boxes import BoxFormat
from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_counts
from poseplug.core.skeleton import Skeleton
from poseplug.predict.box_checks import ImageBoxes, pair_images_with_boxes
from poseplug.predict.image_input import ImageInput, is_endless
from poseplug.predict.result import Result

if TYPE_CHECKING:
    from poseplug.predict.detectors import Detector


class PosePredictor(Protocol):
    """`Predictor`, or a class that predicts without torch.

    Attributes:
        name: names of the model and the weights, for result files.
        skeleton: names and order of the keypoints.
        detector: finds boxes in images that are given without; None for none.
    """

    name: str
    skeleton: Skeleton
    detector: Detector | None

    @property
    @abstractmethod
    def finds_instances(self) -> bool:
        """Whether the instances of an image without boxes are found, by the model or by the detector."""

    @property
    @abstractmethod
    def score_meaning(self) -> str:
        """The meaning of a keypoint's score."""

    def stream(
        self,
        images: Any,
        boxes: Iterable[Any] | None = None,
        batch_size: int = 32,
        box_format: BoxFormat = 'xywh',
    ) -> Iterator[Result]:
        """Predict image by image and hold one batch of images in memory."""
        ...

    def stream_pairs(
        self, pairs: Iterable[tuple[Any, Any]], batch_size: int = 32, box_format: BoxFormat = 'xywh'
    ) -> Iterator[Result]:
        """Predict image by image, where every image comes with its boxes or None."""
        ...


class ImagePredictor(PosePredictor):
    """A predictor of images: how `Predictor` and `ExportedPredictor` are called."""

    def __call__(
        self,
        images: ImageInput | Sequence[ImageInput],
        boxes: ArrayLike | Sequence[ImageBoxes] | None = None,
        batch_size: int = 32,
        box_format: BoxFormat = 'xywh',
    ) -> list[Result]:
        """Predict the instances of images.

        Args:
            images: paths, the bytes of image files, arrays (H, W, 3) of uint8 in BGR order, `ImageArray`, images of
                Pillow, addresses, folders, patterns or videos; or a single one of these.
            boxes: for each image (N, 4), one row per instance, or None for the instances that the detector finds
                (without a detector, for the whole image); for a single image its (N, 4).
            batch_size: instances that go through the network at once, of any image; a whole image of a detector or of
                a model that finds instances by itself counts as 8 of them.
            box_format: 'xywh' (x, y of the upper left corner, width, height) or 'xyxy' (x, y of two corners).

        Returns:
            One `Result` per image: its `Poses` in px of the image, with exports and drawings. In the order of the
            images; a list of one for a single image.

        Raises:
            ImageError: an image cannot be read.
            AnnotationError: the boxes are not one entry per image, or a box is impossible.
            ConfigError: the model finds instances by itself and was given boxes; or a camera or a stream does not end.
        """
        if is_endless(images):
            raise ConfigError(
                f'a camera or a stream does not end by itself; go through {type(self).__name__}.stream(...)'
            )
        return list(self.stream_pairs(pair_images_with_boxes(images, boxes), batch_size, box_format))

    def stream(
        self,
        images: ImageInput | Iterable[ImageInput],
        boxes: ArrayLike | Iterable[ImageBoxes] | None = None,
        batch_size: int = 32,
        box_format: BoxFormat = 'xywh',
    ) -> Iterator[Result]:
        """Predict image by image and hold one batch of images in memory.

        Args:
            images: as for a call, the index of a camera, the address of a stream, or any iterable of images; it is
                read as the predictions are. Of a camera or a stream the newest frame is predicted by itself.
            boxes: as for a call, or any iterable.
            batch_size: as for a call.
            box_format: as for a call.

        Returns:
            An iterator over the `Result` of each image, in px of the image.

        Raises:
            ImageError: an image cannot be read.
            AnnotationError: the boxes are not one entry per image, or a box is impossible.
            ConfigError: the model finds instances by itself and was given boxes, or `batch_size` is no count.

        Example:
            >>> import numpy as np
            >>> from poseplug import Predictor
            >>> frames = (np.full((120, 90, 3), value, np.uint8) for value in (0, 50, 100))
            >>> [len(poses) for poses in Predictor(device='cpu').stream(frames, batch_size=2)]
            [1, 1, 1]
        """
        pairs = pair_images_with_boxes(images, boxes)
        if is_endless(images):
            # a batch would wait for frames that are still to come
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
        # before the first result is asked for, which an iterator would be too late for
        check_counts(type(self).__name__, batch_size=batch_size)
        return self._stream_results(pairs, batch_size, box_format)

    @abstractmethod
    def _stream_results(
        self, pairs: Iterable[tuple[ImageInput, ImageBoxes]], batch_size: int, box_format: BoxFormat
    ) -> Iterator[Result]:
        """Predict image by image; the arguments are checked."""


def stream_frames(
    predictor: PosePredictor, pairs: Iterable[tuple[Any, Any]], batch_size: int, box_format: BoxFormat
) -> Iterator[Result]:
    """Predict every frame of a camera or a stream before the next one is read.

    Args:
        predictor: of the frames.
        pairs: a frame, and its boxes or None.
        batch_size: instances that go through the network at once.
        box_format: 'xywh' or 'xyxy'.

    Returns:
        An iterator over the `Result` of each frame, numbered from 0.
    """
    for index, pair in enumerate(pairs):
        for result in predictor.stream_pairs([pair], batch_size, box_format):
            # every pair is predicted by itself, so that each result has the index 0
            yield replace(result, index=index)
