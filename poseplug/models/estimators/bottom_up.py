"""Everybody in a whole picture at once: the codec puts people together from the fields (Cao et al. 2017)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Codec, Targets
from poseplug.errors import MismatchError
from poseplug.geometry import Size, apply
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.fusion import fuse_fields
from poseplug.models.estimators.views import Views
from poseplug.models.losses.base import spread
from poseplug.poses import Poses
from poseplug.registry import CODECS, MODELS
from poseplug.sample import Batch


@MODELS.register_module()
class BottomUp(Views, Estimator):
    """Predicts everybody in each picture, best first, with the boxes of their joints.

    The codec is one that `assembles`: its fields belong to all people. Pictures may be of any size that the network's
    strides divide; targets are drawn, and fields read, on the grid of that size. What a batch's masks leave out does
    not count: prediction and target are thought of as multiplied by the share W of a cell that counts, so that weights
    are multiplied by its square. `flip_test` averages the fields with those of the mirrored picture; those of several
    views (scales) are averaged on the cells of the first.
    """

    finds_people: ClassVar[bool] = True

    def __init__(self, *args: Any, flip_test: bool = False, **parts: Any):
        super().__init__(*args, **parts)
        self.flip_test = flip_test
        self.codecs: dict[Size, Codec] = {self.codec.input_size: self.codec}
        name = type(self.codec).__name__
        if not self.codec.assembles:
            many = [n for n in CODECS.names() if getattr(CODECS.get(n), 'assembles', False)]
            raise MismatchError(
                f'{name} reads one person from its fields, but BottomUp finds everybody in a picture; set '
                f'model.codec.type to one of {", ".join(many)}, or model.type=TopDown'
            )
        if getattr(self.codec, 'subject', False):
            raise MismatchError(
                f'{name} with subject=True reads one person, but BottomUp finds everybody in a picture; set '
                f'model.codec.subject=False'
            )

    def losses(self, batch: Batch, outputs: Any = None) -> dict[str, Tensor]:
        """The weighted loss of every trained stage, by name. `outputs` are the head's stages for the first view."""
        if outputs is None:
            outputs = self(batch.images[:, 0], batch.centers, self.domains(batch))
        known: dict[str, Any] = {} if batch.defined is None else {'defined': batch.defined}
        codec = self.codec_of((batch.images.shape[3], batch.images.shape[2]))
        targets = codec.encode(batch.keypoints, batch.visible, batch.people, **known)
        return self.target_losses(outputs, masked(targets, batch.masks))

    def people(self, views: list[dict[str, Tensor]], batch: Batch) -> list[Poses]:
        """Everybody in every picture, in image pixels, from the fields of its views."""
        if len(views) == 1:
            return self.decode(views[0], batch)
        codecs: list[Any] = [self.codec_of(size) for size in sizes_of(batch)]
        for codec, fields in zip(codecs, views, strict=True):
            self.check_fields(fields, codec)
        return self.decode(fuse_fields(codecs, views, batch.matrices), batch)

    def decode(self, fields: dict[str, Tensor], batch: Batch) -> list[Poses]:
        """Everybody whom the fields of each picture's first view show, in image pixels."""
        codec = self.codec_of(sizes_of(batch)[0])
        self.check_fields(fields, codec)
        found = codec.decode({name: maps.float() for name, maps in fields.items()}).numpy().split(len(batch))
        back = np.linalg.inv(batch.matrices[:, 0].cpu().numpy())
        return [in_picture(poses, matrix) for poses, matrix in zip(found, back, strict=True)]

    def codec_of(self, size: Size) -> Codec:
        """The codec of pictures of a size (width, height)."""
        if size not in self.codecs:
            self.codecs[size] = replace(self.codec, input_size=size)
        return self.codecs[size]

    def check_fields(self, fields: dict[str, Tensor], codec: Codec) -> None:
        """Fields must be what the codec reads from pictures of its size; `relative` ones may be there several times."""
        given = {name: tuple(maps.shape[1:]) for name, maps in fields.items()}
        if {name: once(name, shape, codec) for name, shape in given.items()} != codec.shapes:
            raise MismatchError(
                f'{type(self.head).__name__} predicts {given} for pictures of {codec.input_size} px but '
                f'{type(codec).__name__} reads {codec.shapes}; let the pictures end at multiples of the '
                f"backbone's largest stride (`multiple` of PlaceWhole and WholeScales)"
            )


def once(name: str, shape: tuple[int, ...], codec: Codec) -> tuple[int, ...]:
    """The shape of a field without the further channels that a `relative` one has of the mirrored picture."""
    channels = codec.fields.get(name, 0)
    several = name in codec.relative and channels and shape[0] and shape[0] % channels == 0
    return (channels, *shape[1:]) if several else shape


def sizes_of(batch: Batch) -> list[Size]:
    """(width, height) of the input of every view."""
    height, width = batch.images.shape[2:4]
    return batch.extents or [(width, height)] * batch.images.shape[1]


def in_picture(poses: Poses, back: np.ndarray) -> Poses:
    """NumPy people through a matrix (3, 3) to image pixels, each with the box of the joints that were found."""
    keypoints = apply(back, np.asarray(poses.keypoints)).astype(np.float32)
    found = np.asarray(poses.scores if poses.visibility is None else poses.visibility)[..., None] > 0
    low = np.where(found, keypoints, np.inf).min(axis=1, initial=np.inf)
    high = np.where(found, keypoints, -np.inf).max(axis=1, initial=-np.inf)
    boxes = np.where(found.any(axis=1), np.concatenate([low, high], axis=1), 0.0).astype(np.float32)
    return replace(poses, keypoints=keypoints, boxes=boxes)


def masked(targets: Targets, masks: Tensor | None) -> Targets:
    """Targets whose weights are multiplied by the square of the share of each cell that counts.

    `masks` (B, H, W) are of the input, 0 where it does not count. Fields that are no maps keep their weights.
    """
    if masks is None:
        return targets
    count = max(len(targets.stages), 1 if isinstance(targets.weights, dict) else len(targets.weights))
    weights = []
    for t in range(count):
        given = targets.weights_at(t)
        drawn = {n: weighed(maps, given.get(n), masks) for n, maps in targets.at(t).items() if maps.ndim == 4}
        weights.append({**given, **drawn})
    return replace(targets, weights=tuple(weights))


def weighed(maps: Tensor, weight: Tensor | None, masks: Tensor) -> Tensor:
    """The weights of maps (B, C, H, W), in their shape."""
    height, width = maps.shape[-2:]
    share = F.adaptive_avg_pool2d(masks[:, None].to(maps), (height, width)).square()
    return share.expand_as(maps) if weight is None else (spread(weight, maps) * share).expand_as(maps)
