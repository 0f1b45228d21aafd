"""Codec, backbone, neck and head, built and connected to a network.

What a part declares is handed to the next one, and a mismatch is an error that names both parts, both numbers and the
setting to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from poseplug.codecs.base import Codec, MapCodec
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.skeleton import Skeleton
from poseplug.models.estimators.network import Network
from poseplug.models.heads.base import Head
from poseplug.models.layers.input_norm import InputNorm
from poseplug.registry import CODECS, MODELS
from poseplug.registry.skeletons import get_skeleton
from poseplug.registry.wiring import Slot

PartConfig = Mapping[str, object]
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
    built_backbone: nn.Module = MODELS.build(
        backbone, **NETWORK_SLOTS['backbone'].select_values(_list_codec_values(codec))
    )
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
        values = NETWORK_SLOTS['neck'].select_values(_list_feature_values(backbone))
        built_neck = features = _build_connected_part(neck, type(backbone).__name__, **values)
    _check_field_kind(codec, head)
    provider_names = f'{type(features).__name__} and {type(codec).__name__}'
    values = NETWORK_SLOTS['head'].select_values({**_list_feature_values(features), **_list_codec_values(codec)})
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
