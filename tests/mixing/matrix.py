"""Every combination of backbone, head, codec and estimator, with small settings, and whether it fits.

`python -m tests.mixing.matrix docs/lab/mixing.md` writes the page.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from poseplug.core.batch import Batch
from poseplug.core.errors import MismatchError
from poseplug.registry import CODECS, MODELS
from poseplug.testing import SMALL_SKELETON, create_annotated_record
from tests.test_contracts import SETTINGS, list_builtin_parts

SIZE = (64, 64)
STRIDES = (4, 8, 16, 32)
DRAWING = {'sigma_px': 8.0, 'radius_factor': 0.6}  # large enough to reach some cells of the coarsest grid
TOP_DOWN = ('TopDown', 'MultiTopDown', 'DistilledTopDown')
ESTIMATORS = (*TOP_DOWN, 'BottomUp', 'OneStage')
HEADS = {  # of dense instances
    'RTMOHead': dict(pose_channels=8, dcc=dict(feat_channels=8, num_bins=(12, 16))),
    'YOLOXPoseHead': dict(feat_channels=8),
}
LOSSES = {  # of codecs whose fields are not trained by squared errors
    'Integral': dict(heatmap=dict(type='JensenShannon'), keypoints=dict(type='SmoothL1Loss')),
    'RLERegression': dict(type='RLELoss', num_layers=2, hidden_channels=8),
    'Regression': dict(type='SmoothL1Loss'),
    'SimCC': dict(type='KLDivergence'),
    'Tags': dict(heatmap=dict(type='MeanSquaredError'), tags=dict(type='AssociativeEmbeddingLoss')),
}


@dataclass(frozen=True)
class Combination:
    """One combination; `stride` is the finest one at which it fits, None for a codec without cells."""

    backbone: str
    head: str
    codec: str
    stride: int | None = None
    neck: str | None = None

    @property
    def estimators(self) -> tuple[str, ...]:
        """The estimators that use the codec: for crops, whole images, or dense instances."""
        if is_dense(self.codec):
            return ('OneStage',)
        return (*TOP_DOWN, 'BottomUp') if CODECS.get(self.codec).groups_instances else TOP_DOWN

    def to_config(self, single_instance: bool) -> dict[str, Any]:
        """The parts and the loss as in a config; codecs of several instances may be limited to a single one."""
        cells = {} if self.stride is None else {'stride': self.stride, **DRAWING}
        settings = {**cells, 'single_instance': single_instance}
        known = {n: v for n, v in settings.items() if n in list_settings(self.codec)}
        codec = {**get_small_config(self.codec), 'input_size': SIZE, **known}
        parts = dict(
            codec=codec,
            backbone=get_small_config(self.backbone),
            head=get_small_config(self.head),
            loss=LOSSES.get(self.codec),
        )
        return parts if self.neck is None else {**parts, 'neck': get_small_config(self.neck)}


def is_dense(codec: str) -> bool:
    """Whether a codec reads an instance at every cell."""
    return CODECS.get(codec).field_kind == 'instances'


def list_settings(codec: str) -> set[str]:
    """The names of a codec's settings."""
    return set(CODECS.get(codec).__dataclass_fields__)


def get_small_config(name: str) -> dict[str, Any]:
    """The config of a part with small settings."""
    return {'type': name, **{'DenseInstances': {}, **HEADS, **SETTINGS}[name]}


@cache
def list_candidates() -> tuple[Combination, ...]:
    """Every combination, whether it fits or not; those of dense instances with each neck and without one."""
    return tuple(
        Combination(b, h, c, neck=n)
        for dense, necks in ((False, (None,)), (True, (None, *list_builtin_parts(MODELS, 'models.necks'))))
        for b in list_builtin_parts(MODELS, 'models.backbones')
        for h in list_heads(dense)
        for c in list_codecs(dense)
        for n in necks
    )


def list_codecs(dense: bool = False) -> list[str]:
    """The codecs of dense instances, or the others."""
    return [codec for codec in list_builtin_parts(CODECS) if is_dense(codec) == dense]


def list_heads(dense: bool = False) -> list[str]:
    """The heads that predict the fields of one of the codecs."""
    kinds = {CODECS.get(codec).field_kind for codec in list_codecs(dense)}
    return [head for head in list_builtin_parts(MODELS, 'models.heads') if kinds & set(MODELS.get(head).field_kinds)]


def list_strides(mix: Combination) -> tuple[int | None, ...]:
    """The strides to try: a codec without cells has none."""
    return STRIDES if 'stride' in list_settings(mix.codec) else (None,)


@cache
def get_backbone(name: str) -> Any:
    """A backbone, built once: whether other parts fit follows from its declarations."""
    return MODELS.build(get_small_config(name), input_size=SIZE)


def build_combination(mix: Combination, estimator: str = 'TopDown', **overrides: Any) -> Any:
    """The estimator of a combination, with seeded weights; raises a MismatchError if the parts do not fit."""
    torch.manual_seed(0)
    parts = {**mix.to_config(single_instance=estimator in TOP_DOWN), **overrides}
    if estimator == 'MultiTopDown':
        spec = dict(
            backbone=parts.pop('backbone'), decoders=dict(one=dict(skeleton=SMALL_SKELETON, sources=('test',))), **parts
        )
    elif estimator == 'DistilledTopDown':
        spec = dict(teacher=build_combination(mix), **parts)
    else:
        spec = parts
    return MODELS.build(dict(type=estimator, **spec), skeleton=SMALL_SKELETON)


@cache
def fit_stride(mix: Combination, estimator: str) -> tuple[Combination | None, str]:
    """The combination at the finest stride at which its parts fit, or None and the message why they do not."""
    message = ''
    for stride in list_strides(mix):
        mix_at_stride = replace(mix, stride=stride)
        try:
            build_combination(mix_at_stride, estimator, backbone=get_backbone(mix.backbone))
        except MismatchError as error:
            message = str(error)
        else:
            return mix_at_stride, ''
    return None, message


@cache
def fit_candidates(estimator: str = 'TopDown') -> dict[Combination, tuple[Combination | None, str]]:
    """The results of `fit_stride` for every candidate of an estimator; the three for crops share theirs."""
    representative = TOP_DOWN[0] if estimator in TOP_DOWN else estimator
    return {mix: fit_stride(mix, representative) for mix in list_candidates() if estimator in mix.estimators}


def list_fitting(estimator: str = 'TopDown') -> list[Combination]:
    """The combinations that fit."""
    return [mix for mix, _ in fit_candidates(estimator).values() if mix is not None]


def create_batch(seed: int = 0) -> Batch:
    """Two random images with one instance each."""
    generator, count = torch.Generator().manual_seed(seed), 2
    record_keypoints = np.zeros((1, len(SMALL_SKELETON), 2), np.float32)
    keypoints = 4 + 56 * torch.rand(count, 1, len(SMALL_SKELETON), 2, generator=generator)
    low, high = keypoints.amin(dim=2) - 2, keypoints.amax(dim=2) + 2
    return Batch.from_instances(
        images=torch.randint(0, 256, (count, 1, SIZE[1], SIZE[0], 3), generator=generator, dtype=torch.uint8),
        keypoints=keypoints,
        visible=torch.full((count, 1, len(SMALL_SKELETON)), 2),
        records=[
            create_annotated_record(Path(f'{i}.jpg'), str(i), record_keypoints, record_keypoints[..., 0], source='test')
            for i in range(count)
        ],
        boxes=torch.cat([low, high], dim=-1),
        areas=(high - low).prod(dim=-1) / 2,
    )


def format_page() -> str:
    """docs/lab/mixing.md: one table per kind of estimator, one row per backbone."""
    tried = {estimator: len(fit_candidates(estimator)) for estimator in ('TopDown', 'BottomUp', 'OneStage')}
    fitting = {estimator: len(list_fitting(estimator)) for estimator in tried}
    return '\n'.join(
        [
            '# What mixes with what',
            '',
            f'{sum(fitting.values())} of {sum(tried.values())} combinations fit.',
            '`bash tests/run.sh -m slow tests/mixing` builds each of them, trains it for a step and predicts with it.',
            'The others are refused at construction, with a message that names the head and what it does not fit.',
            '',
            'To update this page after adding a part: `python -m tests.mixing.matrix docs/lab/mixing.md`.',
            '',
            '## One instance per crop',
            '',
            'Each cell is the number of codecs that fit the backbone and the head in the top-down estimators',
            f'({", ".join(TOP_DOWN)}), with the finest strides at which codecs with cells fit:',
            f'{fitting["TopDown"]} of {tried["TopDown"]} combinations.',
            '',
            *format_table(list_heads(), format_crop_cell),
            '',
            '| head | codecs |',
            '|---|---|',
            *(
                f'| {head} | {", ".join(sorted({m.codec for m in list_fitting() if m.head == head}))} |'
                for head in list_heads()
            ),
            '',
            f'Codecs: {", ".join(list_codecs())}.',
            '',
            '## All instances of an image, from fields',
            '',
            f'`BottomUp` works with the codecs that group instances, at the strides shown: {fitting["BottomUp"]} of',
            f'{tried["BottomUp"]} combinations.',
            '',
            *format_table(
                [h for h in list_heads() if any(m.head == h for m in list_fitting('BottomUp'))], format_fields_cell
            ),
            '',
            '## All instances of an image, at cells',
            '',
            f'`OneStage` with `{list_codecs(dense=True)[0]}`, with a neck or without one: {fitting["OneStage"]} of',
            f'{tried["OneStage"]} combinations.',
            '',
            *format_table(list_heads(dense=True), format_dense_cell),
            '',
        ]
    )


def format_table(columns: list[str], format_cell: Callable[[str, str], str]) -> list[str]:
    """One row per backbone and one column per head."""
    lines = ['| backbone | ' + ' | '.join(columns) + ' |', '|' + '---|' * (len(columns) + 1)]
    for backbone in list_builtin_parts(MODELS, 'models.backbones'):
        lines.append(f'| {backbone} | ' + ' | '.join(format_cell(backbone, head) for head in columns) + ' |')
    return lines


def find_fitting(backbone: str, head: str, estimator: str) -> list[Combination]:
    """The combinations of one backbone and head that fit."""
    return [m for m in list_fitting(estimator) if m.backbone == backbone and m.head == head]


def format_crop_cell(backbone: str, head: str) -> str:
    """The number of codecs that fit one backbone and head, and their strides."""
    mixes = find_fitting(backbone, head, 'TopDown')
    if not mixes:
        return '-'
    strides = sorted({m.stride for m in mixes if m.stride is not None})
    listed = ', /'.join(map(str, strides))
    return f'{len(mixes)} (/{listed})' if strides else f'{len(mixes)}'


def format_fields_cell(backbone: str, head: str) -> str:
    """The codecs of whole images that fit one backbone and head, with their strides."""
    return ', '.join(f'{m.codec} /{m.stride}' for m in find_fitting(backbone, head, 'BottomUp')) or '-'


def format_dense_cell(backbone: str, head: str) -> str:
    """The necks with which one backbone and head fit."""
    return ', '.join(m.neck or 'no neck' for m in find_fitting(backbone, head, 'OneStage')) or '-'


if __name__ == '__main__':
    sys.modules['timm'] = cast(Any, SimpleNamespace(**run_path('tests/models/backbones/standin_timm.py')))
    Path(sys.argv[1]).write_text(format_page())
