"""Everybody in a whole picture at once: the codec puts people together from the fields (Cao et al. 2017)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Codec, Targets
from poseplug.core.errors import MismatchError
from poseplug.core.geometry import Size, transform_points
from poseplug.core.poses import Poses
from poseplug.core.sample import Batch
from poseplug.models.estimators.augmentation import TTAMixin
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.fusion import fuse_fields
from poseplug.models.losses.base import expand_weight
from poseplug.registry import CODECS, MODELS


@MODELS.register_module()
class BottomUp(TTAMixin, Estimator):
    """Predicts everybody in each picture, best first, with the boxes of their joints.

    The codec is one that `groups_instances`: its fields belong to all people. Pictures may be of any size that the
    network's strides divide; targets are drawn, and fields read, on the grid of that size. What a batch's masks leave
    out does not count: prediction and target are thought of as multiplied by the share W of a cell that counts, so that
    weights are multiplied by its square. `flip_test` averages the fields with those of the mirrored picture; those of
    several views (scales) are averaged on the cells of the first.
    """

    finds_instances: ClassVar[bool] = True

    def __init__(self, *args: Any, flip_test: bool = False, **parts: Any):
        super().__init__(*args, **parts)
        self.flip_test = flip_test
        self.codecs_by_size: dict[Size, Codec] = {self.codec.input_size: self.codec}
        name = type(self.codec).__name__
        if not self.codec.groups_instances:
            many = [n for n in CODECS.list_names() if getattr(CODECS.get(n), 'groups_instances', False)]
            raise MismatchError(
                f'{name} reads one person from its fields, but BottomUp finds everybody in a picture; set '
                f'model.codec.type to one of {", ".join(many)}, or model.type=TopDown'
            )
        if getattr(self.codec, 'single_instance', False):
            raise MismatchError(
                f'{name} with single_instance=True reads one person, but BottomUp finds everybody in a picture; set '
                f'model.codec.single_instance=False'
            )

    def losses(self, batch: Batch, outputs: Any = None) -> dict[str, Tensor]:
        """The weighted loss of every trained stage, by name. `outputs` are the head's stages for the first view."""
        if outputs is None:
            outputs = self(batch.images[:, 0], batch.centers, self.source_indices(batch))
        known: dict[str, Any] = (
            {} if batch.annotated_keypoints is None else {'annotated_keypoints': batch.annotated_keypoints}
        )
        codec = self.get_codec((batch.images.shape[3], batch.images.shape[2]))
        targets = codec.encode(batch.keypoints, batch.visible, batch.valid, **known)
        return self.compute_target_losses(outputs, mask_target_weights(targets, batch.masks))

    def decode_views(self, view_fields: list[dict[str, Tensor]], batch: Batch) -> list[Poses]:
        """Everybody in every picture, in image pixels, from the fields of its views."""
        if len(view_fields) == 1:
            return self.decode(view_fields[0], batch)
        codecs: list[Any] = [self.get_codec(size) for size in get_view_sizes(batch)]
        for codec, fields in zip(codecs, view_fields, strict=True):
            self.check_field_shapes(fields, codec)
        return self.decode(fuse_fields(codecs, view_fields, batch.image_to_input), batch)

    def decode(self, fields: dict[str, Tensor], batch: Batch) -> list[Poses]:
        """Everybody whom the fields of each picture's first view show, in image pixels."""
        codec = self.get_codec(get_view_sizes(batch)[0])
        self.check_field_shapes(fields, codec)
        found = codec.decode({name: maps.float() for name, maps in fields.items()}).numpy().split_by_image(len(batch))
        back = np.linalg.inv(batch.image_to_input[:, 0].cpu().numpy())
        return [poses_to_image(poses, matrix) for poses, matrix in zip(found, back, strict=True)]

    def get_codec(self, input_size: Size) -> Codec:
        """The codec of pictures of a size (width, height)."""
        if input_size not in self.codecs_by_size:
            self.codecs_by_size[input_size] = replace(self.codec, input_size=input_size)
        return self.codecs_by_size[input_size]

    def check_field_shapes(self, fields: dict[str, Tensor], codec: Codec) -> None:
        """Fields must be what the codec reads from pictures of its size; `relative_fields` may come several times."""
        given = {name: tuple(maps.shape[1:]) for name, maps in fields.items()}
        if {name: _drop_flipped_channels(name, shape, codec) for name, shape in given.items()} != codec.shapes:
            raise MismatchError(
                f'{type(self.head).__name__} predicts {given} for pictures of {codec.input_size} px but '
                f'{type(codec).__name__} reads {codec.shapes}; let the pictures end at multiples of the '
                f"backbone's largest stride (`size_divisor` of FitImage and MultiScaleImage)"
            )


def _drop_flipped_channels(name: str, shape: tuple[int, ...], codec: Codec) -> tuple[int, ...]:
    """The shape of a field without the further channels that one of `relative_fields` has of the mirrored picture."""
    channels = codec.fields.get(name, 0)
    several = name in codec.relative_fields and channels and shape[0] and shape[0] % channels == 0
    return (channels, *shape[1:]) if several else shape


def get_view_sizes(batch: Batch) -> list[Size]:
    """(width, height) of the input of every view."""
    height, width = batch.images.shape[2:4]
    return batch.view_sizes or [(width, height)] * batch.images.shape[1]


def poses_to_image(poses: Poses, input_to_image: np.ndarray) -> Poses:
    """NumPy people through a matrix (3, 3) to image pixels, each with the box of the joints that were found."""
    keypoints = transform_points(input_to_image, np.asarray(poses.keypoints)).astype(np.float32)
    found = np.asarray(poses.keypoint_scores if poses.visibility is None else poses.visibility)[..., None] > 0
    low = np.where(found, keypoints, np.inf).min(axis=1, initial=np.inf)
    high = np.where(found, keypoints, -np.inf).max(axis=1, initial=-np.inf)
    boxes = np.where(found.any(axis=1), np.concatenate([low, high], axis=1), 0.0).astype(np.float32)
    return replace(poses, keypoints=keypoints, boxes=boxes)


def mask_target_weights(targets: Targets, masks: Tensor | None) -> Targets:
    """Targets whose weights are multiplied by the square of the share of each cell that counts.

    `masks` (B, H, W) are of the input, 0 where it does not count. Fields that are no maps keep their weights.
    """
    if masks is None:
        return targets
    count = max(len(targets.stages), 1 if isinstance(targets.weights, dict) else len(targets.weights))
    weights = []
    for t in range(count):
        given = targets.stage_field_weights(t)
        drawn = {
            n: _mask_weights(maps, given.get(n), masks) for n, maps in targets.stage_fields(t).items() if maps.ndim == 4
        }
        weights.append({**given, **drawn})
    return replace(targets, weights=tuple(weights))


def _mask_weights(heatmaps: Tensor, weight: Tensor | None, masks: Tensor) -> Tensor:
    """The weights of maps (B, C, H, W), in their shape."""
    height, width = heatmaps.shape[-2:]
    share = F.adaptive_avg_pool2d(masks[:, None].to(heatmaps), (height, width)).square()
    return (
        share.expand_as(heatmaps) if weight is None else (expand_weight(weight, heatmaps) * share).expand_as(heatmaps)
    )
