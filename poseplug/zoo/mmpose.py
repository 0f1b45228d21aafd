"""Conversion of weights from MMPose 1.x, transformers, and the official HRNet, SimpleBaseline and ViTPose.

Nothing is guessed: every name in a file is converted to a name of the model or ignored for a stated reason, every
tensor of the model is filled, and shapes agree; otherwise the file is refused. `ConversionReport` lists every name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from poseplug.config.matching import MATCH_KEY
from poseplug.core.errors import CheckpointError, ConfigError, compose_message, suggest_closest
from poseplug.core.skeleton import Skeleton
from poseplug.files.atomic import write_atomically
from poseplug.files.output_guard import check_outputs
from poseplug.files.skeleton_record import SkeletonRecord, check_keypoints, describe_skeleton, warn_of_unnamed_keypoints
from poseplug.files.weight_checks import check_finite_weights, check_state_dict, list_part_names
from poseplug.files.weights import adapt_state_dict, map_keypoints_by_name
from poseplug.files.wrapped_names import holds_weights, remove_wrapper_names
from poseplug.zoo.foreign_checkpoint import read_dataset_meta, read_foreign_checkpoint
from poseplug.zoo.mmpose_layouts import (
    CHECKPOINT_LAYOUTS,
    IGNORED_NAMES,
    CheckpointLayout,
    RenameRules,
    detect_layout,
)
from poseplug.zoo.mmpose_values import (
    convert_flow_weight,
    fold_conv_biases,
    split_heatmap_tag_channels,
    split_udp_channels,
)
from poseplug.zoo.name_rules import rename_by_rules
from poseplug.zoo.transformers_export import join_attention_projections

_BATCH_COUNTER_SUFFIX = 'num_batches_tracked'


@dataclass
class ConversionEntry:
    """The conversion of one tensor of a file.

    Attributes:
        name: in the file; '' for a tensor that the file lacks and that keeps the model's value.
        targets: names in the model; none if the name is ignored.
        shape: of the tensor in the file.
        reason: why the name is ignored, split or filled.
    """

    name: str
    targets: list[str]
    shape: list[int] = field(default_factory=list)
    reason: str = ''

    def __str__(self) -> str:
        name, targets = self.name or 'not in the file', ', '.join(self.targets) or 'ignored'
        reason = f' ({self.reason})' if self.reason else ''
        return f'{name} {tuple(self.shape)} -> {targets}{reason}'


@dataclass
class ConversionReport:
    """The conversions of all tensors of a file.

    Attributes:
        layout: name of the file's layout.
        entries: one for each name in the file, and one for each tensor of the model that no name fills.
        match: whose crops, read-outs and scores the weights were trained for, '' where the model's codec offers no
            such setting.
        out_file: the written file, once there is one.
        sha256: of the written file.
    """

    layout: str
    entries: list[ConversionEntry] = field(default_factory=list)
    match: str = ''
    out_file: str = ''
    sha256: str = ''

    def __str__(self) -> str:
        num_filled = sum(len(entry.targets) for entry in self.entries)
        num_ignored = sum(not entry.targets for entry in self.entries)
        num_read = sum(bool(entry.name) for entry in self.entries)
        match = f'; used with match={self.match!r}' if self.match else ''
        return f'names of {self.layout}: {num_read} read, {num_ignored} ignored; {num_filled} tensors filled{match}'


def convert_checkpoint(
    source: Path,
    cfg: Mapping[str, Any],
    out: Path,
    trust: bool = False,
    map_keypoints: bool = False,
    names_are_known: bool = False,
) -> ConversionReport:
    """Convert a foreign checkpoint to a .safetensors file for the model of a config.

    The file's metadata say whose crops, read-outs and scores the weights were trained for; what loads it follows them.

    Args:
        source: the foreign checkpoint.
        cfg: a loaded config of the same network.
        out: path of the new file, ending in .safetensors.
        trust: see `read_foreign_checkpoint`.
        map_keypoints: whether the channels of the checkpoint are taken by the names of its keypoints.
        names_are_known: whether a checkpoint that names no keypoints is known to have those of the config; else a
            warning is logged.

    Returns:
        The report, with path and SHA-256 of the new file.

    Raises:
        ConfigError: `out` has another ending, or is the foreign checkpoint.
        UnsafeFileError: the checkpoint holds more than plain data and is not trusted.
        CheckpointError: it does not fit the config's model, is of a network that poseplug does not have, or was trained
            for other keypoints than those of the config.
    """
    from poseplug.config.build import build_model

    if out.suffix != '.safetensors':
        raise ConfigError(f'--out {out}: converted weights are a .safetensors file; name it {out.stem}.safetensors')
    check_outputs([source], [out])
    content = read_foreign_checkpoint(source, trust)
    with torch.random.fork_rng(devices=[]):  # building draws initial weights from the global generator
        model: Any = build_model(cfg)
    # Equal shapes are not enough: weights of 17 animal keypoints load into a model of COCO's 17.
    record = read_dataset_meta(content.get('meta'))
    # Converted into a model of the file's own keypoints first; then its channels are taken by name.
    if map_keypoints and record is not None:
        with torch.random.fork_rng(devices=[]):
            source_model = build_model({**cfg, 'skeleton': _build_skeleton(record)})
        state, report = convert_state_dict(source_model, content['state_dict'], source)
        state = map_keypoints_by_name(model, state, record, source)
    else:
        check_keypoints(record, model.skeleton, source)
        if record is None and not names_are_known:
            warn_of_unnamed_keypoints(model.skeleton, source)
        state, report = convert_state_dict(model, content['state_dict'], source)
    report.match = _choose_match(model, report.layout)
    # Before it is written: the new file would be refused when it is loaded.
    check_finite_weights(state, source)
    report.entries += [_describe_other_entry(*entry) for entry in content.items() if entry[0] != 'state_dict']
    _write_weights(out, state, model, report)
    return report


def _describe_other_entry(name: str, value: Any) -> ConversionEntry:
    return ConversionEntry(name, [], reason='a second set of weights' if holds_weights(value) else 'not weights')


def _write_weights(out: Path, state: Mapping[str, Tensor], model: Any, report: ConversionReport) -> None:
    """Write a file with the metadata that loading reads, and enter it in the report."""
    from safetensors.torch import save

    metadata = {'skeleton': json.dumps(describe_skeleton(model.skeleton))}
    if report.match:
        metadata[MATCH_KEY] = report.match
    # Made in memory, for the SHA-256; written as a whole.
    data = save({name: value.contiguous() for name, value in state.items()}, metadata)
    write_atomically(out, data)
    report.out_file, report.sha256 = str(out), hashlib.sha256(data).hexdigest()


def _choose_match(model: nn.Module, layout_name: str) -> str:
    """Whose conventions the model's codec shall follow for weights of a layout; '' if it does not offer them.

    Raises:
        ConfigError: another setting of the codec contradicts them.
    """
    match = next(layout.match for layout in CHECKPOINT_LAYOUTS if layout.name == layout_name)
    codec: Any = getattr(model, 'codec', None)
    if match not in getattr(codec, 'matches', ()):
        return ''
    # Built and thrown away: the codec checks the combination when it is built.
    replace(codec, match=match)
    return match


def _build_skeleton(record: SkeletonRecord) -> Skeleton:
    """The skeleton of a checkpoint, without limbs, which no file names."""
    return Skeleton(record.name, record.keypoints, flip_pairs=record.flip_pairs or (), sigmas=record.sigmas)


def write_conversion_report(report: ConversionReport, path: Path) -> None:
    """Write a report as a JSON file, every entry of it."""
    write_atomically(path, json.dumps(asdict(report), indent=1).encode())


def convert_state_dict(
    model: nn.Module, state_dict: Mapping[str, Tensor], source: Path | str = 'the file'
) -> tuple[dict[str, Tensor], ConversionReport]:
    """Convert foreign weights to the state of a model.

    Args:
        model: gives names and shapes.
        state_dict: foreign weights by name.
        source: the file, for messages.

    Returns:
        The model's state, complete and of its shapes, and the report.

    Raises:
        CheckpointError: a name is unknown or two become one, or a tensor is missing or has another shape.
    """
    state_dict = remove_wrapper_names(state_dict, list_part_names(model))
    state_dict = fold_conv_biases(join_attention_projections(state_dict))
    layout = detect_layout(state_dict, source)
    model_state, report = model.state_dict(), ConversionReport(layout.name)
    state: dict[str, Tensor] = {}
    for name, value in state_dict.items():
        converted, reason = _rename_weight(name, value, layout.rules, model_state)
        _check_known_names(name, converted, model_state, source, layout)
        # Two names that become one would silently leave the last one.
        if converted.keys() & state.keys():
            raise CheckpointError(
                f'{source} has {[*converted][0]} twice: {name} and another of its names are converted to it'
            )
        report.entries.append(ConversionEntry(name, [*converted], [*value.shape], reason))
        state.update(converted)
    # The only tensors that may be missing: they count batches, and nothing in prediction reads them.
    for name in model_state:
        if name.endswith(_BATCH_COUNTER_SUFFIX) and name not in state:
            state[name] = model_state[name]
            report.entries.append(ConversionEntry('', [name], reason='files of old PyTorch do not count batches'))
    adapt_state_dict(model, state)
    check_state_dict(model, state, source)
    return state, report


def _rename_weight(
    name: str, value: Tensor, rules: RenameRules, model_state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """Convert one weight: tensors by the model's names (unchanged without a rule), or none and the reason."""
    flow_weight = convert_flow_weight(name, value, model_state)
    if flow_weight:
        return flow_weight, 'the coordinate that is not masked'
    targets = rename_by_rules(name, rules)
    # Networks with the same name for different tensors are told apart by the names of the model.
    target = next((target for target in targets if target in model_state), None)
    if target is None:
        for pattern, reason in IGNORED_NAMES:
            if re.fullmatch(pattern, name):
                return {}, reason
        # Of no tensor here: the caller reports it, with this name as the closest guess.
        target = targets[0] if targets else name
    is_heatmap = target.startswith('head.predict.heatmap.')
    if is_heatmap and target.replace('heatmap', 'offset') in model_state:
        return split_udp_channels(target, value), 'channels of class, x and y by keypoint'
    if is_heatmap and target.replace('heatmap', 'tags') in model_state:
        return split_heatmap_tag_channels(target, value, model_state), 'channels of heatmaps, then of tags'
    return {target: value}, ''


def _check_known_names(
    name: str,
    converted: Mapping[str, Any],
    model_state: Mapping[str, Tensor],
    source: Path | str,
    layout: CheckpointLayout,
) -> None:
    """Raise if a name is converted to one that the model does not have; the message suggests the closest."""
    for target in converted:
        if target not in model_state:
            our_name = f' (here: {target})' if target != name else ''
            raise CheckpointError(
                compose_message(
                    f"{source}, of {layout.name}, has {name}{our_name}, which the config's model has not",
                    suggest_closest(target, model_state),
                    'use the config of the same network, head and size',
                )
            )
