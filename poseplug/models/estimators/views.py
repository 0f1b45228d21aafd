"""How a network predicts from several views of each picture, and from the mirrored ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from poseplug.models.estimators.base import Steps, completed
from poseplug.poses import Poses
from poseplug.sample import Batch


class Views(Steps):
    """The fields of every view of the pictures, with `flip_test` averaged with those of the mirrored ones."""

    codec: Any
    flip_test: bool

    @torch.inference_mode()
    def predict(self, batch: Batch, every_stage: bool = False) -> list[list[Poses]]:
        """The people of every picture, in image pixels: one list a stage, or one list for the last stage alone.

        Fields that a stage does not predict are those of the last stage.
        """
        batch = batch.to(self.pixels.mean.device)
        domains, views = self.predicting(batch), []
        for images, centers in views_of(batch):  # as in `fields`, whose call would be one frame more to the first layer
            views.append(completed(self.averaged(self(images, centers, domains), images, centers, domains)))
        wanted = range(0 if every_stage else len(views[0]) - 1, len(views[0]))
        return [self.people([view[t] for view in views], batch) for t in wanted]

    def people(self, views: list[dict[str, Tensor]], batch: Batch) -> list[Poses]:
        """The people of every picture, in image pixels, from the fields of its views."""
        raise NotImplementedError(f'{type(self).__name__} does not say whom its fields show')

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
        return [self.codec.averaged(a, b) for a, b in zip(stages, others, strict=True)]


def views_of(batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """For every view its pictures (B, H, W, 3) and the subject's position (B, 2), in its input pixels."""
    back = torch.linalg.inv(batch.matrices[:, 0])
    others = [moved(batch.centers, matrix @ back) for matrix in batch.matrices.unbind(1)[1:]]
    images = batch.images.unbind(1)
    if batch.extents:
        images = tuple(i[:, :height, :width] for i, (width, height) in zip(images, batch.extents, strict=True))
    return list(zip(images, [batch.centers, *others], strict=True))


def moved(points: Tensor, matrices: Tensor) -> Tensor:
    """Points (B, 2), each through its own matrix (B, 3, 3)."""
    there = (matrices[:, :2, :2] @ points.to(matrices)[..., None])[..., 0] + matrices[:, :2, 2]
    return there.to(points)
