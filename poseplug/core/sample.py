"""What flows to a batch: `Record` from a source, `Sample` through the transforms (`Batch`: `poseplug.core.batch`).

Visibility is 0 for a keypoint that is not labeled (its position means nothing), 1 for labeled but occluded, 2 for
visible. Boxes are x and y of two corners in px.
"""

from __future__ import annotations

__all__ = ['DeferredImage', 'ImageKey', 'Record', 'RunPosition', 'Sample', 'SampleKey']

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from poseplug.core.geometry import Size, image_center
from poseplug.core.instances import IgnoredRegions, Instances
from poseplug.core.location import ByteRange, ImageLocation
from poseplug.core.skeleton import Skeleton


class RunPosition(NamedTuple):
    """The progress of a run.

    Attributes:
        epoch: of the run, counted from 0.
        fraction: of the run's steps that are done, from 0 to below 1; None where its length is unknown.
    """

    epoch: int
    fraction: float | None = None


class SampleKey(NamedTuple):
    """One sample of one epoch: the key of its random numbers.

    Attributes:
        epoch: how often the sample was used before, which is not the epoch of the run where sources are mixed.
        sample_index: in the data set.
        run_position: of the sample's step; None outside of a run.
    """

    epoch: int
    sample_index: int
    run_position: RunPosition | None = None


class ImageKey(NamedTuple):
    """The key of an image within a data set, whose sources may use the same ids.

    Attributes:
        source_index: of the image's source in the data set, from 0.
        source: name of the data set.
        id: of the image, unique in its source.
        path: of the image file.
    """

    source_index: int
    source: str
    id: str
    path: Path


class DeferredImage(Protocol):
    """An image whose pixels are produced when they are needed: a file to decode, or a mosaic to draw."""

    @property
    def size(self) -> Size:
        """(width, height) in px."""
        ...

    def get_pixels(self) -> np.ndarray:
        """Return the pixels (H, W, 3), BGR, 0 to 255."""
        ...


@dataclass(frozen=True, eq=False)
class Record:
    """The annotations of one image, in image pixels counted from 0.

    Attributes:
        path: of the image file.
        id: of the image, unique in its source.
        instances: the annotated instances, or those that a detector found.
        source: name of the data set.
        ignored: regions that count neither as instances nor as background.
        annotated_keypoints: (K,) bool, which keypoints the data set annotates at all; by default all.
        crowd_index: of the image, CrowdPose's measure of overlap from 0 to 1; NaN where the data set has none.
        ground_truth: the annotated record of the image, if this one holds detected instances.
        byte_range: the part of the file that is the image; None: the whole file.
        source_index: of the source in a data set of several, from 0.
        stated_size: (width, height) of the image in px, as the annotation file states it; None where it states none.
        is_crop: whether the image is a part of a larger one, beyond which labeled keypoints may lie.

    Example:
        >>> points = np.array([[[10.0, 20.0], [40.0, 60.0]]])
        >>> record = Record(Path('a.jpg'), 'a', Instances.from_annotations(points, np.array([[2, 1]])))
        >>> record.instances.boxes.tolist(), record.annotated_keypoints.tolist()
        ([[10.0, 20.0, 40.0, 60.0]], [True, True])
    """

    path: Path
    id: str
    instances: Instances
    source: str = ''
    ignored: IgnoredRegions = field(default_factory=IgnoredRegions.empty)
    annotated_keypoints: np.ndarray = field(default_factory=lambda: np.ones(0, dtype=bool))
    crowd_index: float = math.nan
    ground_truth: Record | None = None
    byte_range: ByteRange | None = None
    source_index: int = 0
    stated_size: Size | None = None
    is_crop: bool = False

    def __post_init__(self) -> None:
        if not len(self.annotated_keypoints):
            # The default depends on another field, and a frozen dataclass assigns only in this way.
            num_keypoints = self.instances.keypoints.shape[1]
            object.__setattr__(self, 'annotated_keypoints', np.ones(num_keypoints, dtype=bool))

    @property
    def location(self) -> ImageLocation:
        """The location of the image."""
        return ImageLocation(self.path, self.byte_range)

    @property
    def key(self) -> ImageKey:
        """The key of the image within a data set, which may have several sources."""
        return ImageKey(self.source_index, self.source, self.id, Path(self.path))

    def put_first(self, index: int) -> Record:
        """Return the same image with one instance first: the subject of a top-down sample."""
        return self if index == 0 else replace(self, instances=self.instances.put_first(index))

    def map_to_skeleton(self, source: Skeleton, target: Skeleton) -> Record:
        """Convert the keypoints to another skeleton, by name.

        Args:
            source: the skeleton of this record.
            target: the skeleton of the result. A keypoint that `source` lacks is not labeled, unless `target` derives
                it from others.
        """
        # The common case of a single data set: records are used as they are, without a copy.
        if source.keypoints == target.keypoints and self.annotated_keypoints.all():
            return self
        return replace(
            self,
            instances=self.instances.convert_keypoints(source, target),
            ignored=self.ignored.convert_keypoints(source, target),
            annotated_keypoints=target.defined_keypoints(source),
            ground_truth=self.ground_truth and self.ground_truth.map_to_skeleton(source, target),
        )


@dataclass(eq=False)
class Sample:
    """One image on its way to the network; instance 0 is the subject of a top-down sample.

    Geometric transforms change `image_to_input` only; the image is warped once, at the end, into `inputs`.

    Attributes:
        record: the annotations.
        skeleton: of `keypoints`.
        image: (H, W, 3), BGR, 0 to 255, or an image whose pixels are produced when they are needed.
        rng: the generator of this sample's random numbers.
        key: of the random numbers.
        keypoints: (N, K, 2) in image px.
        visible: (N, K), 0 not labeled, 1 occluded, 2 visible.
        image_to_input: (3, 3) from image to input pixels.
        view_matrices: further such matrices (3, 3), of the other views in test-time augmentation.
        inputs: (V, H, W, 3) uint8, the warped views; there are none before the warp.
        view_sizes: (width, height) of every view; what lies beyond it in `inputs` is padding of the color
            `fill_color`. Before the warp those of views that have not the size of the model's input.
        fill_color: BGR, 0 to 255.
        mask: (h, w) uint8 over the upper left part of the input, 0 where a position is not trained, neither as instance
            nor as background. Positions beyond it are trained.
        draw_sample: draws another sample of the data set, before its transforms, with a generator.

    Example:
        >>> from poseplug.testing import create_test_sample
        >>> sample = create_test_sample()
        >>> sample.image_size, sample.keypoints.shape, sample.image_to_input.shape
        ((80, 60), (2, 3, 2), (3, 3))
    """

    record: Record
    skeleton: Skeleton
    image: np.ndarray | DeferredImage
    rng: np.random.Generator
    key: SampleKey
    keypoints: np.ndarray
    visible: np.ndarray
    image_to_input: np.ndarray = field(default_factory=lambda: np.eye(3))
    view_matrices: list[np.ndarray] = field(default_factory=list)
    inputs: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    view_sizes: list[Size] = field(default_factory=list)
    fill_color: tuple[int, ...] = (128, 128, 128)
    mask: np.ndarray = field(default_factory=lambda: np.ones((0, 0), np.uint8))
    draw_sample: Callable[[np.random.Generator], Sample] | None = None

    @property
    def image_size(self) -> Size:
        """(width, height) of the image."""
        return (self.image.shape[1], self.image.shape[0]) if isinstance(self.image, np.ndarray) else self.image.size

    @property
    def is_warped(self) -> bool:
        """Whether the image was warped into `inputs`."""
        return len(self.inputs) > 0

    @property
    def subject_center(self) -> np.ndarray:
        """Position (2,) of the subject in image px: its annotated center, or the center of the image."""
        centers = self.record.instances.centers
        if len(centers) and not np.isnan(centers[0]).any():
            return np.asarray(centers[0])
        return np.array(image_center(self.image_size))

    @property
    def pixels(self) -> np.ndarray:
        """The whole image (H, W, 3), BGR, 0 to 255."""
        return self.image if isinstance(self.image, np.ndarray) else self.image.get_pixels()
