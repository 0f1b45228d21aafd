"""RT-DETR's hybrid encoder (Zhao et al. 2023, arXiv:2304.08069), as RTMO uses it (Lu et al. 2023, arXiv:2312.07526)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.errors import MismatchError
from poseplug.models.csp import block
from poseplug.models.layers import init_convolutions
from poseplug.models.positions import periods, sine_code
from poseplug.registry import MODELS


@MODELS.register_module()
class HybridEncoder(nn.Module):
    """A transformer layer on the coarsest map, then levels fused downwards and upwards; out come all but the finest.

    `channels` is the width inside, `widen` and `deepen` scale the fusion blocks (width int(`channels` * `widen`),
    round(3 * `deepen`) repeated blocks each), `out` is the width of the maps that come out.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        out: int = 256,
        channels: int = 256,
        widen: float = 1.0,
        deepen: float = 1.0,
        heads: int = 8,
        feedforward: int = 1024,
    ):
        super().__init__()
        levels = len(in_channels)
        if levels < 2 or any(b != 2 * a for a, b in zip(strides, strides[1:], strict=False)):
            raise MismatchError(
                f'HybridEncoder fuses maps of which each is half as fine as the one before, two or more; the backbone '
                f'gives strides {tuple(strides)}; set its out_strides, as in (8, 16, 32)'
            )
        self.out_channels, self.strides = (out,) * (levels - 1), tuple(strides[1:])
        self.inputs = nn.ModuleList(block(n, channels, 1, activation=None) for n in in_channels)
        self.encoder = EncoderLayer(channels, heads, feedforward)
        fusion = dict(hidden=int(channels * widen), depth=round(3 * deepen))
        self.laterals = nn.ModuleList(block(channels, channels, 1) for _ in range(levels - 1))
        self.down_fusions = nn.ModuleList(CSPRep(2 * channels, channels, **fusion) for _ in range(levels - 1))
        self.halvings = nn.ModuleList(block(channels, channels, 3, stride=2) for _ in range(levels - 1))
        self.up_fusions = nn.ModuleList(CSPRep(2 * channels, channels, **fusion) for _ in range(levels - 1))
        self.outputs = nn.ModuleList(block(channels, out, 1, activation=None) for _ in range(levels - 1))
        init_convolutions(self)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps (B, C, H, W), finest first, to one map less."""
        maps = [project(f) for project, f in zip(self.inputs, features, strict=True)]
        maps[-1] = self.encoder(maps[-1])
        coarse = maps[-1]
        fused = []
        for lateral, fusion, fine in zip(self.laterals, self.down_fusions, maps[-2::-1], strict=True):
            coarse = lateral(coarse)
            fused.append(coarse)
            coarse = fusion(torch.cat([F.interpolate(coarse, size=fine.shape[2:]), fine], dim=1))
        out = []
        for halve, fusion, lateral_map in zip(self.halvings, self.up_fusions, fused[::-1], strict=True):
            coarse = fusion(torch.cat([halve(coarse), lateral_map], dim=1))
            out.append(coarse)
        return tuple(project(f) for project, f in zip(self.outputs, out, strict=True))


class EncoderLayer(nn.Module):
    """Attention between all cells of a map, then a layer on each; norms follow the sums (Vaswani et al. 2017)."""

    periods: Tensor

    def __init__(self, channels: int, heads: int, feedforward: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.layer1, self.layer2 = nn.Linear(channels, feedforward), nn.Linear(feedforward, channels)
        self.register_buffer('periods', periods(channels // 2, 1e4), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to maps of the same shape. Cells are told apart by a sine code of their row and column."""
        cells = maps.flatten(2).transpose(1, 2)
        placed = cells + positions(maps.shape[2:], self.periods).to(cells.dtype)
        cells = self.norm1(cells + self.attention(placed, placed, cells, need_weights=False)[0])
        cells = self.norm2(cells + self.layer2(F.gelu(self.layer1(cells))))
        return cells.transpose(1, 2).unflatten(2, maps.shape[2:])


def positions(grid: Sequence[int], over: Tensor) -> Tensor:
    """(1, H W, C) the sine code of each cell of a grid (rows, columns): half is its row's, half its column's."""
    rows, columns = (sine_code(torch.arange(n, device=over.device), over) for n in grid)
    both = [rows[:, None].expand(-1, len(columns), -1), columns.expand(len(rows), -1, -1)]
    return torch.cat(both, dim=-1).flatten(0, 1)[None]


class CSPRep(nn.Module):
    """Two 1x1 convolutions, one followed by repeated blocks, their sum brought to `out` channels."""

    def __init__(self, channels: int, out: int, hidden: int, depth: int):
        super().__init__()
        self.conv1, self.conv2 = block(channels, hidden, 1), block(channels, hidden, 1)
        self.bottlenecks = nn.Sequential(*(RepBlock(hidden) for _ in range(depth)))
        self.conv3 = block(hidden, out, 1) if hidden != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.bottlenecks(self.conv1(x)) + self.conv2(x))


class RepBlock(nn.Module):
    """A 3x3 and a 1x1 convolution, each with batch norm, summed, SiLU (Ding et al. 2021, RepVGG, arXiv:2101.03697)."""

    def __init__(self, channels: int):
        super().__init__()
        self.branch_3x3 = block(channels, channels, 3, activation=None)
        self.branch_1x1 = block(channels, channels, 1, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.branch_3x3(x) + self.branch_1x1(x))
