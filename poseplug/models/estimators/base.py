"""What every estimator shares: how its parts are joined, and how they run in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poseplug.codecs.base import Codec, MapCodec, Targets
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.poses import Poses
from poseplug.core.sample import Batch
from poseplug.core.skeleton import Skeleton
from poseplug.models.layers.conv import InputNorm
from poseplug.models.losses.base import LossTable
from poseplug.registry import CODECS, MODELS
from poseplug.registry.skeletons import get_skeleton

PartConfig = Mapping[str, Any]
IMAGENET_NORM = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), channel_order='rgb')


class EstimatorInterface:
    """How a run asks an estimator: for the losses of a batch, one optimiser step, or the people of its pictures."""

    input_norm: InputNorm
    backbone: Any
    __call__: Any
    finds_instances: ClassVar[bool] = False  # in whole pictures; else it is told where they are

    def losses(self, batch: Batch, outputs: Any = None) -> dict[str, Tensor]:
        """The weighted loss of every trained stage, by name. `outputs` are what the network made of the first view."""
        raise NotImplementedError(f'{type(self).__name__} does not say what it is trained by')

    def source_indices(self, batch: Batch) -> Tensor | None:
        """(B,) the place of each picture's source among the backbone's experts, or None where it has none."""
        experts = getattr(self.backbone, 'experts', ())
        return source_indices_of(batch, experts, 'model.backbone.experts') if experts else None

    def train_step(self, batch: Batch, optim_wrapper: Any) -> dict[str, Tensor]:
        """One optimiser step; returns the losses, with their sum as 'loss'."""
        batch = batch.to(self.input_norm.mean.device)
        with optim_wrapper.optim_context(self):
            losses = self.losses(batch, self(batch.images[:, 0], batch.centers, self.source_indices(batch)))
        total = torch.stack(list(losses.values())).sum()
        optim_wrapper.update_params(total)
        return {'loss': total.detach(), **{n: v.detach() for n, v in losses.items()}}

    def predict(self, batch: Batch, all_stages: bool = False) -> list[list[Poses]]:
        """The people of every picture, in image pixels: one list a stage, or one list for the last stage alone."""
        raise NotImplementedError(f'{type(self).__name__} does not say in whose frame it predicts')

    def val_step(self, batch: Batch) -> list[Poses]:
        """The people of every picture, as mmengine's runner asks for them."""
        return self.predict(batch)[-1]

    test_step = val_step


class PoseDecoder(nn.Module):
    """Neck, head, codec and loss in a row, behind the features of a backbone. Parts are configs or already built.

    `features` is the part that gives the features, of pictures of the codec's `input_size`. `supervision` says which
    stages of the head are trained: 'all' (intermediate supervision), 'last', or one weight a stage. `loss` is one
    for all fields, a dict by field, or a list of these with one a stage.
    """

    def __init__(
        self,
        skeleton: Skeleton | str | PartConfig,
        codec: Codec | PartConfig,
        features: nn.Module,
        head: nn.Module | PartConfig,
        neck: nn.Module | PartConfig | None = None,
        loss: Any = None,
        supervision: str | Sequence[float] = 'all',
    ):
        super().__init__()
        self.skeleton = get_skeleton(skeleton)
        self.codec: Codec = CODECS.build(codec, skeleton=self.skeleton)
        self.neck = None
        if neck is not None:
            self.neck = _build_connected_part(neck, type(features).__name__, **_feature_arguments(features))
            features = self.neck
        self._check_field_kind(head)
        givers = f'{type(features).__name__} and {type(self.codec).__name__}'
        self.head = _build_connected_part(head, givers, **_feature_arguments(features), **_head_arguments(self.codec))
        self.loss = LossTable(loss, list(self.codec.fields), self.head.num_stages)
        self.stage_weights = _parse_supervision(supervision, self.head.num_stages)
        self._check_grid(givers)
        self.codec.check_stages(type(self.head).__name__, self.head.num_stages)

    def forward_stages(self, features: Sequence[Tensor], centers: Tensor | None = None) -> list[dict[str, Tensor]]:
        """The backbone's features to the head's stages of fields."""
        if self.neck is not None:
            features = self.neck(features)
        return self.head(features, centers=centers) if self.head.uses_centers else self.head(features)

    def compute_stage_losses(
        self, stages: list[dict[str, Tensor]], keypoints: Tensor, visible: Tensor, valid: Tensor
    ) -> dict[str, Tensor]:
        """The weighted loss of every trained stage, by name, for joints (B, N, K, 2) in input pixels."""
        return self.compute_target_losses(stages, self.codec.encode(keypoints, visible, valid))

    def compute_target_losses(self, stages: list[dict[str, Tensor]], targets: Targets) -> dict[str, Tensor]:
        """The weighted loss of every trained stage, by name, against targets."""
        losses: dict[str, Tensor] = {}
        for t, (fields, weight) in enumerate(zip(stages, self.stage_weights, strict=True)):
            if weight:
                losses[f'loss_{t + 1}'] = weight * self.compute_stage_loss(fields, targets, t)
        return losses

    def compute_stage_loss(self, fields: dict[str, Tensor], targets: Targets, stage: int) -> Tensor:
        """The loss of one stage: the sum over its fields."""
        truth, weights = targets.stage_fields(stage), targets.stage_field_weights(stage)
        for name, maps in fields.items():
            if maps.shape != truth[name].shape:
                raise MismatchError(
                    f'{type(self.head).__name__} predicts {name!r} as {tuple(maps.shape[1:])} but '
                    f'{type(self.codec).__name__} draws {tuple(truth[name].shape[1:])}, both (channels, rows, '
                    f"columns); set model.codec.input_size to multiples of the backbone's stride"
                )
        return torch.stack([self.loss.get_loss(stage, n)(m, truth[n], weights.get(n)) for n, m in fields.items()]).sum()

    def decode(self, fields: dict[str, Tensor], batch: Batch) -> list[Poses]:
        """The people that the fields of each picture's first view show, in image pixels."""
        poses = self.codec.decode({name: maps.float() for name, maps in fields.items()})
        back = torch.linalg.inv(batch.image_to_input[:, 0]).to(poses.keypoints)[poses.image_indices]
        keypoints = poses.keypoints @ back[:, :2, :2].mT + back[:, None, :2, 2]
        return replace(poses, keypoints=keypoints).numpy().split_by_image(len(batch))

    def _check_field_kind(self, head: nn.Module | PartConfig) -> None:
        """The head must predict the kind of fields that the codec reads."""
        part = type(head) if isinstance(head, nn.Module) else MODELS.resolve_type(head.get('type'), head)[0]
        kinds = getattr(part, 'field_kinds', ('maps',))
        if self.codec.field_kind not in kinds:
            others = [
                n for n in MODELS.list_names() if self.codec.field_kind in getattr(MODELS.get(n), 'field_kinds', ())
            ]
            raise MismatchError(
                f'{part.__name__} predicts {" or ".join(kinds)}, but {type(self.codec).__name__} reads '
                f'{self.codec.field_kind} {self.codec.shapes}; set model.head.type to one of {", ".join(others)}, or '
                f'take another codec'
            )

    def _check_grid(self, provider_names: str) -> None:
        """The codec must draw on the grid that the head predicts: one stride, and an input that it divides."""
        if not isinstance(self.codec, MapCodec):
            return
        codec, head, stride, given = (
            type(self.codec).__name__,
            type(self.head).__name__,
            self.codec.stride,
            self.head.stride,
        )
        if stride != given:
            raise MismatchError(
                f'{head} predicts at stride {given:g} but {codec} draws at stride {stride:g}; set '
                f'model.codec.stride={given:g}'
            )
        width, height = self.codec.input_size
        if width % stride or height % stride:
            near = tuple(max(1, round(n / stride)) * stride for n in (width, height))
            raise MismatchError(
                f'{codec} takes an input of {(width, height)} px but {provider_names.split(" and ")[0]} and {head} '
                f'work at stride {stride:g}, which does not divide it; set model.codec.input_size={near}'
            )


class Estimator(EstimatorInterface, PoseDecoder):
    """Pixels and a backbone before its own decoder. `input_norm` are the settings of `InputNorm`."""

    def __init__(
        self,
        skeleton: Skeleton | str | PartConfig,
        codec: Codec | PartConfig,
        backbone: nn.Module | PartConfig,
        head: nn.Module | PartConfig,
        neck: nn.Module | PartConfig | None = None,
        loss: Any = None,
        input_norm: PartConfig = IMAGENET_NORM,
        supervision: str | Sequence[float] = 'all',
        channels_last: bool = False,
    ):
        reads: Codec = CODECS.build(codec, skeleton=get_skeleton(skeleton))
        seen: nn.Module = MODELS.build(backbone, input_size=reads.input_size)
        super().__init__(skeleton, reads, seen, head, neck, loss, supervision)
        self.input_norm, self.backbone = InputNorm(**input_norm), seen
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def forward(
        self, images: Tensor, centers: Tensor | None = None, source_indices: Tensor | None = None
    ) -> list[dict[str, Tensor]]:
        """Pictures (B, H, W, 3), BGR, 0 to 255, to the head's stages of fields.

        `source_indices` (B,) are the places of the pictures' sources among the backbone's experts, where it has some.
        """
        pixels = self.input_norm(images).contiguous(memory_format=self.memory_format)
        features = self.backbone(pixels) if source_indices is None else self.backbone(pixels, source_indices)
        return self.forward_stages(features, centers)

    def losses(self, batch: Batch, outputs: Any = None) -> dict[str, Tensor]:
        """The weighted loss of every trained stage, by name. `outputs` are the head's stages for the first view."""
        if outputs is None:
            outputs = self(batch.images[:, 0], batch.centers, self.source_indices(batch))
        return self.compute_stage_losses(outputs, batch.keypoints, batch.visible, batch.valid)


def _build_connected_part(spec: nn.Module | PartConfig, provider_names: str, **provided: Any) -> Any:
    """A part built with what the parts before it declare (`givers`: their names); a contradiction names them all.

    A part that comes already built is checked by what it keeps of these settings under the same names. The strides that
    a neck keeps are those of what it gives.
    """
    try:
        part = MODELS.build(spec, **provided)
    except MismatchError as error:
        raise MismatchError(f'{error}. It is joined to {provider_names}') from None
    own = ('stride', 'strides') if hasattr(part, 'out_channels') else ('stride',)
    for name, value in provided.items():
        kept = getattr(part, name, value)
        if _list_to_tuple(kept) != _list_to_tuple(value) and name not in own:
            raise MismatchError(
                f'{type(part).__name__} was built with {name}={_list_to_tuple(kept)}, but it is joined to '
                f'{provider_names}, with {name}={_list_to_tuple(value)}; build it with {name}={_list_to_tuple(value)}'
            )
    return part


def _list_to_tuple(value: Any) -> Any:
    """Lists as tuples, so that settings compare."""
    return tuple(value) if isinstance(value, Sequence) else value


def _head_arguments(codec: Codec) -> dict[str, Any]:
    """What a codec tells the head that predicts for it."""
    stride = codec.stride if isinstance(codec, MapCodec) else None
    return dict(fields=codec.fields, stride=stride, shapes=codec.shapes, input_size=codec.input_size)


def source_indices_of(batch: Batch, source_names: Sequence[str], setting: str) -> Tensor:
    """(B,) the place of each picture's source among the `known` names, which a config gives in `setting`."""
    strange = sorted({r.source for r in batch.records} - set(source_names))
    if strange:
        raise ConfigError(
            f'{setting} names {", ".join(source_names)}, and not the source {strange[0]!r} of a picture; add it'
        )
    return torch.tensor([source_names.index(r.source) for r in batch.records], device=batch.images.device)


def _feature_arguments(part: nn.Module) -> dict[str, tuple[int, ...]]:
    """The channels and strides that a backbone or neck declares for its feature maps."""
    missing = [n for n in ('out_channels', 'strides') if not hasattr(part, n)]
    if missing:
        raise ConfigError(f'{type(part).__name__} must declare {" and ".join(missing)}, one number a feature map')
    channels: Any = part.out_channels
    strides: Any = part.strides
    return {'in_channels': tuple(channels), 'strides': tuple(strides)}


def complete_stages(stages: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Stages that can all be decoded: what a stage does not predict is that of the last one."""
    return [{**stages[-1], **fields} for fields in stages]


def _parse_supervision(supervision: str | Sequence[float], num_stages: int) -> list[float]:
    """One weight a stage from 'all', 'last' or explicit weights."""
    if supervision == 'all':
        return [1.0] * num_stages
    if supervision == 'last':
        return [0.0] * (num_stages - 1) + [1.0]
    if isinstance(supervision, str) or len(supervision) != num_stages:
        raise ConfigError(f"supervision is 'all', 'last' or {num_stages} weights (one a stage); got {supervision!r}")
    return [float(w) for w in supervision]
