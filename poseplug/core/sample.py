"""What flows through training: `Record` from a source, `Sample` through the transforms, `Batch` to the estimator.

Visibility is 0 for a keypoint that is not labeled (its position means nothing), 1 for labeled but occluded, 2 for
visible. Boxes are x and y of two corners in px.
"""

from __future__ import annotations

__all__ = ['Batch', 'DeferredImage', 'ImageKey', 'Record', 'Sample', 'SampleKey']

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from poseplug.core.geometry import Size, image_center
from poseplug.core.instances import IgnoredRegions, Instances
from poseplug.core.location import ByteRange, ImageLocation
from poseplug.core.skeleton import Skeleton

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class SampleKey(NamedTuple):
    """One sample of one epoch: the key of its random numbers.

    Attributes:
        epoch: counted from 0.
        sample_index: in the data set.
    """

    epoch: int
    sample_index: int


class ImageKey(NamedTuple):
    """What tells the images of a data set apart; their ids may collide where it has several sources.

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
        """Where the image is stored."""
        return ImageLocation(self.path, self.byte_range)

    @property
    def key(self) -> ImageKey:
        """What tells the image apart from all others of a data set, which may have several sources."""
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


@dataclass(eq=False)
class Batch:
    """Stacked tensors of B samples, whose instances are padded to the largest number N.

    Attributes:
        images: (B, V, H, W, 3) uint8, the warped views.
        keypoints: (B, N, K, 2) in input px of the first view.
        visible: (B, N, K), 0 not labeled, 1 occluded, 2 visible.
        valid: (B, N) bool, which entries are instances and not padding.
        centers: (B, 2) the center of the subject in input px.
        image_to_input: (B, V, 3, 3) float64, from image to input pixels.
        image_sizes: (width, height) of every image.
        records: of the images.
        keys: of the samples.
        view_sizes: (width, height) of every view within `images`.
        masks: (B, H, W) uint8, 0 where a position of the first view is not trained.
        annotated_keypoints: (B, K) bool, which keypoints the data sets annotate.
        boxes: (B, N, 4) in input px of the first view.
        areas: (B, N) px² in the first view.

    Example:
        >>> from poseplug.data.collate import collate
        >>> from poseplug.data.transforms.warp import Warp
        >>> from poseplug.testing import create_test_sample
        >>> batch = collate([Warp(input_size=(48, 64))(create_test_sample(seed)) for seed in range(2)])
        >>> len(batch), tuple(batch.images.shape), tuple(batch.keypoints.shape)
        (2, (2, 1, 64, 48, 3), (2, 2, 3, 2))
    """

    images: Tensor
    keypoints: Tensor
    visible: Tensor
    valid: Tensor
    centers: Tensor
    image_to_input: Tensor
    image_sizes: list[Size]
    records: list[Record]
    keys: list[SampleKey]
    view_sizes: list[Size]
    masks: Tensor
    annotated_keypoints: Tensor
    boxes: Tensor
    areas: Tensor

    @classmethod
    def from_instances(cls, images: Tensor, keypoints: Tensor, visible: Tensor, **values: Any) -> Batch:
        """Build a batch of prepared inputs that no data set has loaded.

        Args:
            images: (B, V, H, W, 3) uint8.
            keypoints: (B, N, K, 2) in input px of the first view.
            visible: (B, N, K).
            values: other attributes. By default all entries are instances, with the boxes around their labeled
                keypoints and the areas of these; the input is the image, and the subject stands in its middle; all
                positions are trained, and all keypoints annotated.

        Returns:
            The batch.

        Example:
            >>> import torch
            >>> images = torch.zeros(2, 1, 64, 48, 3, dtype=torch.uint8)
            >>> batch = Batch.from_instances(images, torch.rand(2, 1, 17, 2), torch.full((2, 1, 17), 2))
            >>> batch.image_sizes, batch.boxes.shape
            ([(48, 64), (48, 64)], torch.Size([2, 1, 4]))
        """
        import torch

        num_images, num_views, height, width, _ = images.shape
        boxes = _enclose_labeled(keypoints, visible > 0)
        extents = boxes[..., 2:] - boxes[..., :2]
        center = torch.tensor(image_center((width, height)), dtype=torch.float32)
        defaults = dict(
            valid=torch.ones(visible.shape[:2], dtype=torch.bool),
            centers=center.expand(num_images, 2).clone(),
            image_to_input=torch.eye(3, dtype=torch.float64).repeat(num_images, num_views, 1, 1),
            image_sizes=[(width, height)] * num_images,
            records=[],
            keys=[],
            view_sizes=[(width, height)] * num_views,
            masks=torch.ones(1, 1, 1, dtype=torch.uint8).expand(num_images, height, width),
            annotated_keypoints=torch.ones(num_images, visible.shape[2], dtype=torch.bool),
            boxes=boxes,
            areas=extents.prod(dim=-1),
        )
        return cls(images, keypoints, visible, **{**defaults, **values})

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch with its tensors on a device."""
        # From pinned memory this returns at once, and the device waits for the copy by itself.
        return self._map_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def to_image(self, points: Tensor, image_indices: Tensor) -> Tensor:
        """Convert points from input pixels of the first view to image pixels.

        Args:
            points: (P, ..., 2), in input px of the first view.
            image_indices: (P,) the position in the batch of each point's image.

        Returns:
            (P, ..., 2) in image px, of the dtype and on the device of `points`. Pass float64 where the rounding of
            float32 matters.
        """
        # Inverted in float64 and rounded afterwards: an inverse of rounded matrices would differ by more.
        matrices = self.input_to_image().to(points)[image_indices.to(points.device)]
        # Not -1 for the middle axis: for no points it could not be inferred.
        flat = points.reshape(len(points), points.shape[1:-1].numel(), 2)
        return (flat @ matrices[:, :2, :2].mT + matrices[:, None, :2, 2]).reshape(points.shape)

    def to_view(self, view: int) -> Tensor:
        """Return the matrices (B, 3, 3), float64, from input pixels of the first view to those of another view."""
        return self.image_to_input[:, view] @ self.input_to_image()

    def input_to_image(self) -> Tensor:
        """Return the matrices (B, 3, 3), float64, from input pixels of the first view to image pixels."""
        import torch

        input_to_image: Tensor = torch.linalg.inv(self.image_to_input[:, 0])
        return input_to_image

    def list_instance_centers(self) -> Tensor:
        """Return the position (B, N, 2) of every instance in input px of the first view; NaN for padding.

        The subject's is that of `centers`, that of any other instance the middle of its box.
        """
        import torch

        middles = (self.boxes[..., :2] + self.boxes[..., 2:]) / 2
        others = middles.masked_fill(~self.valid[..., None], math.nan)[:, 1:]
        return torch.cat([self.centers[:, None], others.to(self.centers)], dim=1)

    def pin_memory(self) -> Batch:
        """Return the same batch in pinned memory; torch's data loader calls this."""
        # Contiguous: masks without a masked position are views of a single number.
        return self._map_tensors(lambda tensor: tensor.contiguous().pin_memory())

    def _map_tensors(self, function: Callable[[Any], Any]) -> Batch:
        # The tensors among the fields, known by a method, so that this module does not import torch.
        return replace(self, **{n: function(v) for n, v in vars(self).items() if hasattr(v, 'pin_memory')})


def _enclose_labeled(keypoints: Tensor, labeled: Tensor) -> Tensor:
    """Return the boxes (B, N, 4), xyxy, around the labeled ones of keypoints (B, N, K, 2); 0 without any."""
    chosen = labeled[..., None]
    low = keypoints.masked_fill(~chosen, math.inf).amin(dim=2)
    high = keypoints.masked_fill(~chosen, -math.inf).amax(dim=2)
    import torch

    boxes = torch.cat([low, high], dim=-1)
    return boxes.masked_fill(~chosen.any(dim=2), 0.0)
