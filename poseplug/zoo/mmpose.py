"""Conversion of weights from MMPose 1.x and from the official HRNet, SimpleBaseline and ViTPose.

Nothing is guessed: every name in a file is converted to a name of the model or ignored for a stated reason, every
tensor of the model is filled, and shapes agree; otherwise the file is refused. `ConversionReport` lists every name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion as Version

from poseplug.config.matching import MATCH_KEY
from poseplug.core.errors import CheckpointError, ConfigError, UnsafeFileError, compose_message, suggest_closest
from poseplug.core.skeleton import Skeleton
from poseplug.core.skeleton_checks import normalize_keypoint_name
from poseplug.files.atomic import write_atomically
from poseplug.files.output_guard import check_outputs
from poseplug.files.skeleton_record import SkeletonRecord, check_keypoints, describe_skeleton, warn_of_unnamed_keypoints
from poseplug.files.weights import adapt_state_dict, check_state_dict, load_checkpoint, map_keypoints_by_name
from poseplug.registry.skeletons import get_skeleton
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

# Older versions can be made to run code by a crafted file in spite of weights_only (CVE-2025-32434, CVE-2026-24747).
MIN_TORCH_FOR_FOREIGN_FILES = '2.10'
KEYPOINT_NAMES_FILE = Path(__file__).parent / 'keypoint_names.json'

# Objects that OpenMMLab's trainers pickle beside the weights: names and colors of data sets, and the log's numbers.
IGNORED_GLOBALS = (
    'numpy.dtype',
    'numpy.ndarray',
    'numpy._core.multiarray._reconstruct',
    'numpy._core.multiarray.scalar',
    'numpy.core.multiarray._reconstruct',
    'numpy.core.multiarray.scalar',
    'mmengine.logging.history_buffer.HistoryBuffer',
    'builtins.getattr',
)
_BATCH_COUNTER_SUFFIX = 'num_batches_tracked'


@dataclass
class ConversionEntry:
    """What one name of a file was converted to.

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
    """What every name of a file was converted to.

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
    from safetensors.torch import save

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
    report.entries += [ConversionEntry(name, [], reason='not weights') for name in content if name != 'state_dict']
    metadata = {'skeleton': json.dumps(describe_skeleton(model.skeleton))}
    if report.match:
        metadata[MATCH_KEY] = report.match
    # Made in memory, for the SHA-256; written as a whole.
    data = save({name: value.contiguous() for name, value in state.items()}, metadata)
    write_atomically(out, data)
    report.out_file, report.sha256 = str(out), hashlib.sha256(data).hexdigest()
    return report


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


def read_dataset_meta(meta: Any) -> SkeletonRecord | None:
    """Read the keypoints that a checkpoint of MMPose 1.x names (`meta.dataset_meta`).

    Args:
        meta: the checkpoint's `meta`.

    Returns:
        Names, flip pairs and sigmas, of which the file may lack the latter two; None if it names no keypoints. Names
        that MMPose has for a keypoint of ours are replaced.
    """
    dataset_meta: Any = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    names_by_index: Any = dataset_meta.get('keypoint_id2name') if isinstance(dataset_meta, Mapping) else None
    has_names = isinstance(names_by_index, Mapping) and bool(names_by_index)
    if not has_names or not all(isinstance(index, int) for index in names_by_index):
        return None
    names = [str(names_by_index[index]) for index in sorted(names_by_index)]
    # As a whole list: a single name such as `neck` may mean different points in two data sets.
    keypoints = _read_other_keypoint_names().get(tuple(map(normalize_keypoint_name, names)), names)
    flip_indices = _read_numbers(dataset_meta.get('flip_indices'), len(names))
    flip_pairs = None
    if flip_indices is not None:
        # Each pair once; a keypoint that is its own counterpart has none.
        pairs = [(i, int(j)) for i, j in enumerate(flip_indices) if i < j < len(names)]
        flip_pairs = tuple((keypoints[i], keypoints[j]) for i, j in pairs)
    sigmas = _read_numbers(dataset_meta.get('sigmas'), len(names))
    name = str(dataset_meta.get('dataset_name', 'the file'))
    return SkeletonRecord(name, tuple(keypoints), flip_pairs, None if sigmas is None else tuple(sigmas))


@cache
def _read_other_keypoint_names() -> dict[tuple[str, ...], list[str]]:
    """The keypoints of skeletons that MMPose spells otherwise, by MMPose's names."""
    content = json.loads(KEYPOINT_NAMES_FILE.read_text(encoding='utf-8'))
    return {
        tuple(map(normalize_keypoint_name, names)): [*get_skeleton(key).keypoints] for key, names in content.items()
    }


def _build_skeleton(record: SkeletonRecord) -> Skeleton:
    """The skeleton of a checkpoint, without limbs, which no file names."""
    return Skeleton(record.name, record.keypoints, flip_pairs=record.flip_pairs or (), sigmas=record.sigmas)


def _read_numbers(value: Any, count: int) -> list[float] | None:
    """As many numbers, or None; NumPy's arrays are not read (`IgnoredObject`)."""
    if isinstance(value, Tensor):
        value = value.tolist()
    is_list = isinstance(value, Sequence) and len(value) == count
    return [float(n) for n in value] if is_list and all(isinstance(n, int | float) for n in value) else None


def write_conversion_report(report: ConversionReport, path: Path) -> None:
    """Write a report as a JSON file, every entry of it."""
    write_atomically(path, json.dumps(asdict(report), indent=1).encode())


def read_foreign_checkpoint(path: Path, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint of another project without running any code in it.

    Args:
        path: a .pth or .safetensors file.
        trust: accept a file of MMEngine's trainer, whose log and NumPy objects (`IGNORED_GLOBALS`) are replaced by
            empty objects and not run; and any file under an old PyTorch.

    Returns:
        Its content, with the weights under 'state_dict'.

    Raises:
        UnsafeFileError: the file holds more than plain data, or PyTorch is too old to read it safely.
        CheckpointError: the file holds no weights.
    """
    is_old_torch = Version(torch.__version__) < Version(MIN_TORCH_FOR_FOREIGN_FILES)
    if not trust and path.suffix != '.safetensors' and is_old_torch:
        raise UnsafeFileError(
            f'{path} is foreign, and PyTorch {torch.__version__} can be made to run code by such a file '
            f'(CVE-2025-32434, CVE-2026-24747). Install torch>={MIN_TORCH_FOR_FOREIGN_FILES}, or add --trust if you '
            f'know its origin'
        )
    try:
        # Even a trusted file is loaded with weights_only=True: what else it asks for is refused.
        with _replace_ignored_globals() if trust else nullcontext():
            content = load_checkpoint(path)
    except UnsafeFileError as error:
        # Only for what `trust` would change: other objects are refused either way.
        if trust or not any(f' {name}, ' in str(error) for name in IGNORED_GLOBALS):
            raise
        raise UnsafeFileError(
            f'{path} keeps more than weights, as files of MMEngine do, and is refused as it is. If you know its '
            f'origin, add --trust: everything beside the weights is then ignored, still without running it'
        ) from error
    weights = content['state_dict']
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f'{path} has no weights: its state_dict is more or other than tensors by name')
    return content


class IgnoredObject:
    """Stands for an ignored object of a foreign file: accepts any arguments and keeps nothing."""

    def __new__(cls, *_: Any) -> IgnoredObject:
        return super().__new__(cls)

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass


@contextmanager
def _replace_ignored_globals() -> Iterator[None]:
    """While active, loading creates an `IgnoredObject` instead of calling what `IGNORED_GLOBALS` names."""
    with torch.serialization.safe_globals([(IgnoredObject, name) for name in IGNORED_GLOBALS]):
        yield


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
    # Weights that were saved inside of (Distributed)DataParallel have names that start with 'module.'.
    state_dict = fold_conv_biases({name.removeprefix('module.'): value for name, value in state_dict.items()})
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
    targets = [re.sub(pattern, replacement, name) for pattern, replacement in rules if re.fullmatch(pattern, name)]
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
