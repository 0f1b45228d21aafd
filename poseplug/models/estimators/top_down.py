"""One person a crop: the crop is cut by a matrix, the joints come back through its inverse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.fusion import fuse_views
from poseplug.poses import Poses
from poseplug.registry import MODELS
from poseplug.sample import Batch


@MODELS.register_module()
class TopDown(Estimator):
    """Predicts the subject of each crop. `flip_test` averages the fields with those of the mirrored crop.

    A batch with several views of each picture (scales) is fused in the picture's own frame before decoding.
    """

    def __init__(self, *args: Any, flip_test: bool = False, **parts: Any):
        super().__init__(*args, **parts)
        self.flip_test = flip_test

    @torch.inference_mode()
    def predict(self, batch: Batch, every_stage: bool = False) -> list[list[Poses]]:
        """The people of every picture, in image pixels: one list a stage, or one list for the last stage alone."""
        batch = batch.to(self.pixels.mean.device)
        stages = self.fields(batch, every_stage)
        if batch.images.shape[1] > 1:
            return [fuse_views(self.codec, views, batch) for views in stages]
        return [self._decoded(fields[0], batch) for fields in stages]

    def fields(self, batch: Batch, every_stage: bool = False) -> list[list[dict[str, Tensor]]]:
        """The fields of each stage asked for, one dict a view."""
        views = [self._view(batch.images[:, v], batch, v) for v in range(batch.images.shape[1])]
        return [[view[t] for view in views] for t in range(0 if every_stage else len(views[0]) - 1, len(views[0]))]

    def _view(self, images: Tensor, batch: Batch, view: int) -> list[dict[str, Tensor]]:
        centers = batch.centers if view == 0 else moved_centers(batch, view)
        stages = self(images, centers)
        if not self.flip_test:
            return stages
        width = images.shape[2]
        mirrored = torch.stack([width - 1 - centers[:, 0], centers[:, 1]], dim=1)
        others = [self.codec.flip(fields) for fields in self(images.flip(2), mirrored)]
        return [{n: (a[n] + b[n]) / 2 for n in a} for a, b in zip(stages, others, strict=True)]

    def _decoded(self, fields: dict[str, Tensor], batch: Batch) -> list[Poses]:
        poses = self.codec.decode({name: maps.float() for name, maps in fields.items()})
        back = torch.linalg.inv(batch.matrices[:, 0]).to(poses.keypoints)[poses.images]
        keypoints = poses.keypoints @ back[:, :2, :2].mT + back[:, None, :2, 2]
        return replace(poses, keypoints=keypoints).numpy().split(len(batch))


def moved_centers(batch: Batch, view: int) -> Tensor:
    """The subject's position (B, 2) in the input pixels of another view."""
    move = batch.matrices[:, view] @ torch.linalg.inv(batch.matrices[:, 0])
    centers = batch.centers.to(move)
    return ((move[:, :2, :2] @ centers[..., None])[..., 0] + move[:, :2, 2]).to(batch.centers)
