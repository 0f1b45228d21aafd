"""How MMPose names the weights of Swin, HRFormer and the pyramid vision transformers."""

from __future__ import annotations

__all__ = ['HRFORMER_RULES', 'PVT_RULES', 'PVT_V2_RULES', 'SWIN_RULES', 'TRANSFORMER_IGNORED_NAMES']

from collections.abc import Iterator

TRANSFORMER_IGNORED_NAMES: tuple[tuple[str, str], ...] = (
    (r'backbone\..+\.relative_position_index', 'computed from the size of the windows'),
)

_SWIN_BLOCK = r'backbone\.stages\.(\d+)\.blocks\.(\d+)\.'
SWIN_RULES: tuple[tuple[str, str], ...] = (
    (r'backbone\.patch_embed\.projection\.(.+)', r'backbone.patch_embed.\1'),
    (r'backbone\.patch_embed\.norm\.(.+)', r'backbone.patch_norm.\1'),
    # Special names before the general one of their module.
    (_SWIN_BLOCK + r'attn\.w_msa\.relative_position_bias_table', r'backbone.stages.\1.\2.attn.bias_table'),
    (_SWIN_BLOCK + r'attn\.w_msa\.(.+)', r'backbone.stages.\1.\2.attn.\3'),
    (_SWIN_BLOCK + r'ffn\.layers\.0\.0\.(.+)', r'backbone.stages.\1.\2.mlp.fc1.\3'),
    (_SWIN_BLOCK + r'ffn\.layers\.1\.(.+)', r'backbone.stages.\1.\2.mlp.fc2.\3'),
    (_SWIN_BLOCK + r'(norm[12]\..+)', r'backbone.stages.\1.\2.\3'),
    (r'backbone\.stages\.(\d+)\.downsample\.(.+)', r'backbone.merges.\1.\2'),
    (r'backbone\.norm(\d)\.(.+)', r'backbone.norms.\1.\2'),
)

HRFORMER_RULES: tuple[tuple[str, str], ...] = (
    (r'backbone\.(.+)\.attn\.attn\.relative_position_bias_table', r'backbone.\1.attn.bias_table'),
    (r'backbone\.(.+)\.attn\.attn\.(.+)', r'backbone.\1.attn.\2'),
)

_MAX_BLOCKS = 64  # more than any stage has
_PVT_LAYERS = (
    (r'attn\.attn\.in_proj_(weight|bias)', r'attn.qkv.\2'),
    (r'attn\.attn\.out_proj\.(.+)', r'attn.proj.\2'),
    (r'attn\.sr\.(.+)', r'attn.reduce.\2'),
    (r'attn\.norm\.(.+)', r'attn.norm.\2'),
    (r'ffn\.layers\.0\.(.+)', r'mlp.fc1.\2'),
    (r'ffn\.layers\.1\.(.+)', r'mlp.depthwise.\2'),
    # The second linear layer is number 3, or 4 where a depthwise convolution stands before it.
    (r'ffn\.layers\.[34]\.(.+)', r'mlp.fc2.\2'),
    (r'(norm[12]\..+)', r'\2'),
)


def _list_pvt_rules(first_block: int) -> Iterator[tuple[str, str]]:
    """Rules of stages; in version 1, block 0 is the position embedding."""
    yield r'backbone\.layers\.(\d)\.0\.projection\.(.+)', r'backbone.stages.\1.patch_embed.\2'
    yield r'backbone\.layers\.(\d)\.0\.norm\.(.+)', r'backbone.stages.\1.patch_norm.\2'
    yield r'backbone\.layers\.(\d)\.1\.0\.pos_embed', r'backbone.stages.\1.pos_embed'
    # Only version 2 has a norm behind a stage.
    yield r'backbone\.layers\.(\d)\.2\.(.+)', r'backbone.stages.\1.norm.\2'
    for block in range(first_block, _MAX_BLOCKS):
        for name, target in _PVT_LAYERS:
            prefix = f'backbone.stages.\\1.blocks.{block - first_block}.'
            yield rf'backbone\.layers\.(\d)\.1\.{block}\.{name}', prefix + target


PVT_RULES: tuple[tuple[str, str], ...] = (*_list_pvt_rules(1),)
PVT_V2_RULES: tuple[tuple[str, str], ...] = (*_list_pvt_rules(0),)
