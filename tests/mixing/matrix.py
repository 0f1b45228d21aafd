"""Every combination of backbone, head, codec and estimator, with small settings, and what becomes of each.

`python -m tests.mixing.matrix docs/mixing.md` writes the page.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
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
ESTIMATORS = ('TopDown', 'MultiTopDown', 'DistilledTopDown')
LOSSES = {  # of codecs whose fields are not trained by squares
    'Integral': dict(heatmap=dict(type='JensenShannon'), keypoints=dict(type='SmoothL1')),
    'RLERegression': dict(type='RLE', layers=2, width=8),
    'Regression': dict(type='SmoothL1'),
    'SimCC': dict(type='KLDivergence'),
}


@dataclass(frozen=True)
class Mix:
    """One combination; `stride` is the first of the usual ones at which it fits, None for a codec without cells."""

    backbone: str
    head: str
    codec: str
    stride: int | None = None

    def parts(self) -> dict[str, Any]:
        """The three parts and the loss as a config has them."""
        cells = {} if self.stride is None else {'stride': self.stride, **REACH}
        asked = {n: v for n, v in {**cells, 'subject': True}.items() if n in settings_of(self.codec)}
        codec = {**small(self.codec), 'input_size': SIZE, **asked}
        return dict(codec=codec, backbone=small(self.backbone), head=small(self.head), loss=LOSSES.get(self.codec))


def settings_of(codec: str) -> set[str]:
    """The names of a codec's settings."""
    return set(CODECS.get(codec).__dataclass_fields__)


def small(name: str) -> dict[str, Any]:
    return {'type': name, **SETTINGS[name]}


@cache
def candidates() -> tuple[Mix, ...]:
    """Every combination there is, legal or not, each codec with cells once a stride."""
    backbones = ours(MODELS, 'models.backbones')
    return tuple(Mix(b, h, c) for b in backbones for h in heads() for c in codecs())


def codecs() -> list[str]:
    """The codecs of crops; those of people at cells have no place here, nor have the heads that predict for them."""
    return [codec for codec in ours(CODECS) if CODECS.get(codec).kind != 'people']


def heads() -> list[str]:
    """The heads that predict what some of the codecs reads."""
    kinds = {CODECS.get(codec).kind for codec in codecs()}
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
    parts = {**mix.parts(), **given}
    if estimator == 'MultiTopDown':
        spec = dict(backbone=parts.pop('backbone'), decoders=dict(one=dict(skeleton=SMALL, sources=('test',))), **parts)
    elif estimator == 'DistilledTopDown':
        spec = dict(teacher=build(mix), **parts)
    else:
        spec = parts
    return MODELS.build(dict(type=estimator, **spec), skeleton=SMALL)


@cache
def fit(mix: Mix) -> tuple[Mix | None, str]:
    """The combination at the first stride at which its parts fit, or None and why it never does."""
    told = ''
    for stride in strides_of(mix):
        placed = Mix(mix.backbone, mix.head, mix.codec, stride)
        try:
            build(placed, backbone=built_backbone(mix.backbone))
        except MismatchError as error:
            told = str(error)
        else:
            return placed, ''
    return None, told


@cache
def outcomes() -> dict[Mix, tuple[Mix | None, str]]:
    """What becomes of every candidate."""
    return {mix: fit(mix) for mix in candidates()}


def legal() -> list[Mix]:
    """The combinations that fit."""
    return [placed for placed, _ in outcomes().values() if placed is not None]


def batch(seed: int = 0) -> Batch:
    """Two random pictures with one person each."""
    chance, count = torch.Generator().manual_seed(seed), 2
    joints = np.zeros((1, len(SMALL), 2), np.float32)
    return Batch(
        images=torch.randint(0, 256, (count, 1, SIZE[1], SIZE[0], 3), generator=chance, dtype=torch.uint8),
        keypoints=4 + 56 * torch.rand(count, 1, len(SMALL), 2, generator=chance),
        visible=torch.full((count, 1, len(SMALL)), 2),
        people=torch.ones(count, 1, dtype=torch.bool),
        centers=torch.full((count, 2), 31.5),
        matrices=torch.eye(3, dtype=torch.float64).repeat(count, 1, 1, 1),
        sizes=[SIZE] * count,
        records=[Record(Path(f'{i}.jpg'), str(i), joints, joints[..., 0], source='test') for i in range(count)],
        draws=[],
    )


def page() -> str:
    """docs/mixing.md: a row a backbone, a column a head, and in each cell how many codecs fit, and at which strides."""
    lines = [
        '# What mixes with what',
        '',
        'Each cell counts the codecs that this backbone and this head take, and names the finest strides at which',
        f'those with cells fit. {len(legal())} combinations of {len(outcomes())} fit: each is built, trained for a',
        f'step and made to predict in each of the top-down estimators ({", ".join(ESTIMATORS)}) by',
        '`bash tests/run.sh -m slow tests/mixing`. The others are refused when the model is built, by a message that',
        'names the head and what it does not fit.',
        '',
        'To write this page anew after adding a part: `python -m tests.mixing.matrix docs/mixing.md`.',
        '',
        '| backbone | ' + ' | '.join(heads()) + ' |',
        '|' + '---|' * (len(heads()) + 1),
    ]
    for backbone in ours(MODELS, 'models.backbones'):
        cells = [cell(backbone, head) for head in heads()]
        lines.append(f'| {backbone} | ' + ' | '.join(cells) + ' |')
    lines += ['', '| head | codecs that it takes |', '|---|---|']
    for head in heads():
        taken = sorted({m.codec for m in legal() if m.head == head})
        lines.append(f'| {head} | {", ".join(taken)} |')
    return '\n'.join([*lines, '', f'Codecs: {", ".join(codecs())}.', ''])


def cell(backbone: str, head: str) -> str:
    """How many codecs fit, and the strides, of one backbone and head."""
    found = [m for m in legal() if m.backbone == backbone and m.head == head]
    strides = sorted({m.stride for m in found if m.stride is not None})
    return f'{len(found)}' + (f' (/{", /".join(map(str, strides))})' if strides else '') if found else '-'


if __name__ == '__main__':
    sys.modules['timm'] = cast(Any, SimpleNamespace(**run_path('tests/models/backbones/standin_timm.py')))
    Path(sys.argv[1]).write_text(page())
