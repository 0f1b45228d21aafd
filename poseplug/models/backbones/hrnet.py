"""High-resolution networks (Sun et al. 2019, arXiv:1902.09212), with the official release's names of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.layers import BasicBlock, Bottleneck, check_strides, conv_block, init_convolutions, residual_blocks
from poseplug.registry import MODELS

STRIDES = (4, 8, 16, 32)
STEM = 64  # channels


@MODELS.register_module()
class HRNet(nn.Module):
    """Branches at strides 4, 8, 16 and 32, which start one after the other and exchange what they see at every module.

    The branches have 1, 2, 4 and 8 times `width` channels. `modules` says how many modules the stages of two, three
    and four branches have, `blocks` how many residual blocks a branch has in each. The last module gives the maps of
    `out_strides` alone: by default the finest, which pose estimation reads. Weights start from He et al. 2015's normal
    distribution by fan-out, which keeps the size of gradients, norms at 1 and 0.
    """

    def __init__(
        self,
        width: int = 32,
        out_strides: Sequence[int] = (4,),
        modules: Sequence[int] = (1, 4, 3),
        blocks: int = 4,
    ):
        super().__init__()
        if len(modules) != 3 or min(modules) < 1:
            raise ConfigError(f'HRNet: modules says how many each of three stages has, at least one; got {modules}')
        self.strides = check_strides('HRNet', out_strides, STRIDES)
        self.out_channels = tuple(s // STRIDES[0] * width for s in self.strides)
        self.conv1, self.bn1 = nn.Conv2d(3, STEM, 3, 2, 1, bias=False), nn.BatchNorm2d(STEM)
        self.conv2, self.bn2 = nn.Conv2d(STEM, STEM, 3, 2, 1, bias=False), nn.BatchNorm2d(STEM)
        self.layer1 = residual_blocks(Bottleneck, STEM, STEM, 4)
        before = [STEM * Bottleneck.expansion]
        wanted = [STRIDES.index(s) for s in self.strides]
        for stage, count in enumerate(modules, 2):
            channels = [2**i * width for i in range(stage)]
            rows = [list(range(stage))] * count if stage < 4 else [[0, 1, 2, 3]] * (count - 1) + [wanted]
            self.add_module(f'transition{stage - 1}', Transition(before, channels))
            self.add_module(f'stage{stage}', nn.Sequential(*(HRModule(channels, blocks, r) for r in rows)))
            before = channels
        init_convolutions(self, fan='fan_out')

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to one map a stride, each (B, C, H/stride, W/stride), sizes rounded up."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        maps = [self.layer1(x)]
        for stage in (2, 3, 4):
            maps = getattr(self, f'transition{stage - 1}')(maps)
            maps = getattr(self, f'stage{stage}')(maps)
        return tuple(maps)


class Transition(nn.ModuleDict):
    """From branches of `before` channels to those of `after`, one more: it starts from the coarsest, at half its size.

    Layers are named by their branch; a branch that keeps its channels has none.
    """

    def __init__(self, before: Sequence[int], after: Sequence[int]):
        pairs = enumerate(zip(before, after, strict=False))
        super().__init__({str(i): conv_block(old, new, 3, 'BN') for i, (old, new) in pairs if old != new})
        self.started = str(len(before))
        self[self.started] = nn.Sequential(conv_block(before[-1], after[-1], 3, 'BN', stride=2))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        kept = [self[str(i)](x) if str(i) in self else x for i, x in enumerate(maps)]
        return [*kept, self[self.started](maps[-1])]


class HRModule(nn.Module):
    """Residual blocks in every branch, then the branches of `rows` as sums over all of them."""

    def __init__(self, channels: Sequence[int], blocks: int, rows: Sequence[int]):
        super().__init__()
        self.branches = nn.ModuleList(residual_blocks(BasicBlock, c, c, blocks) for c in channels)
        self.fuse_layers = nn.ModuleDict(
            {
                str(i): nn.ModuleDict({str(j): path(channels, j, i) for j in range(len(channels)) if j != i})
                for i in rows
            }
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps, one a branch, (B, C, H, W) and coarser, to those of `rows`."""
        seen = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [self._fused(int(i), paths, seen) for i, paths in self.fuse_layers.items()]

    @staticmethod
    def _fused(row: int, paths: Any, maps: list[Tensor]) -> Tensor:
        total = maps[row]
        for j, layer in paths.items():
            part = layer(maps[int(j)])
            if int(j) > row:
                part = F.interpolate(part, size=total.shape[-2:], mode='nearest')
            total = total + part
        return F.relu(total, inplace=True)


def path(channels: Sequence[int], start: int, end: int) -> nn.Sequential:
    """From one branch to another's channels: 1x1 to a finer one (enlarged afterwards), to a coarser one by halving."""
    if start > end:
        return conv_block(channels[start], channels[end], 1, 'BN', activation=None)
    halvings = [conv_block(channels[start], channels[start], 3, 'BN', stride=2) for _ in range(end - start - 1)]
    return nn.Sequential(*halvings, conv_block(channels[start], channels[end], 3, 'BN', stride=2, activation=None))
