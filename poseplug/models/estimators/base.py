"""What every estimator shares: how its parts are joined, and how they run in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from poseplug.codecs.base import Codec, Targets
from poseplug.errors import ConfigError, MismatchError
from poseplug.models.layers import PixelNorm
from poseplug.poses import Poses
from poseplug.registry import CODECS, MODELS
from poseplug.sample import Batch
from poseplug.skeleton import Skeleton, get_skeleton

Spec = Mapping[str, Any]
IMAGENET = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), order='rgb')


class Estimator(nn.Module):
    """Pixels, backbone, neck, head, codec and loss in a row. Parts are configs or already built.

    `supervision` says which stages of the head are trained: 'every' (intermediate supervision), 'last', or one weight
    a stage. `pixels` are the settings of `PixelNorm`.
    """

    def __init__(
        self,
        skeleton: Skeleton | str | Spec,
        codec: Codec | Spec,
        backbone: nn.Module | Spec,
        head: nn.Module | Spec,
        neck: nn.Module | Spec | None = None,
        loss: nn.Module | Spec | None = None,
        pixels: Spec = IMAGENET,
        supervision: str | Sequence[float] = 'every',
        channels_last: bool = False,
    ):
        super().__init__()
        self.skeleton = get_skeleton(skeleton)
        self.codec: Codec = CODECS.build(codec, skeleton=self.skeleton)
        self.pixels = PixelNorm(**pixels)
        self.backbone = MODELS.build(backbone, input_size=self.codec.input_size)
        self.neck = None
        features = self.backbone
        if neck is not None:
            features = self.neck = MODELS.build(neck, **declared(self.backbone))
        self.head = MODELS.build(head, **declared(features), fields=self.codec.fields, stride=self.codec.grid.stride)
        self.loss = MODELS.build(loss or dict(type='MeanSquaredError'))
        self.stage_weights = stage_weights(supervision, self.head.stages)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._check_strides()
        self.to(memory_format=self.memory_format)

    def forward(self, images: Tensor, centers: Tensor | None = None) -> list[dict[str, Tensor]]:
        """Pictures (B, H, W, 3), BGR, 0 to 255, to the head's stages of fields."""
        features = self.backbone(self.pixels(images).contiguous(memory_format=self.memory_format))
        if self.neck is not None:
            features = self.neck(features)
        return self.head(features, centers=centers) if self.head.uses_centers else self.head(features)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted loss of every trained stage, by name."""
        targets = self.codec.encode(batch.keypoints, batch.visible, batch.people)
        stages = self(batch.images[:, 0], batch.centers)
        losses: dict[str, Tensor] = {}
        for t, (fields, weight) in enumerate(zip(stages, self.stage_weights, strict=True)):
            if weight:
                losses[f'loss_{t + 1}'] = weight * self.stage_loss(fields, targets, t)
        return losses

    def stage_loss(self, fields: dict[str, Tensor], targets: Targets, stage: int) -> Tensor:
        """The loss of one stage: the sum over its fields."""
        wanted = targets.at(stage)
        for name, maps in fields.items():
            if maps.shape != wanted[name].shape:
                raise MismatchError(
                    f'{type(self.head).__name__} predicts {name!r} as {tuple(maps.shape[1:])} but '
                    f'{type(self.codec).__name__} draws {tuple(wanted[name].shape[1:])}, both (channels, rows, '
                    f"columns); set model.codec.input_size to multiples of the backbone's stride"
                )
        return torch.stack([self.loss(m, wanted[n], targets.weights.get(n)) for n, m in fields.items()]).sum()

    def train_step(self, batch: Batch, optim_wrapper: Any) -> dict[str, Tensor]:
        """One optimiser step; returns the losses, with their sum as 'loss'."""
        with optim_wrapper.optim_context(self):
            losses = self.losses(batch.to(self.pixels.mean.device))
        total = torch.stack(list(losses.values())).sum()
        optim_wrapper.update_params(total)
        return {'loss': total.detach(), **{n: v.detach() for n, v in losses.items()}}

    def predict(self, batch: Batch, every_stage: bool = False) -> list[list[Poses]]:
        """The people of every picture, in image pixels: one list a stage, or one list for the last stage alone."""
        raise NotImplementedError(f'{type(self).__name__} does not say in whose frame it predicts')

    def val_step(self, batch: Batch) -> list[Poses]:
        """The people of every picture, as mmengine's runner asks for them."""
        return self.predict(batch)[-1]

    test_step = val_step

    def _check_strides(self) -> None:
        wanted, given = self.codec.grid.stride, self.head.stride
        if wanted != given:
            raise MismatchError(
                f'{type(self.head).__name__} predicts at stride {given:g} but {type(self.codec).__name__} draws at '
                f'stride {wanted:g}; set model.codec.stride={given:g}'
            )


def declared(part: nn.Module) -> dict[str, tuple[int, ...]]:
    """The channels and strides that a backbone or neck declares for its feature maps."""
    missing = [n for n in ('out_channels', 'strides') if not hasattr(part, n)]
    if missing:
        raise ConfigError(f'{type(part).__name__} must declare {" and ".join(missing)}, one number a feature map')
    return {'in_channels': tuple(part.out_channels), 'strides': tuple(part.strides)}


def stage_weights(supervision: str | Sequence[float], stages: int) -> list[float]:
    """One weight a stage from 'every', 'last' or explicit weights."""
    if supervision == 'every':
        return [1.0] * stages
    if supervision == 'last':
        return [0.0] * (stages - 1) + [1.0]
    if isinstance(supervision, str) or len(supervision) != stages:
        raise ConfigError(f"supervision is 'every', 'last' or {stages} weights (one a stage); got {supervision!r}")
    return [float(w) for w in supervision]
