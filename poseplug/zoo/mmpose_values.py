"""Tensors of MMPose that are changed or split, not only renamed."""

from __future__ import annotations

__all__ = [
    'convert_flow_weight',
    'fold_conv_biases',
    'join_heatmap_tag_channels',
    'join_udp_channels',
    'split_heatmap_tag_channels',
    'split_udp_channels',
]

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from poseplug.core.errors import CheckpointError

_FLOW_NAME = re.compile(r'head\.loss_module\.flow_model\.([st])\.(\d+)\.(\d)\.(weight|bias)')
_FLOW_PARTS = {'s': 'scales', 't': 'moves'}
_LAST_LINEAR = '4'  # index of the last layer of a flow's small networks, behind two layers and two activations


def fold_conv_biases(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Subtract the bias of a convolution from the mean of the batch norm behind it.

    They are named `NAME.conv` and `NAME.bn`, or, in a head, by one number after the other. A norm subtracts what a bias
    adds, so the convolutions of these networks have no bias here. The biases themselves are returned as they are.

    Args:
        state_dict: foreign weights by name.

    Returns:
        The weights with folded means.
    """
    folded = dict(state_dict)
    for name, bias in state_dict.items():
        mean_name = _name_mean_behind(name)
        if mean_name in state_dict:
            folded[mean_name] = state_dict[mean_name] - bias
    return folded


def _name_mean_behind(name: str) -> str:
    """The name of the mean of the norm behind a convolution's bias; '' if the name is none of a bias before a norm."""
    if name.endswith('.conv.bias'):
        return name.removesuffix('.conv.bias') + '.bn.running_mean'
    match = re.fullmatch(r'(head\.conv_layers\.)(\d+)\.bias', name)
    return f'{match[1]}{int(match[2]) + 1}.running_mean' if match else ''


def convert_flow_weight(name: str, value: Tensor, model_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a weight of RLE's flow, in which MMPose masks one of two coordinates and poseplug has one alone.

    MMPose applies its networks from the last to the first, and the last one reads x.

    Args:
        name: in the file.
        value: of the file.
        model_state: the model's tensors by name.

    Returns:
        The part of the weight that is not masked, by the model's name; empty if the name is another one, or the model
        has no flow.
    """
    match = _FLOW_NAME.fullmatch(name)
    if match is None:
        return {}
    part, index, layer, kind = match.groups()
    ending = f'.flow.{_FLOW_PARTS[part]}.'
    # Counted in the model: the file alone does not say whether its last network is the first one here.
    num_networks = len({key.split(ending)[1].split('.')[0] for key in model_state if ending in key})
    our_index = num_networks - 1 - int(index)
    target = next((key for key in model_state if key.endswith(f'{ending}{our_index}.{layer}.{kind}')), None)
    if target is None:
        return {}
    condition = our_index % 2  # the coordinate that the network reads: x in the first one, y in the second
    if layer == '0' and kind == 'weight':
        value = value[:, condition : condition + 1]
    elif layer == _LAST_LINEAR:
        value = value[1 - condition : 2 - condition]
    return {target: value}


def split_udp_channels(name: str, value: Tensor) -> dict[str, Tensor]:
    """Split UDP's channels (3 K, ...), class, x and y of each keypoint, into 'heatmap' (K) and 'offset' (2 K).

    Args:
        name: of the model's weight of heatmaps.
        value: of the file.

    Returns:
        The weights of both fields by name.

    Raises:
        CheckpointError: the channels are not three per keypoint.
    """
    if len(value) % 3:
        raise CheckpointError(
            f'{name} has {len(value)} channels, not three per keypoint; set model.codec to UDPHeatmap'
        )
    # (K, 3, ...): class, x and y.
    by_keypoint = value.unflatten(0, (-1, 3))
    return {name: by_keypoint[:, 0], name.replace('heatmap', 'offset'): by_keypoint[:, 1:].flatten(0, 1)}


def split_heatmap_tag_channels(name: str, value: Tensor, model_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split associative embedding's channels, all heatmaps and then all tags, into the two fields.

    Args:
        name: of the model's weight of heatmaps.
        value: of the file.
        model_state: the model's tensors by name.

    Returns:
        The weights of both fields by name.

    Raises:
        CheckpointError: the number of channels is not the sum of those of both fields.
    """
    targets = [name, name.replace('heatmap', 'tags')]
    sizes = [len(model_state[target]) for target in targets]
    if len(value) != sum(sizes):
        raise CheckpointError(
            f"{name} has {len(value)} channels, and the config's model {sizes[0]} for heatmaps and {sizes[1]} for "
            f'tags; take the skeleton that the file was trained for'
        )
    return dict(zip(targets, value.split(sizes), strict=True))


def join_udp_channels(heatmap: Tensor, offset: Tensor) -> Tensor:
    """Join the fields 'heatmap' (K, ...) and 'offset' (2 K, ...) to UDP's channels (3 K, ...).

    Args:
        heatmap, offset: the weights of both fields.

    Returns:
        What `split_udp_channels` splits.
    """
    by_keypoint = offset.unflatten(0, (-1, 2))
    return torch.cat([heatmap[:, None], by_keypoint], dim=1).flatten(0, 1)


def join_heatmap_tag_channels(heatmap: Tensor, tags: Tensor) -> Tensor:
    """Join two fields to the channels of associative embedding, all heatmaps and then all tags.

    Args:
        heatmap, tags: the weights of both fields.

    Returns:
        What `split_heatmap_tag_channels` splits.
    """
    return torch.cat([heatmap, tags])
