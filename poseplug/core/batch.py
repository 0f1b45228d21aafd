"""Stacked samples as tensors, on their way to the estimator.

Visibility is 0 for a keypoint that is not labeled (its position means nothing), 1 for labeled but occluded, 2 for
visible. Boxes are x and y of two corners in px.
"""

from __future__ import annotations

__all__ = ['Batch']

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from poseplug.core.geometry import Size, image_center
from poseplug.core.sample import Record, SampleKey

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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
            # A view of a single number, as in `collate`: most batches need no mask.
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
        if self.images.device == device:
            return self
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

        matrices = self.image_to_input[:, 0]
        # NumPy inverts so few numbers in a third of the time; a GPU would have to wait for the copy.
        if matrices.device.type == 'cpu':
            return torch.from_numpy(np.linalg.inv(matrices.numpy()))
        input_to_image: Tensor = torch.linalg.inv(matrices)
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
    # Infinities lose against every labeled keypoint; what has none is filled with 0 at the end.
    low = keypoints.masked_fill(~chosen, math.inf).amin(dim=2)
    high = keypoints.masked_fill(~chosen, -math.inf).amax(dim=2)
    import torch

    boxes = torch.cat([low, high], dim=-1)
    return boxes.masked_fill(~chosen.any(dim=2), 0.0)
