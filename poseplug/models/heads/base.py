"""The contract of a head: features in, one dict of fields per stage out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from poseplug.errors import MismatchError


class Head(nn.Module):
    """A network part that predicts fields.

    Its constructor takes what other parts know: `in_channels` and `strides` (one a feature map, from the backbone or
    neck), and from the codec `fields` (names and channels), `shapes` (of one picture's fields), `input_size` and, where
    there are cells, `stride` (input pixels a cell). It sets `self.stages` (how many dicts it returns) and, for maps,
    `self.stride` (of the fields it predicts), and may keep the others under their names: a head built by hand is then
    checked against the parts it joins. `predicts` says which kinds of fields it can give. A stage may hold some of the
    fields, each of which then counts in the loss of that stage; the last one holds all.
    """

    stages: int = 1
    stride: float
    uses_centers: ClassVar[bool] = False
    predicts: ClassVar[tuple[str, ...]] = ('maps',)

    @abstractmethod
    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Features, each (B, C, H, W), to the stages of fields, each (B, C, ...).

        A head with `uses_centers` also takes `centers` (B, 2): the subject's position in input pixels.
        """


def maps_of_stride(part: str, in_channels: Sequence[int], strides: Sequence[int], stride: float) -> list[int]:
    """Places of the feature maps that have the stride of the fields; none is an error that says what to change."""
    places = [i for i, s in enumerate(strides) if s == stride]
    if not places:
        raise MismatchError(
            f'{part} predicts at the stride of the codec, {stride:g}, but the backbone gives strides {tuple(strides)} '
            f'with {tuple(in_channels)} channels; set model.codec.stride to one of {sorted(set(strides))}, or choose a '
            f'backbone with stride {stride:g}'
        )
    return places
