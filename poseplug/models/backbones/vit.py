"""The plain vision transformer of ViTPose (Xu et al. 2022, arXiv:2204.12484; experts: arXiv:2212.04246).

Its parameters have the names of the official release, which are those of timm and MAE.
"""

from __future__ import annotations

__all__ = ['ViT']

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.core.geometry import Size
from poseplug.models.backbones.vit_positions import fold_class_token, infer_grid, resize_pos_embed
from poseplug.models.layers.attention import GridSize, TransformerBlock, Windows, list_drop_path_rates
from poseplug.registry import MODELS

# Released settings; S has 12 heads of 32 channels, where other small transformers have 6 of 64.
VIT_ARCHS: dict[str, dict[str, Any]] = {
    'S': dict(embed_dim=384, depth=12, num_heads=12, drop_path_rate=0.1),
    'B': dict(embed_dim=768, depth=12, num_heads=12, drop_path_rate=0.3),
    'L': dict(embed_dim=1024, depth=24, num_heads=16, drop_path_rate=0.5),
    'H': dict(embed_dim=1280, depth=32, num_heads=16, drop_path_rate=0.55),
}
ATTENTION_KINDS = ('full', 'window', 'shift', 'pool', 'shift+pool')


@MODELS.register_module()
class ViT(nn.Module):
    """Vision transformer: patches of the image as tokens, transformer blocks, and the tokens as one feature map.

    The position embedding of the released weights begins with MAE's class token, which is added to every cell. Loading
    such weights adds it once and for all, or keeps it as a parameter with `cls_pos_embed`. Weights with and without it
    load into either model, and those of another input size are resized.

    Args:
        input_size: (width, height) of the input in px; provided by the codec. Images of another size get a resized
            position embedding.
        arch: 'S', 'B', 'L' or 'H': the default of `embed_dim`, `depth`, `num_heads` and `drop_path_rate`.
        embed_dim: Channels of the tokens.
        depth: Number of transformer blocks.
        num_heads: Number of attention heads, which divides `embed_dim`.
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0 in the first.
        patch_size: Side of a patch in px.
        ratio: Patches per `patch_size` on every axis: above 1 they overlap. 2 gives stride 8 for patches of 16 px.
        attention: 'full', or attention within windows: 'window' alone; 'shift' with the windows of every other block
            shifted by half a window; 'pool' with the means of all windows attended to; or 'shift+pool'.
        window_size: (width, height) of a window in cells.
        use_checkpoint: Whether the backward pass computes the blocks again instead of storing their activations.
        experts: Names of data sets with an expert each. `forward` then needs the `source_indices` of the images.
        part_features: Outputs of every block's last layer that belong to an expert; by default a quarter.
        cls_pos_embed: Whether the position embedding keeps MAE's class token as a parameter, as the released code does.
        num_tokens: Number of learned tokens, which pass the blocks beside the patches and are no part of the feature
            map; with full attention only.
        token_dim: Channels of the learned tokens if they are those of a teacher of another width; they are projected.

    Raises:
        ConfigError: A setting is out of its range, or two settings exclude each other.
    """

    needs = ('input_size',)

    def __init__(
        self,
        input_size: Size,
        arch: str = 'S',
        embed_dim: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        drop_path_rate: float | None = None,
        patch_size: int = 16,
        ratio: int = 1,
        attention: str = 'full',
        window_size: Size = (8, 8),
        use_checkpoint: bool = False,
        experts: Sequence[str] = (),
        part_features: int | None = None,
        cls_pos_embed: bool = False,
        num_tokens: int = 0,
        token_dim: int | None = None,
    ):
        super().__init__()
        embed_dim, depth, num_heads, drop_path_rate = _resolve_arch(
            arch, embed_dim=embed_dim, depth=depth, num_heads=num_heads, drop_path_rate=drop_path_rate
        )
        # A quarter, as in the released weights: 192 of B's 768 channels.
        part_features = part_features if part_features is not None else embed_dim // 4
        _check_attention(attention, window_size, num_tokens)
        _check_experts(experts, part_features, embed_dim)
        self.attention, self.window_size = attention, (window_size[1], window_size[0])  # rows and columns
        self.use_checkpoint, self.cls_pos_embed = use_checkpoint, cls_pos_embed
        self.experts, self.num_layers = tuple(experts), depth
        # A ModuleDict, for the published parameter name `patch_embed.proj`.
        self.patch_embed = nn.ModuleDict({'proj': _build_patch_projection(embed_dim, patch_size, ratio)})
        self.out_channels, self.strides = (embed_dim,), (patch_size // ratio,)
        self.grid = _token_grid(input_size, self.patch_embed['proj'])
        # (1, [class token +] cells, C)
        self.pos_embed = nn.Parameter(torch.zeros(1, cls_pos_embed + self.grid[0] * self.grid[1], embed_dim))
        self.tokens = LearnedTokens(num_tokens, token_dim or embed_dim, embed_dim) if num_tokens else None
        drop_path_rates = list_drop_path_rates(drop_path_rate, depth)
        parts = dict(num_experts=len(experts), part_features=part_features)
        self.blocks = nn.ModuleList(
            TransformerBlock(embed_dim, num_heads, drop_path_rate=rate, **parts) for rate in drop_path_rates
        )
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self._init_weights()
        self.register_load_state_dict_pre_hook(_adapt_before_load)

    def _init_weights(self) -> None:
        """Weights, embedding and tokens from a normal distribution of deviation 0.02; biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.pos_embed, std=0.02)
        if self.tokens is not None:
            nn.init.normal_(self.tokens.learnt, std=0.02)

    def forward(self, images: Tensor, source_indices: Tensor | None = None) -> tuple[Tensor]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).
            source_indices: (B,), int64, index of every image's data set in `experts`; with experts only.

        Returns:
            One feature map (B, embed_dim, H / stride, W / stride).

        Raises:
            ConfigError: There are experts but no `source_indices`, or the other way round, or their shape is wrong.
        """
        patches = self.patch_embed['proj'](images)
        grid = (patches.shape[2], patches.shape[3])
        self._check_source_indices(images.shape[0], source_indices)
        # (B, C, rows, columns) to (B, cells, C), row by row.
        tokens = patches.flatten(2).transpose(1, 2) + self.position_embedding(grid)
        if self.tokens is not None:
            tokens = self.tokens(tokens)
        tokens = self._run_blocks(tokens, grid, source_indices)
        # Learned tokens stand behind the cells and are no part of the map.
        cells = self.norm(tokens[:, : grid[0] * grid[1]])
        return (cells.transpose(1, 2).unflatten(2, grid),)  # in the tokens' memory order (channels last), not copied

    def _run_blocks(self, tokens: Tensor, grid: GridSize, source_indices: Tensor | None) -> Tensor:
        """Pass tokens (B, N, C) through the blocks, which alternate between the windows."""
        windows = self._block_windows(grid, tokens.device)
        recompute = self.use_checkpoint and torch.is_grad_enabled()
        for index, block in enumerate(self.blocks):
            inputs = (tokens, *windows[index % len(windows)], source_indices)
            tokens = checkpoint(block, *inputs, use_reentrant=False) if recompute else block(*inputs)
        return tokens

    def _block_windows(self, grid: GridSize, device: torch.device) -> list[tuple[Windows | None, Tensor | None]]:
        """The windows and masks between which the blocks alternate."""
        if self.attention == 'full':
            return [(None, None)]
        shifts = (False, True) if 'shift' in self.attention else (False,)
        windows = [Windows(grid, self.window_size, shifted, 'pool' in self.attention) for shifted in shifts]
        return [(w, w.attention_mask(device)) for w in windows]

    def position_embedding(self, grid: GridSize) -> Tensor:
        """Return what is added to the patches of a grid.

        Args:
            grid: (rows, columns).

        Returns:
            (1, rows x columns, embed_dim).
        """
        embedding = resize_pos_embed(self.pos_embed, self.grid, grid)
        return fold_class_token(embedding) if self.cls_pos_embed else embedding

    def adapt_weights(self, state_dict: dict[str, Tensor], prefix: str = '') -> None:
        """Adapt the position embedding of other weights to this model: its grid, and its class token or none.

        Args:
            state_dict: The weights, changed in place.
            prefix: What stands before the model's names in `state_dict`.

        Raises:
            CheckpointError: The number of entries fits no grid; see `infer_grid`.
        """
        name = f'{prefix}pos_embed'
        if name not in state_dict or state_dict[name].ndim != 3:
            return
        grid, num_cls = infer_grid(state_dict[name].shape[1], self.grid, name)
        embedding = resize_pos_embed(state_dict[name], grid, self.grid)
        if num_cls and not self.cls_pos_embed:
            embedding = fold_class_token(embedding)
        elif self.cls_pos_embed and not num_cls:
            embedding = F.pad(embedding, (0, 0, 1, 0))  # a class token of 0, which adds nothing
        state_dict[name] = embedding

    def get_layer_id(self, name: str) -> int:
        """Return the depth of a parameter, for learning rates by layer.

        Args:
            name: Name of the parameter.

        Returns:
            0 before the blocks, i + 1 in block i, `num_layers + 1` behind the blocks.
        """
        if name.startswith('blocks.'):
            return int(name.split('.')[1]) + 1
        return self.num_layers + 1 if name.startswith('norm.') else 0

    def _check_source_indices(self, batch_size: int, source_indices: Tensor | None) -> None:
        """Raise unless the samples' experts are given exactly if there are experts."""
        if self.experts and source_indices is None:
            raise ConfigError(
                f'ViT has the experts {", ".join(self.experts)}, but no source_indices say which of them the images '
                f'belong to; call it with source_indices, (B,), or remove model.backbone.experts'
            )
        if source_indices is not None and (not self.experts or source_indices.shape != (batch_size,)):
            raise ConfigError(
                f'ViT received source_indices of shape {tuple(source_indices.shape)} for {batch_size} images and '
                f'{len(self.experts)} experts; give one per image, and name the data sets in model.backbone.experts'
            )


def _adapt_before_load(vit: ViT, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """`adapt_weights` as PyTorch's hook before weights are loaded."""
    vit.adapt_weights(state_dict, prefix)


def _resolve_arch(arch: str, **overrides: Any) -> tuple[int, int, int, float]:
    """embed_dim, depth, num_heads and drop_path_rate of an architecture, replaced by overrides that are not None."""
    if arch not in VIT_ARCHS:
        raise ConfigError(
            compose_message(
                f'ViT has no arch {arch!r}', suggest_closest(arch, VIT_ARCHS), f'known: {", ".join(VIT_ARCHS)}'
            )
        )
    settings = {**VIT_ARCHS[arch], **{name: value for name, value in overrides.items() if value is not None}}
    embed_dim, depth, num_heads = settings['embed_dim'], settings['depth'], settings['num_heads']
    drop_path_rate = settings['drop_path_rate']
    if min(embed_dim, depth, num_heads) < 1 or embed_dim % num_heads:
        raise ConfigError(
            f'ViT: num_heads divides embed_dim, and depth is at least 1; got {embed_dim=}, {num_heads=}, {depth=}'
        )
    if not 0 <= drop_path_rate < 1:
        raise ConfigError(f'ViT: drop_path_rate is at least 0 and below 1; got {drop_path_rate}')
    return embed_dim, depth, num_heads, drop_path_rate


class LearnedTokens(nn.Module):
    """Learned tokens that are appended to those of the patches.

    Args:
        num_tokens: Number of learned tokens.
        token_dim: Channels of the learned tokens.
        embed_dim: Channels of the patches' tokens, to which learned tokens of other channels are projected.
    """

    def __init__(self, num_tokens: int, token_dim: int, embed_dim: int):
        super().__init__()
        self.learnt = nn.Parameter(torch.zeros(1, num_tokens, token_dim))
        self.projection = nn.Linear(token_dim, embed_dim) if token_dim != embed_dim else None

    def forward(self, cells: Tensor) -> Tensor:
        """Return cells (B, N, embed_dim) with the learned tokens behind them, (B, N + num_tokens, embed_dim)."""
        learned = self.learnt if self.projection is None else self.projection(self.learnt)
        return torch.cat([cells, learned.to(cells.dtype).expand(cells.shape[0], -1, -1)], dim=1)


def _check_attention(attention: str, window_size: Size, num_tokens: int) -> None:
    """Raise unless the kind of attention is known, windows have a size, and learned tokens have full attention."""
    if attention not in ATTENTION_KINDS:
        raise ConfigError(
            compose_message(
                f'ViT has no attention {attention!r}',
                suggest_closest(attention, ATTENTION_KINDS),
                f'kinds: {", ".join(ATTENTION_KINDS)}',
            )
        )
    if min(window_size) < 1:
        raise ConfigError(f'ViT: window_size is (width, height) in cells, at least (1, 1); got {tuple(window_size)}')
    if num_tokens < 0 or (num_tokens and attention != 'full'):
        raise ConfigError(
            f'ViT: learned tokens belong to no window; got {num_tokens=} with {attention=}. Set '
            f"attention='full', or num_tokens=0"
        )


def _check_experts(experts: Sequence[str], part_features: int, embed_dim: int) -> None:
    """Raise unless the experts are names, each once, with a part of the outputs."""
    if isinstance(experts, str) or len(set(experts)) != len(experts):
        raise ConfigError(f'ViT: experts are the names of data sets, each once, as ("coco", "lsp"); got {experts!r}')
    if experts and not 0 < part_features < embed_dim:
        raise ConfigError(
            f'ViT: part_features is the number of outputs of an expert, between 0 and {embed_dim=} and neither of the '
            f'two; got {part_features}'
        )


def _build_patch_projection(embed_dim: int, patch_size: int, ratio: int) -> nn.Conv2d:
    """The convolution from patches to tokens, padded as in the released code."""
    padding = 4 + 2 * (ratio // 2 - 1)
    stride = patch_size // ratio if ratio > 0 else 0
    # n strides of input must become n tokens: (n * stride + 2 * padding - patch_size) // stride + 1 = n.
    if ratio < 1 or patch_size % ratio or not 0 <= 2 * padding - patch_size + stride < stride:
        raise ConfigError(
            f'ViT: patches of {patch_size} px at ratio {ratio} do not cover an image once per stride; set '
            f'patch_size=16 with ratio 1, 2 or 4'
        )
    return nn.Conv2d(3, embed_dim, patch_size, stride=stride, padding=padding)


def _token_grid(input_size: Size, conv: Any) -> GridSize:
    """(rows, columns) of the tokens of images of `input_size` (width, height)."""
    width, height = ((n + 2 * conv.padding[0] - conv.kernel_size[0]) // conv.stride[0] + 1 for n in input_size)
    if min(width, height) < 1:
        raise ConfigError(
            f'ViT: an input of {tuple(input_size)} px is smaller than its patches of {conv.kernel_size[0]} px'
        )
    return height, width
