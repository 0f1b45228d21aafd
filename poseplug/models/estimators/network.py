"""The network of an estimator: from the pixels of a batch to the fields of every stage.

The builders here connect its parts: what a part declares is handed to the next one, and a mismatch is an error that
names both parts, both numbers and the setting to change.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from poseplug.codecs.base import Codec, MapCodec
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.sample import Batch
from poseplug.core.skeleton import Skeleton
from poseplug.models.heads.base import Head
from poseplug.models.layers.conv import InputNorm
from poseplug.registry import CODECS, MODELS
from poseplug.registry.skeletons import get_skeleton
from poseplug.registry.wiring import Slot

PartConfig = Mapping[str, object]
StageFields = dict[str, Tensor]
_FEATURE_VALUES = ('in_channels', 'strides')
# The parts of a network, and what is provided to them: the codec's grid and the feature maps of the part before.
NETWORK_SLOTS: Mapping[str, Slot] = {
    'codec': Slot('codec', ('skeleton',)),
    'input_norm': Slot(InputNorm),
    'backbone': Slot('model', ('input_size',)),
    'neck': Slot('model', _FEATURE_VALUES),
    'head': Slot('model', (*_FEATURE_VALUES, 'fields', 'stride', 'shapes', 'input_size', 'aligned')),
}
# The mean and deviation of ImageNet's training images, in 0 to 255; torchvision has them as fractions.
IMAGENET_NORM: PartConfig = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), channel_order='rgb')


class FieldNetwork(nn.Module):
    """The contract of a network: pixels to stages of fields.

    Args:
        input_norm: Normalizes the pixels.
        backbone: Images (B, 3, H, W) to feature maps. One with `experts` also receives the index of every image's
            source among them.
    """

    memory_format = torch.contiguous_format
    compute_dtype: torch.dtype | None = None

    def __init__(self, input_norm: InputNorm, backbone: nn.Module):
        super().__init__()
        self.input_norm, self.backbone = input_norm, backbone

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        # The buffer that every network has, with or without weights.
        return self.input_norm.mean.device

    @property
    @abstractmethod
    def num_stages(self) -> int:
        """The number of stages of the head that predicts."""

    def set_memory_format(self, memory_format: torch.memory_format) -> None:
        """Set the memory format of the weights and of the images that pass through them."""
        self.memory_format = memory_format
        self.to(memory_format=memory_format)  # type: ignore[call-overload]

    def set_compute_dtype(self, dtype: torch.dtype | None) -> None:
        """Set the type in which convolutions and matrix products are computed in prediction; None for the weights'.

        The fields come out as float32 whatever the type.
        """
        self.compute_dtype = dtype

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the network computes in `compute_dtype`."""
        if self.compute_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute_dtype)

    def normalize(self, images: Tensor) -> Tensor:
        """Return the normalized pixels (B, 3, H, W) of images (B, H, W, 3), BGR, 0 to 255."""
        pixels: Tensor = self.input_norm(images)
        # Normalized here and not in the loader, whose workers send bytes: a quarter of the size of floats.
        return pixels.contiguous(memory_format=self.memory_format)

    @abstractmethod
    def source_indices(self, batch: Batch) -> Tensor | None:
        """Return what `forward` receives as `source_indices` in training."""

    @abstractmethod
    def prediction_source_indices(self, batch: Batch) -> Tensor | None:
        """Return what `forward` receives as `source_indices` in prediction."""

    def select_centers(self, batch: Batch) -> Tensor:
        """Return what `forward` receives as `centers`: of the subjects, or of all instances if the head reads them."""
        # Heads of other packages need not declare it.
        reads_all = getattr(self.active_parts()['head'], 'uses_instance_centers', False)
        return batch.list_instance_centers() if reads_all else batch.centers

    @abstractmethod
    def active_parts(self) -> dict[str, nn.Module]:
        """Return the parts that features pass through in prediction, in order: backbone, neck (if any), head."""

    @abstractmethod
    def inactive_parts(self) -> dict[str, nn.Module]:
        """Return the parts that prediction does not use, by name."""


class Network(FieldNetwork):
    """Input normalization, backbone, neck and head in a row.

    Args:
        input_norm: As in `FieldNetwork`.
        backbone: As in `FieldNetwork`.
        neck: Feature maps to feature maps; None for none.
        head: Feature maps to the fields of every stage.
        channels_last: Keep weights and images in torch's memory format channels_last.
    """

    def __init__(
        self,
        input_norm: InputNorm,
        backbone: nn.Module,
        neck: nn.Module | None,
        head: Head,
        channels_last: bool = False,
    ):
        super().__init__(input_norm, backbone)
        self.neck, self.head = neck, head
        self.set_memory_format(torch.channels_last if channels_last else torch.contiguous_format)

    @property
    def num_stages(self) -> int:
        """The number of stages of the head."""
        return self.head.num_stages

    def forward(
        self, images: Tensor, centers: Tensor | None = None, source_indices: Tensor | None = None
    ) -> list[StageFields]:
        """Predict the fields of every stage.

        Args:
            images: (B, H, W, 3), BGR, 0 to 255.
            centers: (B, 2), the subject's position in input px, for heads that use it.
            source_indices: (B,), index of every image's source among the backbone's experts, if it has experts.

        Returns:
            The stages, each with fields (B, C, ...) by name.
        """
        pixels = self.normalize(images)
        with self.autocast():
            features = self.backbone(pixels) if source_indices is None else self.backbone(pixels, source_indices)
            stages = predict_from_features(self.neck, self.head, features, centers)
        return stages if self.compute_dtype is None else convert_to_float32(stages)

    def source_indices(self, batch: Batch) -> Tensor | None:
        """Return the index (B,) of every image's source among the backbone's experts; None if it has none."""
        experts = getattr(self.backbone, 'experts', ())
        return source_indices_of(batch, experts, 'model.backbone.experts') if experts else None

    def prediction_source_indices(self, batch: Batch) -> Tensor | None:
        """Return what `source_indices` returns."""
        return self.source_indices(batch)

    def active_parts(self) -> dict[str, nn.Module]:
        """Return backbone, neck (if any) and head."""
        neck = {} if self.neck is None else {'neck': self.neck}
        return {'backbone': self.backbone, **neck, 'head': self.head}

    def inactive_parts(self) -> dict[str, nn.Module]:
        """Return nothing: prediction uses every part."""
        return {}


def predict_from_features(
    neck: nn.Module | None, head: Head, features: Sequence[Tensor], centers: Tensor | None = None
) -> list[StageFields]:
    """Pass a backbone's feature maps through a neck and a head.

    Args:
        neck: The neck; None for none.
        head: The head.
        features: Feature maps, each (B, C, H, W).
        centers: (B, 2), the subject's position in input px, for heads that use it.

    Returns:
        The stages, each with fields (B, C, ...) by name.
    """
    if neck is not None:
        features = neck(features)
    # Most heads know no centers, and have no argument for them.
    return head(features, centers=centers) if head.uses_centers else head(features)


def convert_to_float32(stages: Sequence[Mapping[str, Tensor]]) -> list[StageFields]:
    """Return stages whose fields of floating-point numbers are float32."""
    return [{name: field.float() if field.is_floating_point() else field for name, field in s.items()} for s in stages]


def complete_stages(stages: Sequence[Mapping[str, Tensor]]) -> list[StageFields]:
    """Return stages that can all be decoded: fields that a stage does not predict are those of the last one."""
    return [{**stages[-1], **fields} for fields in stages]


def source_indices_of(batch: Batch, source_names: Sequence[str], setting: str) -> Tensor:
    """Return the index of every image's source.

    Args:
        batch: B images with records.
        source_names: The known sources.
        setting: The setting of the config that names them, for the message.

    Returns:
        (B,), int64.

    Raises:
        ConfigError: The source of an image is unknown.
    """
    unknown = sorted({record.source for record in batch.records} - set(source_names))
    if unknown:
        known = ', '.join(source_names)
        raise ConfigError(f'{setting} names {known}, and not the source {unknown[0]!r} of an image; add it')
    return torch.tensor([source_names.index(r.source) for r in batch.records], device=batch.images.device)


# --- connecting parts -------------------------------------------------------------------------------------------------


def build_codec(spec: Codec | PartConfig, skeleton: Skeleton | str | PartConfig) -> Codec:
    """Build a codec for a skeleton, or return one that is already built."""
    codec: Codec = CODECS.build(spec, skeleton=get_skeleton(skeleton))
    return codec


def build_network(
    codec: Codec,
    backbone: nn.Module | PartConfig,
    head: nn.Module | PartConfig,
    neck: nn.Module | PartConfig | None = None,
    input_norm: PartConfig = IMAGENET_NORM,
    channels_last: bool = False,
) -> Network:
    """Build a network that predicts the fields of a codec.

    Args:
        codec: Its fields, grid and input size are handed to the parts that need them.
        backbone: A config, or the built part.
        head: A config, or the built part.
        neck: A config, or the built part; None for none.
        input_norm: Settings of `InputNorm`.
        channels_last: As in `Network`.

    Raises:
        ConfigError: A setting is unknown or wrong, or a part does not declare its feature maps.
        MismatchError: Two parts do not fit each other.
    """
    built_backbone: nn.Module = MODELS.build(backbone, **NETWORK_SLOTS['backbone'].select(_list_codec_values(codec)))
    built_neck, built_head = build_neck_and_head(codec, built_backbone, head, neck)
    return Network(InputNorm(**input_norm), built_backbone, built_neck, built_head, channels_last)  # type: ignore[arg-type]


def build_neck_and_head(
    codec: Codec, backbone: nn.Module, head: nn.Module | PartConfig, neck: nn.Module | PartConfig | None = None
) -> tuple[nn.Module | None, Head]:
    """Build what follows a backbone, for the fields of a codec.

    Args:
        codec: The codec of the fields.
        backbone: Declares `out_channels` and `strides` of its feature maps.
        head: A config, or the built part.
        neck: A config, or the built part; None for none.

    Returns:
        The neck, or None, and the head.

    Raises:
        ConfigError: A setting is unknown or wrong, or a part does not declare its feature maps.
        MismatchError: Two parts do not fit each other.
    """
    built_neck, features = None, backbone
    if neck is not None:
        values = NETWORK_SLOTS['neck'].select(_list_feature_values(backbone))
        built_neck = features = _build_connected_part(neck, type(backbone).__name__, **values)
    _check_field_kind(codec, head)
    provider_names = f'{type(features).__name__} and {type(codec).__name__}'
    values = NETWORK_SLOTS['head'].select({**_list_feature_values(features), **_list_codec_values(codec)})
    built_head = _build_connected_part(head, provider_names, **values)
    assert isinstance(built_head, Head)
    _check_grid(codec, built_head, type(features).__name__)
    codec.check_stages(type(built_head).__name__, built_head.num_stages)
    return built_neck, built_head


def _build_connected_part(spec: nn.Module | PartConfig, provider_names: str, **provided: object) -> nn.Module:
    """Build a part from what other parts provide.

    A part that is already built is checked: what it keeps under the names of these settings must be equal. The strides
    that a neck keeps are those of its output.
    """
    try:
        part: nn.Module = MODELS.build(spec, **provided)
    except MismatchError as error:
        raise MismatchError(f'{error}. It is joined to {provider_names}') from None
    unchecked = ('stride', 'strides') if hasattr(part, 'out_channels') else ('stride',)
    for name, value in provided.items():
        expected, actual = _list_to_tuple(value), _list_to_tuple(getattr(part, name, value))
        if actual != expected and name not in unchecked:
            raise MismatchError(
                f'{type(part).__name__} was built with {name}={actual}, but it is joined to {provider_names}, with '
                f'{name}={expected}; build it with {name}={expected}'
            )
    return part


def _list_to_tuple(value: object) -> object:
    """Lists as tuples, so that settings compare."""
    return tuple(value) if isinstance(value, Sequence) else value


def _list_codec_values(codec: Codec) -> dict[str, object]:
    """What a codec gives to the parts of the network; one without a grid has no stride, and is aligned."""
    # What a codec does not give keeps the meaning of "no cells".
    return {'stride': None, 'aligned': True, **{name: getattr(codec, name) for name in codec.gives}}


def _list_feature_values(part: nn.Module) -> dict[str, object]:
    """The channels and strides that a backbone or neck declares for its feature maps."""
    missing = [n for n in ('out_channels', 'strides') if not hasattr(part, n)]
    if missing:
        names = ' and '.join(missing)
        raise ConfigError(f'{type(part).__name__} must declare {names}, one number per feature map')
    return {'in_channels': tuple(part.out_channels), 'strides': tuple(part.strides)}  # type: ignore[arg-type]


def _check_field_kind(codec: Codec, head: nn.Module | PartConfig) -> None:
    """The head must predict the kind of fields that the codec reads."""
    head_type = type(head) if isinstance(head, nn.Module) else MODELS.resolve_type(head.get('type'), head)[0]
    kinds = getattr(head_type, 'field_kinds', ('maps',))
    empty = [name for name, channels in codec.fields.items() if not channels]
    if empty:
        missing = 'limbs, along which limb fields run' if 'paf' in empty else 'what these fields show'
        raise MismatchError(
            f'{head_type.__name__} would predict {", ".join(empty)} without channels: skeleton {codec.skeleton.name!r} '
            f'has no {missing}; add them to the skeleton, or set model.codec.type to another codec'
        )
    if codec.field_kind in kinds:
        return
    # Only on the way to an error: it imports every registered part.
    fitting = [n for n in MODELS.list_names() if codec.field_kind in getattr(MODELS.get(n), 'field_kinds', ())]
    raise MismatchError(
        f'{head_type.__name__} predicts {" or ".join(kinds)}, but {type(codec).__name__} reads {codec.field_kind} '
        f'{codec.shapes}; set model.head.type to one of {", ".join(fitting)}, or take another codec'
    )


def _check_grid(codec: Codec, head: Head, feature_name: str) -> None:
    """The codec must draw on the grid that the head predicts: one stride, and an input that it divides."""
    if not isinstance(codec, MapCodec):
        return
    codec_name, head_name, stride = type(codec).__name__, type(head).__name__, codec.stride
    if stride != head.stride:
        raise MismatchError(
            f'{head_name} predicts at stride {head.stride:g} but {codec_name} draws at stride {stride:g}; set '
            f'model.codec.stride={head.stride:g}'
        )
    width, height = codec.input_size
    # Only the input of the config: whole images of other sizes are checked when they are predicted.
    if width % stride or height % stride:
        nearest = tuple(max(1, round(n / stride)) * stride for n in (width, height))
        raise MismatchError(
            f'{codec_name} takes an input of {(width, height)} px but {feature_name} and {head_name} work at stride '
            f'{stride:g}, which does not divide it; set model.codec.input_size={nearest}'
        )
