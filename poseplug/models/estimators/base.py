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
        self.backbone: nn.Module = MODELS.build(backbone, input_size=self.codec.input_size)
        self.neck = None
        features = self.backbone
        if neck is not None:
            features = self.neck = joined(neck, type(self.backbone).__name__, **declared(self.backbone))
        givers = f'{type(features).__name__} and {type(self.codec).__name__}'
        wanted = dict(fields=self.codec.fields, stride=self.codec.grid.stride)
        self.head = joined(head, givers, **declared(features), **wanted)
        self.loss = MODELS.build(loss or dict(type='MeanSquaredError'))
        self.stage_weights = stage_weights(supervision, self.head.stages)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._check_grid()
        self.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def forward(self, images: Tensor, centers: Tensor | None = None) -> list[dict[str, Tensor]]:
        """Pictures (B, H, W, 3), BGR, 0 to 255, to the head's stages of fields."""
        features = self.backbone(self.pixels(images).contiguous(memory_format=self.memory_format))
        if self.neck is not None:
            features = self.neck(features)
        return self.head(features, centers=centers) if self.head.uses_centers else self.head(features)

    def losses(self, batch: Batch, stages: list[dict[str, Tensor]] | None = None) -> dict[str, Tensor]:
        """The weighted loss of every trained stage, by name. `stages` are the head's fields of the first view."""
        targets = self.codec.encode(batch.keypoints, batch.visible, batch.people)
        stages = self(batch.images[:, 0], batch.centers) if stages is None else stages
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
        batch = batch.to(self.pixels.mean.device)
        with optim_wrapper.optim_context(self):
            losses = self.losses(batch, self(batch.images[:, 0], batch.centers))
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

    def _check_grid(self) -> None:
        """The codec must draw on the grid that the head predicts: one stride, and an input that it divides."""
        codec, head = type(self.codec).__name__, type(self.head).__name__
        wanted, given = self.codec.grid.stride, self.head.stride
        if wanted != given:
            raise MismatchError(
                f'{head} predicts at stride {given:g} but {codec} draws at stride {wanted:g}; set '
                f'model.codec.stride={given:g}'
            )
        width, height = self.codec.input_size
        if width % wanted or height % wanted:
            near = tuple(max(1, round(n / wanted)) * int(wanted) for n in (width, height))
            raise MismatchError(
                f'{codec} takes an input of {(width, height)} px but {type(self.backbone).__name__} and {head} work at '
                f'stride {wanted:g}, which does not divide it; set model.codec.input_size={near}'
            )


def joined(spec: nn.Module | Spec, givers: str, **wired: Any) -> Any:
    """A part built with what the parts before it declare (`givers`: their names); a contradiction names them all.

    A part that comes already built is checked by what it keeps of these settings under the same names.
    """
    try:
        part = MODELS.build(spec, **wired)
    except MismatchError as error:
        raise MismatchError(f'{error}. It is joined to {givers}') from None
    for name, value in wired.items():
        kept = getattr(part, name, value)
        if plain(kept) != plain(value) and name != 'stride':
            raise MismatchError(
                f'{type(part).__name__} was built with {name}={plain(kept)}, but it is joined to {givers}, with '
                f'{name}={plain(value)}; build it with {name}={plain(value)}'
            )
    return part


def plain(value: Any) -> Any:
    """Lists as tuples, so that settings compare."""
    return tuple(value) if isinstance(value, Sequence) else value


def declared(part: nn.Module) -> dict[str, tuple[int, ...]]:
    """The channels and strides that a backbone or neck declares for its feature maps."""
    missing = [n for n in ('out_channels', 'strides') if not hasattr(part, n)]
    if missing:
        raise ConfigError(f'{type(part).__name__} must declare {" and ".join(missing)}, one number a feature map')
    channels: Any = part.out_channels
    strides: Any = part.strides
    return {'in_channels': tuple(channels), 'strides': tuple(strides)}


def stage_weights(supervision: str | Sequence[float], stages: int) -> list[float]:
    """One weight a stage from 'every', 'last' or explicit weights."""
    if supervision == 'every':
        return [1.0] * stages
    if supervision == 'last':
        return [0.0] * (stages - 1) + [1.0]
    if isinstance(supervision, str) or len(supervision) != stages:
        raise ConfigError(f"supervision is 'every', 'last' or {stages} weights (one a stage); got {supervision!r}")
    return [float(w) for w in supervision]
