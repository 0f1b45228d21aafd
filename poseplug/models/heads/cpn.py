"""The cascaded pyramid network (Chen et al. 2018, arXiv:1711.07319; layers as in its released code)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poseplug.errors import ConfigError, MismatchError
from poseplug.models.heads.base import Head
from poseplug.models.heads.heatmap import FieldConvs
from poseplug.models.heads.simple import resized
from poseplug.models.layers import Bottleneck, conv_block, init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class CPNHead(Head):
    """A pyramid that predicts at every level (GlobalNet), and one refined prediction from all of them (RefineNet).

    Stages are the levels from the coarsest to the finest, then the refined one; each gives all fields at the codec's
    stride. Levels are the maps that are as coarse as the codec or coarser, the finest `levels` of them; a backbone with
    a single map has one. Maps are resized bilinearly, corners not aligned.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        levels: int = 4,
        channels: int = 256,
    ):
        super().__init__()
        if levels < 1 or channels < 2 or channels % 2:
            raise ConfigError(f'CPNHead: at least one level, and even channels; got levels={levels}, {channels=}')
        self.stride, self.fields = stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.places = coarse_to_fine('CPNHead', strides, stride)[-levels:]
        self.stages = len(self.places) + 1
        self.enlarge = strides[self.places[-1]] / stride
        widths = [in_channels[p] for p in self.places]
        self.laterals = nn.ModuleList(conv_block(w, channels, 1, norm='BN') for w in widths)
        self.merges = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in widths[1:])
        self.hidden = nn.ModuleList(conv_block(channels, channels, 1, norm='BN') for _ in widths)
        self.refine = nn.ModuleList(
            nn.Sequential(*(HalfBottleneck(channels, channels // 2) for _ in range(depth)))
            for depth in reversed(range(len(widths)))
        )
        self.join = HalfBottleneck(channels * len(widths), channels // 2)
        init_convolutions(self)
        self.predict = nn.ModuleList(FieldConvs(channels, fields, kernel=3) for _ in range(self.stages))

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        pyramid = self.pyramid([features[p] for p in self.places])
        size = [round(n * self.enlarge) for n in pyramid[-1].shape[-2:]]
        *levels, refined = self.predict
        stages = []
        for maps, hidden, predict in zip(pyramid, self.hidden, levels, strict=True):
            stages.append({name: resized(f, size) for name, f in predict(hidden(maps)).items()})
        deeper = [resized(refine(maps), size) for maps, refine in zip(pyramid, self.refine, strict=True)]
        return [*stages, refined(self.join(torch.cat(deeper[::-1], dim=1)))]

    def pyramid(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """GlobalNet's features, from the coarsest to the finest: each level's own, plus the coarser one enlarged."""
        levels = [self.laterals[0](maps[0])]
        for finer, lateral, merge in zip(maps[1:], self.laterals[1:], self.merges, strict=True):
            levels.append(lateral(finer) + merge(resized(levels[-1], finer.shape[-2:])))
        return levels


class HalfBottleneck(Bottleneck):
    """A bottleneck whose 3x3 convolution has half the channels of its output, not a quarter."""

    expansion = 2


def coarse_to_fine(part: str, strides: Sequence[int], stride: float) -> list[int]:
    """Places of the maps that are as coarse as the codec or coarser, the coarsest first; equals in their order."""
    places = [i for i, s in enumerate(strides) if s >= stride]
    if not places:
        raise MismatchError(
            f'{part} reads maps of the stride of the codec, {stride:g}, or coarser ones, but the backbone gives '
            f'strides {tuple(strides)}; set model.codec.stride to {max(strides):g} or less'
        )
    return sorted(places, key=lambda i: -strides[i])
