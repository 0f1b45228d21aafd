"""How MMPose names the weights of multi-stage networks."""

from __future__ import annotations

__all__ = ['CORNER_HOURGLASS_RULES', 'MMPOSE_CPM_RULES', 'MSPN_RULES']

import re
from collections.abc import Iterator

_STAGE = r'backbone\.multi_stage_(?:mspn|rsn)\.(\d+)\.'
_NUM_LEVELS = 4
_MAX_STAGES = 16  # more than any network has
_UNIT_LAYERS = (('in_skip', 'lateral'), ('up_conv', 'coarser'), ('out_skip1', 'skips.0'), ('out_skip2', 'skips.1'))
_BLOCK_LAYERS = (
    (r'downsample\.conv', 'downsample.0'),
    (r'downsample\.bn', 'downsample.1'),
    ('conv_bn_relu1', 'enter'),
    ('conv_bn3', 'leave'),
    # RSN: step j of branch i, both from 1; MSPN has none of these.
    *((f'conv_bn_relu2_{i}_{j}', f'branches.{i - 1}.{j - 1}') for i in range(1, 5) for j in range(1, i + 1)),
    *((f'{kind}{i}', f'{kind}{i}') for kind in ('conv', 'bn') for i in (1, 2, 3)),
)


def _list_unit_rules() -> Iterator[tuple[str, str]]:
    """MMPose counts the units of the path up from the coarsest, 1 to 4; here the finest is 0."""
    for unit in range(1, _NUM_LEVELS + 1):
        for name, target in _UNIT_LAYERS:
            prefix = f'backbone.stages.\\1.up.{_NUM_LEVELS - unit}'
            yield _STAGE + rf'upsample\.up{unit}\.{name}\.(.+)', rf'{prefix}.{target}.\2'


def _list_level_rules() -> Iterator[tuple[str, str]]:
    """The blocks of the path down."""
    for level in range(1, _NUM_LEVELS + 1):
        for name, target in _BLOCK_LAYERS:
            prefix = f'backbone.stages.\\1.down.{level - 1}.\\2'
            yield _STAGE + rf'downsample\.layer{level}\.(\d+)\.{name}\.(.+)', rf'{prefix}.{target}.\3'


MSPN_RULES: tuple[tuple[str, str], ...] = (
    (r'backbone\.top\.top\.0\.(.+)', r'backbone.stem.0.\1'),
    (_STAGE + r'upsample\.up4\.cross_conv\.(.+)', r'backbone.stages.\1.next_input.\2'),
    *_list_unit_rules(),
    *_list_level_rules(),
    (r'head\.predict_layers\.(\d+)\.conv_layers\.0\.(.+)', r'head.hidden.\1.\2'),
    (r'head\.predict_layers\.(\d+)\.conv_layers\.1\.(.+)', r'head.predict.\1.heatmap.\2'),
)

_CPM_HEAD = (  # their index of a layer, and ours
    (r'stem\.6', 'first.0'),
    (r'stem\.7', 'first.1'),
    (r'stem\.8', 'first.2'),
)


def _list_norm_rules(name: str, target: str) -> list[tuple[str, str]]:
    """Rules of a convolution and its norm, `conv` and `bn` there and 0 and 1 here."""
    suffixes = (('conv', '0'), ('bn', '1'))
    # The last group of the whole pattern, behind those of `name`.
    group = re.compile(name).groups + 1
    return [(rf'backbone\.{name}\.{part}\.(.+)', rf'{target}.{index}.\{group}') for part, index in suffixes]


MMPOSE_CPM_RULES: tuple[tuple[str, str], ...] = (
    # A pooling follows each of the first three convolutions of a trunk, so their indices agree.
    *_list_norm_rules(r'stem\.([024])', r'backbone.trunks.0.\1'),
    *_list_norm_rules(r'middle\.([024])', r'backbone.trunks.1.\1'),
    *(rule for name, target in _CPM_HEAD for rule in _list_norm_rules(name, f'head.{target}')),
    *_list_norm_rules(r'middle_conv\.(\d+)\.0', r'head.images.\1.0'),
    *_list_norm_rules(r'cpm_stages\.(\d+)\.model\.(\d)', r'head.contexts.\1.\2'),
    # The last context convolution stands in MMPose beside the prediction, not beside the other three.
    *_list_norm_rules(r'out_convs\.(\d+)\.0', r'head.contexts.\1.3'),
    (r'backbone\.stem\.9\.conv\.(.+)', r'head.predict.0.\1'),
    *((rf'backbone\.out_convs\.{t}\.1\.conv\.(.+)', rf'head.predict.{t + 1}.\1') for t in range(_MAX_STAGES - 1)),
)

CORNER_HOURGLASS_RULES: tuple[tuple[str, str], ...] = (
    (r'backbone\.hourglass_modules\.(.+)', r'backbone.stacks.\1'),
    (r'backbone\.out_convs\.(.+)', r'backbone.outputs.\1'),
    (r'backbone\.(stem\..+)', r'backbone.\1'),
    (r'head\.multi_final_layers\.0\.(.+)', r'head.predict.heatmap.\1'),
)
