"""Every combination of backbone, head, codec and estimator, with small settings, and what becomes of each.

`python -m tests.mixing.matrix docs/mixing.md` writes the page.
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

from poseplug.errors import MismatchError
from poseplug.registry import CODECS, MODELS
from poseplug.sample import Batch, Record
from poseplug.testing import SMALL
from tests.test_contracts import SETTINGS, ours

SIZE = (64, 64)
STRIDES = (4, 8, 16, 32)
REACH = {'sigma': 8.0, 'radius': 0.6}  # of what a codec draws: some cells, on the coarsest grid too
TOP_DOWN = ('TopDown', 'MultiTopDown', 'DistilledTopDown')
ESTIMATORS = (*TOP_DOWN, 'BottomUp', 'OneStage')
HEADS = {  # of a person at every cell
    'RTMOHead': dict(width=8, dcc=dict(channels=8, bins=(12, 16))),
    'YOLOXPoseHead': dict(width=8),
}
LOSSES = {  # of codecs whose fields are not trained by squares
    'Integral': dict(heatmap=dict(type='JensenShannon'), keypoints=dict(type='SmoothL1')),
    'RLERegression': dict(type='RLE', layers=2, width=8),
    'Regression': dict(type='SmoothL1'),
    'SimCC': dict(type='KLDivergence'),
    'Tags': dict(heatmap=dict(type='MeanSquaredError'), tags=dict(type='AssociativeEmbedding')),
}


@dataclass(frozen=True)
class Mix:
    """One combination; `stride` is the first of the usual ones at which it fits, None for a codec without cells."""

    backbone: str
    head: str
    codec: str
    stride: int | None = None
    neck: str | None = None

    @property
    def estimators(self) -> tuple[str, ...]:
        """Those that read the codec: of crops, of whole pictures, or of people at cells."""
        if people_at_cells(self.codec):
            return ('OneStage',)
        return (*TOP_DOWN, 'BottomUp') if CODECS.get(self.codec).assembles else TOP_DOWN

    def parts(self, subject: bool) -> dict[str, Any]:
        """The parts and the loss as a config has them; of several people the `subject`, or everybody."""
        cells = {} if self.stride is None else {'stride': self.stride, **REACH}
        asked = {n: v for n, v in {**cells, 'subject': subject}.items() if n in settings_of(self.codec)}
        codec = {**small(self.codec), 'input_size': SIZE, **asked}
        parts = dict(codec=codec, backbone=small(self.backbone), head=small(self.head), loss=LOSSES.get(self.codec))
        return parts if self.neck is None else {**parts, 'neck': small(self.neck)}


def people_at_cells(codec: str) -> bool:
    """Whether a codec reads a person at every cell."""
    return CODECS.get(codec).kind == 'people'


def settings_of(codec: str) -> set[str]:
    """The names of a codec's settings."""
    return set(CODECS.get(codec).__dataclass_fields__)


def small(name: str) -> dict[str, Any]:
    """The small settings of a part."""
    return {'type': name, **{'People': {}, **HEADS, **SETTINGS}[name]}


@cache
def candidates() -> tuple[Mix, ...]:
    """Every combination there is, legal or not: of fields, and of people at cells, these with a neck and without."""
    return tuple(
        Mix(b, h, c, neck=n)
        for people, necks in ((False, (None,)), (True, (None, *ours(MODELS, 'models.necks'))))
        for b in ours(MODELS, 'models.backbones')
        for h in heads(people)
        for c in codecs(people)
        for n in necks
    )


def codecs(people: bool = False) -> list[str]:
    """The codecs of people at cells, or the others."""
    return [codec for codec in ours(CODECS) if people_at_cells(codec) == people]


def heads(people: bool = False) -> list[str]:
    """The heads that predict what some of the codecs reads."""
    kinds = {CODECS.get(codec).kind for codec in codecs(people)}
    return [head for head in ours(MODELS, 'models.heads') if kinds & set(MODELS.get(head).predicts)]


def strides_of(mix: Mix) -> tuple[int | None, ...]:
    """The strides to try: a codec without cells has none."""
    return STRIDES if 'stride' in settings_of(mix.codec) else (None,)


@cache
def built_backbone(name: str) -> Any:
    """A backbone, built once: whether others fit to it follows from what it declares."""
    return MODELS.build(small(name), input_size=SIZE)


def build(mix: Mix, estimator: str = 'TopDown', **given: Any) -> Any:
    """The estimator of a combination, with weights that follow from a seed; MismatchError where it does not fit."""
    torch.manual_seed(0)
    parts = {**mix.parts(subject=estimator in TOP_DOWN), **given}
    if estimator == 'MultiTopDown':
        spec = dict(backbone=parts.pop('backbone'), decoders=dict(one=dict(skeleton=SMALL, sources=('test',))), **parts)
    elif estimator == 'DistilledTopDown':
        spec = dict(teacher=build(mix), **parts)
    else:
        spec = parts
    return MODELS.build(dict(type=estimator, **spec), skeleton=SMALL)


@cache
def fit(mix: Mix, estimator: str) -> tuple[Mix | None, str]:
    """The combination at the first stride at which its parts fit, or None and why it never does."""
    told = ''
    for stride in strides_of(mix):
        placed = replace(mix, stride=stride)
        try:
            build(placed, estimator, backbone=built_backbone(mix.backbone))
        except MismatchError as error:
            told = str(error)
        else:
            return placed, ''
    return None, told


@cache
def outcomes(estimator: str = 'TopDown') -> dict[Mix, tuple[Mix | None, str]]:
    """What becomes of every candidate of an estimator; the three of crops take the same ones."""
    kind = TOP_DOWN[0] if estimator in TOP_DOWN else estimator
    return {mix: fit(mix, kind) for mix in candidates() if estimator in mix.estimators}


def legal(estimator: str = 'TopDown') -> list[Mix]:
    """The combinations that fit."""
    return [placed for placed, _ in outcomes(estimator).values() if placed is not None]


def batch(seed: int = 0) -> Batch:
    """Two random pictures with one person each."""
    chance, count = torch.Generator().manual_seed(seed), 2
    joints = np.zeros((1, len(SMALL), 2), np.float32)
    keypoints = 4 + 56 * torch.rand(count, 1, len(SMALL), 2, generator=chance)
    low, high = keypoints.amin(dim=2) - 2, keypoints.amax(dim=2) + 2
    return Batch(
        images=torch.randint(0, 256, (count, 1, SIZE[1], SIZE[0], 3), generator=chance, dtype=torch.uint8),
        keypoints=keypoints,
        visible=torch.full((count, 1, len(SMALL)), 2),
        people=torch.ones(count, 1, dtype=torch.bool),
        centers=torch.full((count, 2), 31.5),
        matrices=torch.eye(3, dtype=torch.float64).repeat(count, 1, 1, 1),
        sizes=[SIZE] * count,
        records=[Record(Path(f'{i}.jpg'), str(i), joints, joints[..., 0], source='test') for i in range(count)],
        draws=[],
        boxes=torch.cat([low, high], dim=-1),
        areas=(high - low).prod(dim=-1) / 2,
    )


def page() -> str:
    """docs/mixing.md: a table for each kind of estimator, a row a backbone."""
    tried = {estimator: len(outcomes(estimator)) for estimator in ('TopDown', 'BottomUp', 'OneStage')}
    fitting = {estimator: len(legal(estimator)) for estimator in tried}
    return '\n'.join(
        [
            '# What mixes with what',
            '',
            f'{sum(fitting.values())} of {sum(tried.values())} combinations fit: each is built, trained for a step',
            'and made to predict by `bash tests/run.sh -m slow tests/mixing`. The others are refused when the model is',
            'built, by a message that names the head and what it does not fit.',
            '',
            'To write this page anew after adding a part: `python -m tests.mixing.matrix docs/mixing.md`.',
            '',
            '## One person a crop',
            '',
            'Each cell counts the codecs that this backbone and this head take in the top-down estimators',
            f'({", ".join(TOP_DOWN)}), and names the finest strides at which those with cells fit:',
            f'{fitting["TopDown"]} of {tried["TopDown"]} combinations.',
            '',
            *table(heads(), cell),
            '',
            '| head | codecs that it takes |',
            '|---|---|',
            *(f'| {head} | {", ".join(sorted({m.codec for m in legal() if m.head == head}))} |' for head in heads()),
            '',
            f'Codecs: {", ".join(codecs())}.',
            '',
            '## Everybody in a picture, from fields',
            '',
            f'`BottomUp` takes the codecs that put people together, at the strides named: {fitting["BottomUp"]} of',
            f'{tried["BottomUp"]} combinations.',
            '',
            *table([h for h in heads() if any(m.head == h for m in legal('BottomUp'))], assembled),
            '',
            '## Everybody in a picture, at cells',
            '',
            f'`OneStage` with `{codecs(people=True)[0]}`, of a backbone alone or with a neck: {fitting["OneStage"]} of',
            f'{tried["OneStage"]} combinations.',
            '',
            *table(heads(people=True), at_cells),
            '',
        ]
    )


def table(columns: list[str], entry: Callable[[str, str], str]) -> list[str]:
    """A row a backbone, a column a head."""
    lines = ['| backbone | ' + ' | '.join(columns) + ' |', '|' + '---|' * (len(columns) + 1)]
    for backbone in ours(MODELS, 'models.backbones'):
        lines.append(f'| {backbone} | ' + ' | '.join(entry(backbone, head) for head in columns) + ' |')
    return lines


def found(backbone: str, head: str, estimator: str) -> list[Mix]:
    """What fits of one backbone and head."""
    return [m for m in legal(estimator) if m.backbone == backbone and m.head == head]


def cell(backbone: str, head: str) -> str:
    """How many codecs fit, and the strides, of one backbone and head."""
    mixes = found(backbone, head, 'TopDown')
    strides = sorted({m.stride for m in mixes if m.stride is not None})
    return f'{len(mixes)}' + (f' (/{", /".join(map(str, strides))})' if strides else '') if mixes else '-'


def assembled(backbone: str, head: str) -> str:
    """The codecs that fit in whole pictures, and their strides, of one backbone and head."""
    return ', '.join(f'{m.codec} /{m.stride}' for m in found(backbone, head, 'BottomUp')) or '-'


def at_cells(backbone: str, head: str) -> str:
    """The necks with which one backbone and head fit."""
    return ', '.join(m.neck or 'alone' for m in found(backbone, head, 'OneStage')) or '-'


if __name__ == '__main__':
    sys.modules['timm'] = cast(Any, SimpleNamespace(**run_path('tests/models/backbones/standin_timm.py')))
    Path(sys.argv[1]).write_text(page())
