"""Weights of MMPose 1.x, and of the official HRNet, SimpleBaseline and ViTPose, under the names that ours have.

Nothing is guessed: every name of a file becomes one of the model's or is left out for a reason, every tensor of the
model is filled, and shapes agree; otherwise the file is refused. What became of each name is in the `Report`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion as Version

from poseplug.engine import checkpoint
from poseplug.errors import CheckpointError, ConfigError, UnsafeFileError, clauses, closest

SAFE_TORCH = '2.10'  # from which on no file is known that gets past weights_only
Rules = tuple[tuple[str, str], ...]

# What a trainer of the OpenMMLab family keeps beside the weights: sets' names and colours, and the log's numbers.
BESIDE_WEIGHTS = (
    'numpy.dtype',
    'numpy.ndarray',
    'numpy._core.multiarray._reconstruct',
    'numpy._core.multiarray.scalar',
    'numpy.core.multiarray._reconstruct',
    'numpy.core.multiarray.scalar',
    'mmengine.logging.history_buffer.HistoryBuffer',
    'builtins.getattr',
)
HEAD: Rules = (
    (r'(?:keypoint_)?head\.deconv_layers\.(.+)', r'head.deconvs.\1'),
    (r'(?:keypoint_)?head\.final_layer\.(weight|bias)', r'head.predict.heatmap.\1'),
)
BINS: Rules = (
    (r'head\.(?:deconv_head\.)?deconv_layers\.(.+)', r'head.deconvs.\1'),
    (r'head\.(?:deconv_head\.)?final_layer\.(weight|bias)', r'head.maps.\1'),
    (r'head\.(?:mlp_head|cls)_([xy])\.(.+)', r'head.bins.\1.\2'),
    (r'head\.mlp\.(.+)', r'head.tokens.\1'),
    (r'head\.gau\.res_scale\.scale', r'head.attention.shortcut'),
    (r'head\.gau\.(.+)', r'head.attention.\1'),
)
SAME: Rules = ((r'(backbone\..+)', r'\1'),)
ONE_STAGE: Rules = (
    (r'neck\.input_proj\.(.+)', r'neck.inputs.\1'),
    (r'neck\.encoder\.0\.layers\.0\.self_attn\.attn\.(.+)', r'neck.encoder.attention.\1'),
    (r'neck\.encoder\.0\.layers\.0\.ffn\.layers\.0\.0\.(.+)', r'neck.encoder.layer1.\1'),
    (r'neck\.encoder\.0\.layers\.0\.ffn\.layers\.1\.(.+)', r'neck.encoder.layer2.\1'),
    (r'neck\.encoder\.0\.layers\.0\.norms\.0\.(.+)', r'neck.encoder.norm1.\1'),
    (r'neck\.encoder\.0\.layers\.0\.norms\.1\.(.+)', r'neck.encoder.norm2.\1'),
    (r'neck\.lateral_convs\.(.+)', r'neck.laterals.\1'),
    (r'neck\.fpn_blocks\.(.+)', r'neck.down_fusions.\1'),
    (r'neck\.downsample_convs\.(.+)', r'neck.halvings.\1'),
    (r'neck\.pan_blocks\.(.+)', r'neck.up_fusions.\1'),
    (r'neck\.projector\.convs\.(.+)', r'neck.outputs.\1'),
    (r'head\.head_module\.conv_cls\.(.+)', r'head.score_towers.\1'),
    (r'head\.head_module\.conv_pose\.(.+)', r'head.pose_towers.\1'),
    (r'head\.head_module\.out_cls\.(.+)', r'head.scores.score.\1'),
    (r'head\.head_module\.out_bbox\.(.+)', r'head.poses.raw.\1'),
    (r'head\.head_module\.out_kpt_reg\.(.+)', r'head.poses.proxy.\1'),
    (r'head\.head_module\.out_kpt_vis\.(.+)', r'head.poses.visible.\1'),
    (r'head\.head_module\.out_pose\.(.+)', r'head.poses.vector.\1'),
    (r'head\.dcc\.pos_enc', 'head.dcc.code'),
    (r'head\.dcc\.gau\.res_scale\.scale', 'head.dcc.attention.shortcut'),
    (r'head\.dcc\.gau\.(.+)', r'head.dcc.attention.\1'),
    (r'head\.dcc\.pose_to_kpts\.(.+)', r'head.dcc.to_tokens.\1'),
    (r'head\.dcc\.([xy])_fc\.(.+)', r'head.dcc.\1_code.\2'),
    (r'head\.dcc\.sigma_fc\.0\.(.+)', r'head.dcc.to_spread.\1'),
    (r'head\.dcc\.sigma_fc\.2\.scale', 'head.dcc.spread_scale'),
)


@dataclass(frozen=True)
class Layout:
    """One way to name weights: `sign` is found in a name of such a file; the first of the `rules` that fits counts."""

    name: str
    sign: str
    rules: Rules


LAYOUTS = (
    Layout(
        "MMPose 1.x's ViT",
        r'^backbone\.layers\.\d+\.ffn\.',
        (
            (r'backbone\.pos_embed', r'backbone.pos_embed'),
            (r'backbone\.patch_embed\.projection\.(.+)', r'backbone.patch_embed.proj.\1'),
            (r'backbone\.layers\.(\d+)\.ln([12])\.(.+)', r'backbone.blocks.\1.norm\2.\3'),
            (r'backbone\.layers\.(\d+)\.attn\.(.+)', r'backbone.blocks.\1.attn.\2'),
            (r'backbone\.layers\.(\d+)\.ffn\.layers\.0\.0\.(.+)', r'backbone.blocks.\1.mlp.fc1.\2'),
            (r'backbone\.layers\.(\d+)\.ffn\.layers\.1\.(.+)', r'backbone.blocks.\1.mlp.fc2.\2'),
            (r'backbone\.ln1\.(.+)', r'backbone.norm.\1'),
            *HEAD,
        ),
    ),
    Layout(
        'the official ViTPose',
        r'^backbone\.blocks\.\d+\.mlp\.',
        ((r'backbone\.last_norm\.(.+)', r'backbone.norm.\1'), *SAME, *HEAD),
    ),
    Layout("MMPose's RTMO", r'^head\.dcc\.', (*SAME, *ONE_STAGE)),
    Layout("MMPose's SimCC or RTMPose", r'^head\.(mlp_head|cls)_x\.', (*SAME, *BINS)),
    Layout("MMPose's ResNet, HRNet or CSPNeXt", r'^backbone\.(conv1|stem\.0\.conv)\.weight$', (*SAME, *HEAD)),
    Layout(
        'the official HRNet or SimpleBaseline',
        r'^conv1\.weight$',
        (
            (r'deconv_layers\.(.+)', r'head.deconvs.\1'),
            (r'final_layer\.(weight|bias)', r'head.predict.heatmap.\1'),
            (r'((?:conv|bn|layer|transition|stage)\d\..+)', r'backbone.\1'),
        ),
    ),
)
OTHER_NETWORKS = (
    ("MMPose's CPM", r'^backbone\.cpm_stages\.', 'CPMTrunk with CPMHead'),
    ("MMPose's hourglass", r'^backbone\.hourglass_modules\.', 'Hourglass with HourglassHead'),
)
NOT_YET = (('ViTPose+ with its experts', r'^(backbone\.blocks\.\d+\.mlp\.experts|associate_keypoint_heads)\.'),)
LEFT_OUT: Rules = (
    (r'data_preprocessor\..+', "pixels are normalised by the config's model.pixels"),
    (r'neck\.sincos_pos_enc\.dim_t|head\.dcc\.(spe\.dim_t|[xy]_bins)', 'follows from the settings'),
    (r'head\.loss_oks\.sigmas', "those are the skeleton's"),
)
COUNTER = 'num_batches_tracked'


@dataclass
class Line:
    """What became of one name: it stands under `to`, or nowhere for the `reason`; '' fills what the file lacks."""

    name: str
    to: list[str]
    shape: list[int] = field(default_factory=list)
    reason: str = ''

    def __str__(self) -> str:
        became = ', '.join(self.to) or 'left out'
        return f'{self.name or "not in the file"} {tuple(self.shape)} -> {became}' + (
            f' ({self.reason})' if self.reason else ''
        )


@dataclass
class Report:
    """What became of every name of a file: one line each, and one for each tensor that no name of the file fills."""

    layout: str
    lines: list[Line] = field(default_factory=list)
    out: str = ''
    sha256: str = ''

    def __str__(self) -> str:
        filled = sum(len(line.to) for line in self.lines)
        left = sum(not line.to for line in self.lines)
        read = sum(bool(line.name) for line in self.lines)
        return f'names of {self.layout}: {read} read, {left} left out; {filled} tensors filled'


def convert(source: Path, cfg: Mapping[str, Any], out: Path, trust: bool = False) -> Report:
    """Write a foreign checkpoint as a .safetensors file for the model of a config.

    Raises:
        UnsafeFileError: it holds more than plain data, and is not trusted.
        CheckpointError: it is not of the config's model, or of a network that has no equal here.
    """
    from safetensors.torch import save

    from poseplug.build import build_model

    if out.suffix != '.safetensors':
        raise ConfigError(f'--out {out}: converted weights are a .safetensors file; name it {out.stem}.safetensors')
    content = read(source, trust)
    with torch.random.fork_rng(devices=[]):
        model = build_model(cfg)
    state, report = converted(model, content['state_dict'], source)
    report.lines += [Line(name, [], reason='not weights') for name in content if name != 'state_dict']
    data = save({name: value.contiguous() for name, value in state.items()})
    checkpoint.write_whole(out, data)
    report.out, report.sha256 = str(out), hashlib.sha256(data).hexdigest()
    return report


def write_report(report: Report, path: Path) -> None:
    """Every line of a report, as JSON."""
    checkpoint.write_whole(path, json.dumps(asdict(report), indent=1).encode())


def read(path: Path, trust: bool = False) -> dict[str, Any]:
    """A foreign checkpoint with its 'state_dict'; without `trust` of nothing but plain data."""
    if not trust and path.suffix != '.safetensors' and Version(torch.__version__) < Version(SAFE_TORCH):
        raise UnsafeFileError(
            f'{path} is foreign, and PyTorch {torch.__version__} can be made to run code by such a file '
            f'(CVE-2025-32434, CVE-2026-24747). Install torch>={SAFE_TORCH}, or add --trust if you know its origin'
        )
    try:
        with stand_ins() if trust else nullcontext():
            content = checkpoint.load(path)
    except UnsafeFileError as error:
        if trust or not any(f' {name}, ' in str(error) for name in BESIDE_WEIGHTS):
            raise
        raise UnsafeFileError(
            f'{path} keeps more than weights, as files of MMEngine do, and is refused as it is. If you know where it '
            f'is from, add --trust: what stands beside the weights is then passed over, still without running it'
        ) from error
    weights = content['state_dict']
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f'{path} has no weights: its state_dict is more or other than tensors by name')
    return content


class Ignored:
    """What is put in the place of a foreign object: it takes everything, and keeps nothing."""

    def __new__(cls, *_: Any) -> Ignored:
        return super().__new__(cls)

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass


@contextmanager
def stand_ins() -> Iterator[None]:
    """Within it, loading puts `Ignored` in the place of what `BESIDE_WEIGHTS` names: none of that is called."""
    with torch.serialization.safe_globals([(Ignored, name) for name in BESIDE_WEIGHTS]):
        yield


def shows(names: Iterable[str], sign: str) -> bool:
    """Whether one of the names has the sign in it."""
    return any(re.search(sign, name) for name in names)


def layout_of(names: Mapping[str, Any], source: Path | str = 'the file') -> Layout:
    """The layout that a file's names show; a network that has no equal here, or an unknown one, is an error."""
    for network, sign, ours in OTHER_NETWORKS:
        if shows(names, sign):
            raise CheckpointError(f'{source} is of {network}, which is another network than ours; train {ours} anew')
    for network, sign in NOT_YET:
        if shows(names, sign):
            raise CheckpointError(f'{source} is of {network}, whose names are not mapped yet')
    for layout in LAYOUTS:
        if shows(names, layout.sign):
            return layout
    first = ', '.join([*names][:3]) or 'none'
    known = '; '.join(layout.name for layout in LAYOUTS)
    raise CheckpointError(f'{source} has names (first: {first}) of no known kind; known: {known}')


def converted(
    model: nn.Module, given: Mapping[str, Tensor], source: Path | str = 'the file'
) -> tuple[dict[str, Tensor], Report]:
    """A model's state out of foreign weights, complete and of its shapes, and what became of every name."""
    given = {name.removeprefix('module.'): value for name, value in given.items()}
    layout = layout_of(given, source)
    wanted, report = model.state_dict(), Report(layout.name)
    state: dict[str, Tensor] = {}
    for name, value in given.items():
        parts, reason = renamed(name, value, layout.rules, wanted)
        refuse_unknown(name, parts, wanted, source, layout)
        if parts.keys() & state.keys():
            raise CheckpointError(f'{source} has {[*parts][0]} twice: {name} and another of its names become it')
        report.lines.append(Line(name, [*parts], [*value.shape], reason))
        state.update(parts)
    for name in wanted:
        if name.endswith(COUNTER) and name not in state:
            state[name] = wanted[name]
            report.lines.append(Line('', [name], reason='files of old PyTorch do not count batches'))
    checkpoint.adapt(model, state)
    checkpoint.require_same(model, state, source)
    return state, report


def renamed(name: str, value: Tensor, rules: Rules, wanted: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Our names and tensors for one of a file's, or no names and the reason; a name of no rule stands for itself."""
    for pattern, reason in LEFT_OUT:
        if re.fullmatch(pattern, name):
            return {}, reason
    to = next((re.sub(p, r, name) for p, r in rules if re.fullmatch(p, name)), name)
    if to.startswith('head.predict.heatmap.') and to.replace('heatmap', 'offset') in wanted:
        return disks_and_ways(to, value), 'channels of class, x and y by joint'
    if to.startswith('head.predict.heatmap.') and to.replace('heatmap', 'tags') in wanted:
        return maps_and_tags(to, value, wanted), 'channels of heatmaps, then of tags'
    return {to: value}, ''


def disks_and_ways(name: str, value: Tensor) -> dict[str, Tensor]:
    """UDP's channels (3 K, ...), class, x and y of each joint in turn, to our 'heatmap' (K) and 'offset' (2 K)."""
    if len(value) % 3:
        raise CheckpointError(f'{name} has {len(value)} channels, not three a joint; set model.codec to UDPHeatmap')
    by_joint = value.unflatten(0, (-1, 3))
    return {name: by_joint[:, 0], name.replace('heatmap', 'offset'): by_joint[:, 1:].flatten(0, 1)}


def maps_and_tags(name: str, value: Tensor, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Associative embedding's channels, one a joint for its heatmap, then one for its tag, to ours by field."""
    fields = [name, name.replace('heatmap', 'tags')]
    sizes = [len(wanted[field]) for field in fields]
    if len(value) != sum(sizes):
        raise CheckpointError(
            f"{name} has {len(value)} channels, and the config's model {sizes[0]} for heatmaps and {sizes[1]} for "
            f'tags; take the skeleton that the file was trained for'
        )
    return dict(zip(fields, value.split(sizes), strict=True))


def refuse_unknown(
    name: str, parts: Mapping[str, Any], wanted: Mapping[str, Tensor], source: Path | str, layout: Layout
) -> None:
    """Raise where a file's name becomes one that the model does not have; the message says the closest."""
    for to in parts:
        if to not in wanted:
            became = f' (here: {to})' if to != name else ''
            raise CheckpointError(
                clauses(
                    f"{source}, of {layout.name}, has {name}{became}, which the config's model has not",
                    closest(to, wanted),
                    'take the config of the same network, head and size',
                )
            )
