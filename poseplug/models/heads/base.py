"""The contract of a head: features in, one dict of fields per stage out."""

from __future__ import annotations

__all__ = ['FieldAxis', 'Head', 'find_first_weight', 'find_stride_indices']

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from poseplug.core.errors import MismatchError


@dataclass(frozen=True)
class FieldAxis:
    """An axis of a weight whose channels are those of fields.

    Attributes:
        tensor: Name of the weight in the head.
        axis: Index of the axis: 0 where the layer predicts the fields, 1 where it reads them.
        fields: Names of the fields, one after the other along the axis.
        start: Index of the first of their channels.
        repeats: Numbers per channel of a field, one after the other.
    """

    tensor: str
    axis: int
    fields: tuple[str, ...]
    start: int = 0
    repeats: int = 1


class Head(nn.Module):
    """A network part that predicts fields.

    Other parts provide the following arguments to its constructor. A head declares in `needs` those that it has, and no
    config repeats them. A head may keep them as attributes of the same name: one that was built by hand is then checked
    against the parts that it is combined with.

    - `in_channels`, `strides`: of every feature map, from the backbone or the neck;
    - `fields`: names and channels of the codec's fields;
    - `shapes`: the shape of every field of one image;
    - `input_size`: (width, height) of the input in px;
    - `stride`: input pixels per cell of the fields, if they have cells.

    A stage may predict some of the fields, which then count in the loss of that stage. The last stage has all fields.

    Attributes:
        num_stages: Number of stages, each a dict of fields.
        stride: Input pixels per cell of the predicted fields, if they have cells.
        uses_centers: Whether `forward` also accepts `centers`.
        uses_instance_centers: Whether these are those of all instances (B, N, 2), NaN for padding, and not (B, 2).
        field_kinds: Kinds of the fields that the head can predict.

    Example:
        >>> class PointwiseHead(Head):
        ...     needs = ('in_channels', 'strides', 'fields')
        ...     def __init__(self, in_channels, strides, fields):
        ...         super().__init__()
        ...         self.stride = strides[-1]
        ...         self.layers = nn.ModuleDict({name: nn.Conv2d(in_channels[-1], n, 1) for name, n in fields.items()})
        ...     def forward(self, features):
        ...         return [{name: layer(features[-1]) for name, layer in self.layers.items()}]
        >>> import torch
        >>> head = PointwiseHead(in_channels=(32,), strides=(8,), fields={'heatmap': 15})
        >>> head([torch.zeros(1, 32, 46, 46)])[-1]['heatmap'].shape
        torch.Size([1, 15, 46, 46])
    """

    needs: ClassVar[tuple[str, ...]]
    num_stages: int = 1
    stride: float
    uses_centers: ClassVar[bool] = False
    uses_instance_centers: bool = False
    field_kinds: ClassVar[tuple[str, ...]] = ('maps',)

    @abstractmethod
    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Predict the fields of every stage.

        A head with `uses_centers` has a second argument, `centers` (B, 2): the subject's position in input px.

        Args:
            features: Feature maps, each (B, C, H, W).

        Returns:
            The stages, each with fields (B, ...) by name.
        """

    def list_field_axes(self) -> list[FieldAxis]:
        """List every axis of a weight along which the channels of fields lie, of all layers that predict or read them.

        Weights of other keypoints are carried over along these by name. A head that does not list them, as by default,
        cannot use such weights.
        """
        return []


def find_first_weight(module: nn.Module) -> str:
    """Return the name of the weight of the first layer in a module."""
    # The weight of a norm or a PReLU ends with it, too, but stands behind that of its convolution.
    return next(name for name, _ in module.named_parameters() if name.endswith('weight'))


def find_stride_indices(part: str, in_channels: Sequence[int], strides: Sequence[int], stride: float) -> list[int]:
    """Find the feature maps that have the stride of the fields.

    Args:
        part: Name of the head, for the message.
        in_channels: Channels of every feature map, for the message.
        strides: Stride of every feature map.
        stride: Stride of the fields.

    Returns:
        Indices of these feature maps.

    Raises:
        MismatchError: There is none.
    """
    # Several may have it: a trunk with copies, or stacks. The head chooses the first, the last, or all.
    indices = [i for i, s in enumerate(strides) if s == stride]
    if not indices:
        raise MismatchError(
            f'{part} predicts at the stride of the codec, {stride:g}, but the backbone has strides {tuple(strides)} '
            f'with {tuple(in_channels)} channels; set model.codec.stride to one of {sorted(set(strides))}, or choose a '
            f'backbone with stride {stride:g}'
        )
    return indices
