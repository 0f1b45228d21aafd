"""One person a crop: the crop is cut by a matrix, the joints come back through its inverse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poseplug.models.estimators.base import Estimator, Steps, completed
from poseplug.models.estimators.fusion import fuse_views
from poseplug.poses import Poses
from poseplug.registry import MODELS
from poseplug.sample import Batch, Record


class Crops(Steps):
    """How a network predicts the subject of each crop, with the codec and the decoder of a `TopDown`.

    A batch with several views of each picture (scales) is fused in the picture's own frame before decoding.
    """

    codec: Any
    flip_test: bool
    decode: Any

    @torch.inference_mode()
    def predict(self, batch: Batch, every_stage: bool = False) -> list[list[Poses]]:
        """The people of every picture, in image pixels: one list a stage, or one list for the last stage alone.

        Each carries its subject's box and number, where the record knows them. Fields that a stage does not predict are
        those of the last stage.
        """
        batch = batch.to(self.pixels.mean.device)
        domains, views = self.predicting(batch), []
        for images, centers in views_of(batch):  # as in `fields`, whose call would be one frame more to the first layer
            views.append(completed(self.averaged(self(images, centers, domains), images, centers, domains)))
        wanted = range(0 if every_stage else len(views[0]) - 1, len(views[0]))
        if len(views) > 1:
            found = [fuse_views(self.codec, [view[t] for view in views], batch) for t in wanted]
        else:
            found = [self.decode(views[0][t], batch) for t in wanted]
        if not batch.records:  # pictures of nowhere, as in a benchmark
            return found
        return [[named(p, r) for p, r in zip(people, batch.records, strict=True)] for people in found]

    @torch.inference_mode()
    def fields(self, batch: Batch) -> list[list[dict[str, Tensor]]]:
        """What `predict` decodes: for every view of the pictures, the stages of fields (B, C, H, W)."""
        batch = batch.to(self.pixels.mean.device)
        domains, views = self.predicting(batch), []
        for images, centers in views_of(batch):
            views.append(completed(self.averaged(self(images, centers, domains), images, centers, domains)))
        return views

    def predicting(self, batch: Batch) -> Tensor | None:
        """The `domains` that the network is told for predicting a batch."""
        return self.domains(batch)

    def averaged(
        self, stages: list[dict[str, Tensor]], images: Tensor, centers: Tensor, domains: Tensor | None = None
    ) -> list[dict[str, Tensor]]:
        """The stages of fields of pictures (B, H, W, 3); with `flip_test`, averaged with the mirrored ones."""
        if not self.flip_test:
            return stages
        mirrored = torch.stack([images.shape[2] - 1 - centers[:, 0], centers[:, 1]], dim=1)
        others = [self.codec.flip(fields) for fields in self(images.flip(2), mirrored, domains)]
        return [{n: (a[n] + b[n]) / 2 for n in a} for a, b in zip(stages, others, strict=True)]


@MODELS.register_module()
class TopDown(Crops, Estimator):
    """Predicts the subject of each crop. `flip_test` averages the fields with those of the mirrored crop."""

    def __init__(self, *args: Any, flip_test: bool = False, **parts: Any):
        super().__init__(*args, **parts)
        self.flip_test = flip_test


def named(poses: Poses, record: Record) -> Poses:
    """The one person of a crop with the subject's box and its number among the annotations, where these are known."""
    if len(poses) != 1 or poses.boxes is not None:
        return poses
    return replace(
        poses,
        boxes=None if record.boxes is None else np.asarray(record.boxes[:1], np.float32),
        ids=None if record.numbers is None else np.asarray(record.numbers[:1]),
    )


def views_of(batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """For every view its pictures (B, H, W, 3) and the subject's position (B, 2), in its input pixels."""
    back = torch.linalg.inv(batch.matrices[:, 0])
    others = [moved(batch.centers, matrix @ back) for matrix in batch.matrices.unbind(1)[1:]]
    return list(zip(batch.images.unbind(1), [batch.centers, *others], strict=True))


def moved(points: Tensor, matrices: Tensor) -> Tensor:
    """Points (B, 2), each through its own matrix (B, 3, 3)."""
    there = (matrices[:, :2, :2] @ points.to(matrices)[..., None])[..., 0] + matrices[:, :2, 2]
    return there.to(points)
