"""Weights of other keypoints: the channels of a head, taken by the names of their keypoints."""

from __future__ import annotations

__all__ = ['KeypointMapping', 'map_keypoint_weights']

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from poseplug.codecs.base import Codec
from poseplug.core.errors import CheckpointError
from poseplug.core.skeleton_checks import normalize_keypoint_name
from poseplug.models.heads.base import FieldAxis, Head


@dataclass(frozen=True)
class KeypointMapping:
    """Weights with the channels of a model's keypoints.

    Attributes:
        state_dict: the weights by name; channels of keypoints that the file lacks are those of the model.
        mapped: the names of the tensors whose channels were taken by keypoint.
        missing: the model's keypoints that the file lacks.
    """

    state_dict: dict[str, Tensor]
    mapped: list[str]
    missing: list[str]


def map_keypoint_weights(
    codec: Codec, head: nn.Module, model_state: Mapping[str, Tensor], state_dict: Mapping[str, Tensor],
    file_keypoints: Sequence[str],
) -> KeypointMapping:  # fmt: skip
    """Select the channels of a head by the names of their keypoints.

    Args:
        codec: names the channels of the head's fields.
        head: the head, which is called 'head' in the names of the weights.
        model_state: the model's weights by name.
        state_dict: the weights of a file, for its keypoints.
        file_keypoints: their names.

    Returns:
        The weights for the codec's keypoints.

    Raises:
        CheckpointError: the head does not say which of its channels are those of a keypoint, or it has other layers
            than the file.
    """
    axes = head.list_field_axes() if isinstance(head, Head) else []
    if not axes:
        raise CheckpointError(
            f'{type(head).__name__} does not say which of its channels belong to which keypoint, so weights of other '
            f'keypoints cannot be taken by name; use the skeleton that they were trained for'
        )
    if not any(name.startswith('head.') for name in model_state):
        raise CheckpointError(
            'this model has a head per data set, so weights of other keypoints cannot be taken by name; use the '
            'skeletons that they were trained for'
        )
    # Both by the model's codec: the file has the same fields, of other keypoints.
    file_names, model_names = codec.name_channels(file_keypoints), codec.name_channels(codec.skeleton.keypoints)
    mapped = dict(state_dict)
    for axis in axes:
        name = f'head.{axis.tensor}'
        if name not in state_dict or name not in model_state:
            raise CheckpointError(f'{name} is not in the file or not in the model: they have other heads')
        old_channels, new_channels = _list_channels(axis, file_names), _list_channels(axis, model_names)
        mapped[name] = _map_tensor(name, axis, state_dict[name], model_state[name], old_channels, new_channels)
    known = set(map(normalize_keypoint_name, file_keypoints))
    missing = [name for name in codec.skeleton.keypoints if normalize_keypoint_name(name) not in known]
    return KeypointMapping(mapped, [f'head.{axis.tensor}' for axis in axes], missing)


def _list_channels(axis: FieldAxis, names: Mapping[str, Sequence[str]]) -> list[tuple[str, str, int]]:
    """What each channel along an axis is: the field, the keypoint, and which of its numbers."""
    return [
        (field, normalize_keypoint_name(name), i)
        for field in axis.fields
        for name in names[field]
        for i in range(axis.repeats)
    ]


def _map_tensor(
    name: str,
    axis: FieldAxis,
    source: Tensor,
    target: Tensor,
    source_channels: Sequence[tuple[str, str, int]],
    target_channels: Sequence[tuple[str, str, int]],
) -> Tensor:
    """The tensor of a file with the channels of a model along an axis; those that the file lacks are the model's."""
    source, result = source.movedim(axis.axis, 0), target.detach().clone().movedim(axis.axis, 0)
    num_source, num_target = len(source_channels), len(target_channels)
    # Channels that belong to no keypoint, as image features that a later stage reads; they are equal in both.
    rest = len(source) - num_source
    if source.shape[1:] != result.shape[1:] or rest != len(result) - num_target:
        raise CheckpointError(
            f'{name}: {tuple(source.shape)} in the file, {tuple(result.shape)} in the model, which differ by more than '
            f'the keypoints; use weights of the same head'
        )
    # Before and behind the keypoints everything is taken over.
    result[: axis.start] = source[: axis.start]
    result[axis.start + num_target :] = source[axis.start + num_source :]
    positions = {channel: axis.start + i for i, channel in enumerate(source_channels)}
    for i, channel in enumerate(target_channels):
        if channel in positions:
            result[axis.start + i] = source[positions[channel]]
    # safetensors refuses tensors that are not contiguous.
    return result.movedim(0, axis.axis).contiguous()
