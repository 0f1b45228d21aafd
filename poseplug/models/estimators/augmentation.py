"""How a network predicts from several views of each picture, and from the mirrored ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from poseplug.core.poses import Poses
from poseplug.core.sample import Batch
from poseplug.models.estimators.base import EstimatorInterface, complete_stages


class TTAMixin(EstimatorInterface):
    """The fields of every view of the pictures, with `flip_test` averaged with those of the mirrored ones."""

    codec: Any
    flip_test: bool

    @torch.inference_mode()
    def predict(self, batch: Batch, all_stages: bool = False) -> list[list[Poses]]:
        """The people of every picture, in image pixels: one list a stage, or one list for the last stage alone.

        Fields that a stage does not predict are those of the last stage.
        """
        batch = batch.to(self.input_norm.mean.device)
        domains, views = self.prediction_source_indices(batch), []
        for images, centers in _split_views(
            batch
        ):  # as in `fields`, whose call would be one frame more to the first layer
            views.append(
                complete_stages(self.apply_flip_test(self(images, centers, domains), images, centers, domains))
            )
        wanted = range(0 if all_stages else len(views[0]) - 1, len(views[0]))
        return [self.decode_views([view[t] for view in views], batch) for t in wanted]

    def decode_views(self, view_fields: list[dict[str, Tensor]], batch: Batch) -> list[Poses]:
        """The people of every picture, in image pixels, from the fields of its views."""
        raise NotImplementedError(f'{type(self).__name__} does not say whom its fields show')

    @torch.inference_mode()
    def predict_fields(self, batch: Batch) -> list[list[dict[str, Tensor]]]:
        """What `predict` decodes: for every view of the pictures, the stages of fields (B, C, H, W)."""
        batch = batch.to(self.input_norm.mean.device)
        domains, views = self.prediction_source_indices(batch), []
        for images, centers in _split_views(batch):
            views.append(
                complete_stages(self.apply_flip_test(self(images, centers, domains), images, centers, domains))
            )
        return views

    def prediction_source_indices(self, batch: Batch) -> Tensor | None:
        """The `domains` that the network is told for predicting a batch."""
        return self.source_indices(batch)

    def apply_flip_test(
        self, stages: list[dict[str, Tensor]], images: Tensor, centers: Tensor, source_indices: Tensor | None = None
    ) -> list[dict[str, Tensor]]:
        """The stages of fields of pictures (B, H, W, 3); with `flip_test`, averaged with the mirrored ones."""
        if not self.flip_test:
            return stages
        mirrored = torch.stack([images.shape[2] - 1 - centers[:, 0], centers[:, 1]], dim=1)
        others = [self.codec.flip(fields) for fields in self(images.flip(2), mirrored, source_indices)]
        return [self.codec.average_flipped(a, b) for a, b in zip(stages, others, strict=True)]


def _split_views(batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """For every view its pictures (B, H, W, 3) and the subject's position (B, 2), in its input pixels."""
    back = torch.linalg.inv(batch.image_to_input[:, 0])
    others = [transform_each_point(batch.centers, matrix @ back) for matrix in batch.image_to_input.unbind(1)[1:]]
    images = batch.images.unbind(1)
    if batch.view_sizes:
        images = tuple(i[:, :height, :width] for i, (width, height) in zip(images, batch.view_sizes, strict=True))
    return list(zip(images, [batch.centers, *others], strict=True))


def transform_each_point(points: Tensor, matrices: Tensor) -> Tensor:
    """Points (B, 2), each through its own matrix (B, 3, 3)."""
    there = (matrices[:, :2, :2] @ points.to(matrices)[..., None])[..., 0] + matrices[:, :2, 2]
    return there.to(points)
