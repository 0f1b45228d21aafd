"""Export of weights as a checkpoint that MMPose 1.x loads: the conversion of `poseplug.zoo.mmpose`, backward."""

from __future__ import annotations

__all__ = ['create_dataset_meta', 'export_mmpose_checkpoint', 'export_state_dict']

import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.files.atomic import write_atomically
from poseplug.files.output_guard import check_outputs
from poseplug.zoo.foreign_checkpoint import KEYPOINT_NAMES_FILE
from poseplug.zoo.mmpose import convert_state_dict
from poseplug.zoo.mmpose_layouts import CHECKPOINT_LAYOUTS, CheckpointLayout
from poseplug.zoo.mmpose_values import join_heatmap_tag_channels, join_udp_channels
from poseplug.zoo.name_rules import invert_rules, rename_by_rules

# Layouts that are not MMPose's, or of networks with tensors there that no weight here determines.
_LEFT_OUT = (
    'the official ViTPose',
    'the official HRNet or SimpleBaseline',
    'a CPM in PyTorch',
    "transformers' VitPose",
    "MMPose's DEKR",
    "MMPose's hourglass",
)
# (MMPose's name, name here that has to be in the model): which of several names that are read as the same one is meant.
_PREFERENCES = (
    (r'head\.cls_[xy]\.', r'head\.attention\.'),
    (r'head\.deconv_head\.', r'head\.deconvs\.'),
    (r'backbone\.multi_stage_rsn\.', r'backbone\.stages\..+\.branches\.'),
    (r'.+\.ffn\.layers\.4\.', r'backbone\..+\.mlp\.depthwise\.'),
    (r'backbone\.out_convs\.', r'head\.contexts\.'),
)
_NECK_TEMPERATURE, _DCC_TEMPERATURE = 10000.0, 300.0  # of the position encodings in MMPose's RTMO


def export_mmpose_checkpoint(model: nn.Module, source: Path, out: Path) -> str:
    """Write the weights of a model as a checkpoint of MMPose 1.x.

    Beside the weights it has what MMPose reads of the data set: names, flip pairs and limbs of the keypoints.

    Args:
        model: with its weights.
        source: their file, for messages.
        out: path of the new file, ending in .pth.

    Returns:
        What the names in the file are those of.

    Raises:
        ConfigError: `out` has another ending, or is the source.
        CheckpointError: MMPose has no such network, or has it with tensors that these weights do not determine.
    """
    if out.suffix != '.pth':
        raise ConfigError(f'--out {out}: a checkpoint of MMPose is a .pth file; name it {out.stem}.pth')
    check_outputs([source], [out])
    state, layout_name = export_state_dict(model, source)
    skeleton: Any = model.skeleton
    content = {'state_dict': state, 'meta': {'dataset_meta': create_dataset_meta(skeleton)}}
    file = io.BytesIO()
    torch.save(content, file)
    write_atomically(out, file.getvalue())
    return layout_name


def export_state_dict(model: nn.Module, source: Path | str = 'the file') -> tuple[dict[str, Tensor], str]:
    """Rename the weights of a model to MMPose's names, and create the buffers that MMPose has besides.

    Converting the result returns the same weights, which is verified here.

    Args:
        model: with its weights.
        source: their file, for messages.

    Returns:
        The weights by MMPose's names, and the name of the layout.

    Raises:
        CheckpointError: MMPose has no such network, or has it with tensors that these weights do not determine.
    """
    model_state: dict[str, Tensor] = dict(model.state_dict())
    _check_known_parts(model_state, source)
    for layout in CHECKPOINT_LAYOUTS:
        if layout.name in _LEFT_OUT:
            continue
        state = _rename_state(model_state, layout)
        if state is not None and _is_restored_by(model, state, layout):
            return {**state, **_create_buffers(model, state)}, layout.name
    raise CheckpointError(
        f'{source}: MMPose has no network of these parts, or poseplug does not write it; poseplug zoo export --help '
        f'says which it writes'
    )


def _check_known_parts(state: Mapping[str, Tensor], source: Path | str) -> None:
    """Refuse read-outs whose tensors in MMPose are more than the weights here."""
    if any(name.startswith('loss.') for name in state):
        raise CheckpointError(f'{source}: weights of a loss, such as the flow of RLE, are not written for MMPose')
    if 'head.maps.weight' in state and not any(name.startswith('head.bins.') for name in state):
        raise CheckpointError(f'{source}: heads of integral regression are not written for MMPose')


def _rename_state(model_state: Mapping[str, Tensor], layout: CheckpointLayout) -> dict[str, Tensor] | None:
    """The weights by the names of a layout; None if one has no name there, or if they are of another one."""
    if not _has_names_of(layout, model_state):
        return None
    state: dict[str, Tensor] = {}
    for name, value in model_state.items():
        field = re.fullmatch(r'head\.predict\.(offset|tags)\.(weight|bias)', name)
        if field:  # joined with the channels of heatmaps
            continue
        names = _list_mmpose_names(name, model_state, layout)
        if not names:
            return None
        state[names[0]] = _join_channels(name, value, model_state)
    return state


def _has_names_of(layout: CheckpointLayout, model_state: Mapping[str, Tensor]) -> bool:
    """Whether one of the names is, in the layout, one by which it is detected."""
    pattern, rules = re.compile(layout.name_pattern), invert_rules(layout.rules)
    return any(pattern.search(source) for name in model_state for rule in rules for source in rule.list_sources(name))


def _list_mmpose_names(name: str, model_state: Mapping[str, Tensor], layout: CheckpointLayout) -> list[str]:
    """The names of MMPose that are converted to a name, the preferred one first."""
    sources = [source for rule in invert_rules(layout.rules) for source in rule.list_sources(name)]
    names = [source for source in (*sources, name) if _rename_forward(source, model_state, layout) == name]
    for pattern, needed in _PREFERENCES:
        if any(re.match(needed, key) for key in model_state):
            preferred = [source for source in names if re.match(pattern, source)]
            names = [*preferred, *(source for source in names if source not in preferred)]
    return names


def _rename_forward(source: str, model_state: Mapping[str, Tensor], layout: CheckpointLayout) -> str:
    """The name that a conversion turns a name into."""
    targets = rename_by_rules(source, layout.rules)
    return next((target for target in targets if target in model_state), targets[0] if targets else source)


def _join_channels(name: str, value: Tensor, model_state: Mapping[str, Tensor]) -> Tensor:
    """The heatmaps' weight with those of the fields that MMPose predicts by the same layer."""
    offset, tags = (model_state.get(name.replace('heatmap', field)) for field in ('offset', 'tags'))
    if not name.startswith('head.predict.heatmap.'):
        return value
    if offset is not None:
        return join_udp_channels(value, offset)
    return value if tags is None else join_heatmap_tag_channels(value, tags)


def _is_restored_by(model: nn.Module, state: Mapping[str, Tensor], layout: CheckpointLayout) -> bool:
    """Whether the conversion of exported weights returns the model's, by the same layout."""
    try:
        restored, report = convert_state_dict(model, state)
    except CheckpointError:
        return False
    # bit for bit: names that are exchanged among tensors of one shape would pass any other check
    is_equal = all(torch.equal(restored[name], value) for name, value in model.state_dict().items())
    return is_equal and report.layout == layout.name


def _create_buffers(model: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that MMPose stores although its settings or the skeleton determine them."""
    buffers: dict[str, Tensor] = {}
    for create in (_create_dense_buffers, _create_window_indices, _create_zero_biases):
        buffers.update(create(model, state))
    return buffers


def _create_dense_buffers(model: Any, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Of RTMO and YOLOX-Pose."""
    if any(name.startswith('head.head_module.') for name in state):
        yield 'head.loss_oks.sigmas', torch.tensor(model.skeleton.sigmas)
    if 'head.dcc.pos_enc' in state:
        head = model.network.head
        for axis, count in zip('xy', head.dcc.num_bins, strict=True):
            yield f'head.dcc.{axis}_bins', torch.linspace(-0.5, 0.5, count)
        yield 'head.dcc.spe.dim_t', _compute_periods(state['head.dcc.x_fc.weight'].shape[1], _DCC_TEMPERATURE)
        channels = state['neck.encoder.0.layers.0.norms.0.weight'].numel()
        yield 'neck.sincos_pos_enc.dim_t', _compute_periods(channels // 2, _NECK_TEMPERATURE)


def _compute_periods(channels: int, temperature: float) -> Tensor:
    """(channels / 2,) the geometric series of periods of a position encoding, from 1."""
    count = channels // 2
    return temperature ** (torch.arange(count, dtype=torch.float32) / count)


def _create_window_indices(model: Any, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Of Swin and HRFormer: the entry of the table of biases for every pair of cells in a window."""
    for name, table in state.items():
        if name.endswith('.relative_position_bias_table'):
            # the table has a row for each of (2 size - 1)² offsets
            size = (math.isqrt(len(table)) + 1) // 2
            yield name.removesuffix('bias_table') + 'index', _index_window_pairs(size)


def _index_window_pairs(size: int) -> Tensor:
    """(N, N) indices into a table of (2 size - 1)² offsets, of the N = size² cells of a window."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing='ij')
    # offsets from -(size - 1) on become indices from 0 on
    dy, dx = (axis.flatten()[:, None] - axis.flatten() + size - 1 for axis in (y, x))
    return dy * (2 * size - 1) + dx


def _create_zero_biases(model: Any, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Of convolutions before a norm, and of masks before a softmax, which have none here."""
    for name, value in state.items():
        is_vgg = re.fullmatch(r'backbone\.features\.\d+\.conv\.weight', name)
        is_head = re.fullmatch(r'head\.conv_layers\.\d+\.weight', name) and value.dim() == 4
        is_mask = re.fullmatch(r'backbone\.layer\d\.\d+\.attention\.conv_mask\.weight', name)
        if is_vgg or is_head or is_mask:
            yield name.removesuffix('weight') + 'bias', value.new_zeros(len(value))


def create_dataset_meta(skeleton: Skeleton) -> dict[str, Any]:
    """Describe a skeleton as MMPose's checkpoints do, in plain lists and numbers.

    Args:
        skeleton: of the model.

    Returns:
        What `meta['dataset_meta']` of a checkpoint holds.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> meta = create_dataset_meta(COCO)
        >>> meta['keypoint_id2name'][0], meta['flip_indices'][:3]
        ('nose', [0, 2, 1])
    """
    content = json.loads(KEYPOINT_NAMES_FILE.read_text(encoding='utf-8'))
    names = content.get(skeleton.name, [*skeleton.keypoints])
    index: Callable[[str], int] = skeleton.index
    links = [(index(start), index(end)) for start, end in skeleton.limbs]
    sigmas = [] if skeleton.sigmas is None else [*skeleton.sigmas]
    return dict(
        dataset_name=skeleton.name,
        num_keypoints=len(names),
        keypoint_id2name=dict(enumerate(names)),
        keypoint_name2id={name: i for i, name in enumerate(names)},
        flip_indices=[int(i) for i in skeleton.flip_indices],
        flip_pairs=[(names[index(a)], names[index(b)]) for a, b in skeleton.flip_pairs],
        # for MMPose's augmentation by half bodies, which predictions with the weights do not use
        upper_body_ids=[],
        lower_body_ids=[],
        num_skeleton_links=len(links),
        skeleton_links=links,
        # MMPose's drawings need a color for each limb and keypoint, whichever it is
        skeleton_link_colors=[[0, 255, 0]] * len(links),
        keypoint_colors=[[255, 128, 0]] * len(names),
        dataset_keypoint_weights=[1.0] * len(names),
        sigmas=sigmas,
    )
