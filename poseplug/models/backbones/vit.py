"""The plain vision transformer of ViTPose (Xu et al. 2022, arXiv:2204.12484; experts: arXiv:2212.04246).

Its parameters have the names of the official release, which are those of timm and MAE.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recomputed

from poseplug.errors import CheckpointError, ConfigError, clauses, closest
from poseplug.geometry import Size
from poseplug.models.attention import Block, Grid, Windows
from poseplug.registry import MODELS

SIZES: dict[str, dict[str, Any]] = {
    'S': dict(dim=384, depth=12, heads=12, drop_path=0.1),
    'B': dict(dim=768, depth=12, heads=12, drop_path=0.3),
    'L': dict(dim=1024, depth=24, heads=16, drop_path=0.5),
    'H': dict(dim=1280, depth=32, heads=16, drop_path=0.55),
}
ATTENTION = ('full', 'window', 'shift', 'pool', 'shift+pool')


@MODELS.register_module()
class ViT(nn.Module):
    """Patches of the picture as tokens, `depth` transformer blocks, and the tokens as one map again.

    `size` sets width, depth, heads and drop path, each of which may be given instead. `input_size` is (width, height);
    pictures of another size get their position embedding resized. `ratio` overlaps the patches: 2 gives stride 8.

    `attention` is 'full', or within windows of `window` (width, height) cells: 'window' alone, 'shift' with every other
    block's windows half a window further, 'pool' with the mean of every window seen in each. `checkpoint` computes the
    blocks again in the backward pass instead of keeping what is inside them.

    `experts` names data sets that have `part` outputs (by default a quarter) of every block's last layer to themselves;
    forward is then told each sample's. `tokens` learnt tokens go through all blocks beside the patches, and are left
    out of the map; those of `token_width`, of a teacher with another width, are projected first.

    The position embedding of the released weights begins with MAE's class slot, which is added to every cell. Loading
    adds it once and for all; `class_slot` keeps it as a parameter, as the released code does. Either loads either.
    """

    def __init__(
        self,
        input_size: Size,
        size: str = 'S',
        dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        drop_path: float | None = None,
        patch: int = 16,
        ratio: int = 1,
        attention: str = 'full',
        window: Size = (8, 8),
        checkpoint: bool = False,
        experts: Sequence[str] = (),
        part: int | None = None,
        class_slot: bool = False,
        tokens: int = 0,
        token_width: int | None = None,
    ):
        super().__init__()
        given = dict(dim=dim, depth=depth, heads=heads, drop_path=drop_path)
        dim, depth, heads, drop_path = shape_of(size, **given)
        part = part if part is not None else dim // 4
        check_attention(attention, window, tokens)
        check_experts(experts, part, dim)
        self.attention, self.window, self.checkpoint = attention, (window[1], window[0]), checkpoint
        self.experts, self.layers, self.class_slot = tuple(experts), depth, class_slot
        self.patch_embed = nn.ModuleDict({'proj': patch_projection(dim, patch, ratio)})
        self.out_channels, self.strides = (dim,), (patch // ratio,)
        self.grid = grid_for(input_size, self.patch_embed['proj'])
        self.pos_embed = nn.Parameter(torch.zeros(1, class_slot + self.grid[0] * self.grid[1], dim))
        self.tokens = LearntTokens(tokens, token_width or dim, dim) if tokens else None
        drops = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = nn.ModuleList(Block(dim, heads, drop=d, experts=len(experts), part=part) for d in drops)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self._init_weights()
        self.register_load_state_dict_pre_hook(adapted)

    def _init_weights(self) -> None:
        """Weights, embedding and tokens from a normal distribution of deviation 0.02; biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.pos_embed, std=0.02)
        if self.tokens is not None:
            nn.init.normal_(self.tokens.learnt, std=0.02)

    def forward(self, images: Tensor, domains: Tensor | None = None) -> tuple[Tensor]:
        """Images (B, 3, H, W) to one map (B, dim, H / stride, W / stride).

        `domains` (B,), int64, are the places of the samples' data sets among the `experts`; with experts only.
        """
        maps = self.patch_embed['proj'](images)  # called here, since a module around it would be one frame more
        grid = (maps.shape[2], maps.shape[3])
        self._check_domains(len(images), domains)
        cells = maps.flatten(2).transpose(1, 2) + self.positions(grid)
        cells = self._transformed(cells if self.tokens is None else self.tokens(cells), grid, domains)
        cells = self.norm(cells[:, : grid[0] * grid[1]])
        return (cells.transpose(1, 2).unflatten(2, grid),)  # in the tokens' order (channels last), without a copy

    def _transformed(self, tokens: Tensor, grid: Grid, domains: Tensor | None) -> Tensor:
        """Tokens (B, N, C) through the blocks, of which every other one may have shifted windows."""
        plans = self._plans(grid, tokens.device)
        for place, block in enumerate(self.blocks):
            given = (tokens, *plans[place % len(plans)], domains)
            again = self.checkpoint and torch.is_grad_enabled()
            tokens = recomputed(block, *given, use_reentrant=False) if again else block(*given)
        return tokens

    def _plans(self, grid: Grid, device: torch.device) -> list[tuple[Windows | None, Tensor | None]]:
        """The windows and masks that blocks take in turns."""
        if self.attention == 'full':
            return [(None, None)]
        shifts = (False, True) if 'shift' in self.attention else (False,)
        windows = [Windows(grid, self.window, shifted, 'pool' in self.attention) for shifted in shifts]
        return [(w, w.mask(device)) for w in windows]

    def positions(self, grid: Grid) -> Tensor:
        """(1, cells, dim) what is added to the patches of a grid (rows, columns)."""
        embedding = resized(self.pos_embed, self.grid, grid)
        return folded(embedding) if self.class_slot else embedding

    def adapt_weights(self, state: dict[str, Tensor], prefix: str = '') -> None:
        """Bring the position embedding of another input size, or one without class slot, to this model's, in place.

        Raises:
            CheckpointError: its number of entries is that of no grid (`grid_of`).
        """
        name = f'{prefix}pos_embed'
        if name not in state or state[name].ndim != 3:
            return
        grid, slot = grid_of(state[name].shape[1], self.grid, name)
        embedding = resized(state[name], grid, self.grid)
        if slot and not self.class_slot:
            embedding = folded(embedding)
        elif self.class_slot and not slot:
            embedding = F.pad(embedding, (0, 0, 1, 0))
        state[name] = embedding

    def layer_id(self, name: str) -> int:
        """Where a parameter stands: 0 before the blocks, i + 1 in block i, `layers + 1` behind them."""
        if name.startswith('blocks.'):
            return int(name.split('.')[1]) + 1
        return self.layers + 1 if name.startswith('norm.') else 0

    def _check_domains(self, batch: int, domains: Tensor | None) -> None:
        """Raise unless the samples' experts are told where there are experts, and only there."""
        if self.experts and domains is None:
            raise ConfigError(
                f'ViT has the experts {", ".join(self.experts)}, and was not told which are those of the pictures; '
                f'call it with domains, (B,), their places among these, or leave model.backbone.experts out'
            )
        if domains is not None and (not self.experts or domains.shape != (batch,)):
            raise ConfigError(
                f'ViT was given domains of shape {tuple(domains.shape)} for {batch} pictures and {len(self.experts)} '
                f'experts; give one a picture, and name the data sets in model.backbone.experts'
            )


def adapted(vit: ViT, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """`adapt_weights` as what PyTorch calls before weights are loaded."""
    vit.adapt_weights(state, prefix)


def shape_of(size: str, **given: Any) -> tuple[int, int, int, float]:
    """Width, depth, heads and drop path of a size, replaced by what is given."""
    if size not in SIZES:
        raise ConfigError(clauses(f'ViT has no size {size!r}', closest(size, SIZES), f'sizes: {", ".join(SIZES)}'))
    shape = {**SIZES[size], **{name: value for name, value in given.items() if value is not None}}
    dim, depth, heads, drop = shape['dim'], shape['depth'], shape['heads'], shape['drop_path']
    if min(dim, depth, heads) < 1 or dim % heads:
        raise ConfigError(f'ViT: heads divide dim, and there is a layer; got dim={dim}, heads={heads}, depth={depth}')
    if not 0 <= drop < 1:
        raise ConfigError(f'ViT: drop_path is at least 0 and below 1; got {drop}')
    return dim, depth, heads, drop


class LearntTokens(nn.Module):
    """`count` tokens of `width` that stand behind those of the patches, projected where these are `dim` wide."""

    def __init__(self, count: int, width: int, dim: int):
        super().__init__()
        self.learnt = nn.Parameter(torch.zeros(1, count, width))
        self.projection = nn.Linear(width, dim) if width != dim else None

    def forward(self, cells: Tensor) -> Tensor:
        """The cells (B, N, dim), and behind them the learnt tokens."""
        own = self.learnt if self.projection is None else self.projection(self.learnt)
        return torch.cat([cells, own.to(cells.dtype).expand(len(cells), -1, -1)], dim=1)


def check_attention(attention: str, window: Size, tokens: int) -> None:
    """Raise unless this is a known kind of attention with windows of a size, and tokens are seen by everybody."""
    if attention not in ATTENTION:
        raise ConfigError(
            clauses(
                f'ViT has no attention {attention!r}', closest(attention, ATTENTION), f'kinds: {", ".join(ATTENTION)}'
            )
        )
    if min(window) < 1:
        raise ConfigError(f'ViT: window is (width, height) in cells, at least (1, 1); got {tuple(window)}')
    if tokens < 0 or (tokens and attention != 'full'):
        raise ConfigError(
            f'ViT: learnt tokens belong to no window; got tokens={tokens} with attention={attention!r}. Set '
            f"attention='full', or tokens=0"
        )


def check_experts(experts: Sequence[str], part: int, dim: int) -> None:
    """Raise unless the experts are names, each once, with a part of the outputs."""
    if isinstance(experts, str) or len(set(experts)) != len(experts):
        raise ConfigError(f'ViT: experts are the names of data sets, each once, as ("coco", "lsp"); got {experts!r}')
    if experts and not 0 < part < dim:
        raise ConfigError(f'ViT: part is the outputs of an expert, of dim={dim} some, but not all; got {part}')


def patch_projection(dim: int, patch: int, ratio: int) -> nn.Conv2d:
    """The convolution that makes tokens of patches, padded as in the released code."""
    padding = 4 + 2 * (ratio // 2 - 1)
    if ratio < 1 or patch % ratio or not 0 <= 2 * padding - patch + patch // ratio < patch // ratio:
        raise ConfigError(
            f'ViT: patches of {patch} px at ratio {ratio} do not cover a picture once a stride; take patch=16 with '
            f'ratio 1, 2 or 4'
        )
    return nn.Conv2d(3, dim, patch, stride=patch // ratio, padding=padding)


def grid_for(input_size: Size, conv: Any) -> Grid:
    """(rows, columns) of the tokens of pictures of `input_size` (width, height)."""
    width, height = ((n + 2 * conv.padding[0] - conv.kernel_size[0]) // conv.stride[0] + 1 for n in input_size)
    if min(width, height) < 1:
        raise ConfigError(
            f'ViT: an input of {tuple(input_size)} px is smaller than its patches of {conv.kernel_size[0]} px'
        )
    return height, width


def resized(embedding: Tensor, old: Grid, new: Grid) -> Tensor:
    """A position embedding (1, entries, C) from one grid to another: the cells bicubic, a slot before them kept."""
    if old == new:
        return embedding
    slots = embedding.shape[1] - old[0] * old[1]
    cells = embedding[:, slots:].float().unflatten(1, old).permute(0, 3, 1, 2)
    cells = F.interpolate(cells, size=new, mode='bicubic', align_corners=False)
    return torch.cat([embedding[:, :slots], cells.flatten(2).mT.to(embedding.dtype)], dim=1)


def folded(embedding: Tensor) -> Tensor:
    """A position embedding (1, 1 + cells, C) with the class slot added to every cell: (1, cells, C)."""
    return embedding[:, 1:] + embedding[:, :1]


def grid_of(entries: int, own: Grid, name: str = 'pos_embed') -> tuple[Grid, int]:
    """The grid of a foreign position embedding, by its number of entries, and the entries (1 or 0) before it.

    It is the `own` grid, with the class slot or without, or else one of the own shape, square, or 4 high and 3 wide.
    """
    for slot in (1, 0):
        if entries == own[0] * own[1] + slot:
            return own, slot
    for slot in (1, 0):
        for shape in (own, (1, 1), (4, 3)):
            grid = multiple(entries - slot, shape)
            if grid is not None:
                return grid, slot
    raise CheckpointError(
        f'{name} has {entries} entries: with or without a class slot these are no grid that is square, 4:3 or of the '
        f"model's shape, {own} (rows, columns); resize it to {own[0] * own[1]}, or set input_size to its own"
    )


def multiple(cells: int, shape: Grid) -> Grid | None:
    """The grid of so many cells that is `shape` in another size, or None where there is none."""
    unit = math.gcd(*shape)
    rows, columns = shape[0] // unit, shape[1] // unit
    times = math.isqrt(max(cells, 0) // (rows * columns))
    return (rows * times, columns * times) if times and rows * columns * times**2 == cells else None
