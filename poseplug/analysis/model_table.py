"""The page of all models, docs/models.md, from the configs: what each one costs, its published score and ours."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseplug.analysis.complexity import COUNTED, Cost, costs, trace, weightless
from poseplug.build import input_size
from poseplug.config import load_config
from poseplug.errors import ConfigError

UNTRAINED = 'not trained yet'
METRIC = r'(?:mean )?(?:PCK@0\.\d+|PCKh@0\.\d+|AP|AUC(?:@0\.\d+)?|EPE|NME)'
SCORE = re.compile(rf'^({METRIC}) on (.+?): ({UNTRAINED}|\d+(?:\.\d+)?)(?: \((.+)\))?$', re.MULTILINE)
PUBLISHED = re.compile(r'published(.*?): (.*\d.*)')
TITLE = """# Models

Every config with what its network costs and how well it does, read from the configs by

    python tools/describe.py configs --table docs/models.md

- **published** is somebody else's measurement, from the paper or the code that a config names; COCO's are taken with a
  detector's boxes.
- **ours** was measured here, by the command in [results.md](results.md), or says that it was not.
- Input is width x height in px. Multiply-adds are those of
  {counted}, for one picture, not mirrored.
  Papers often leave out attention's two products between tokens (ViTPose-S: 5.25 G, and 0.34 G for these).
- Where a model has several decoders, the parameters are those of all, the multiply-adds those of the one in use; of
  experts all are computed. A teacher counts in neither.
"""


@dataclass(frozen=True)
class Score:
    """What a config's docstring says of its accuracy: `measure` on `data`, `ours` as written, and what is noted."""

    measure: str
    data: str
    ours: str
    note: str = ''

    @property
    def trained(self) -> bool:
        return self.ours != UNTRAINED

    @property
    def published(self) -> str:
        """The published score that the note tells, and whose it is where that is said; '' where there is none."""
        found = PUBLISHED.search(self.note)
        whose = found[1].strip(' ,') if found else ''
        return '' if found is None else found[2] + (f' ({whose})' if whose else '')


@dataclass(frozen=True)
class Model:
    """A config in the table: `cost` is what its network costs, or why that is not known."""

    path: Path
    size: tuple[int, int]
    score: Score
    cost: Cost | str


def score_of(path: Path) -> Score:
    """The score line of a config's docstring, `METRIC on DATA: SCORE (note)`.

    SCORE is a number in percent (of px for EPE) or 'not trained yet'; the note may say `published: ...`.
    """
    text = ast.get_docstring(ast.parse(path.read_text(), filename=str(path))) or ''
    found = SCORE.findall(text)
    if len(found) != 1:
        raise ConfigError(
            f'{path}: the docstring has {len(found)} lines of the form "METRIC on DATA: SCORE (note)", where one is '
            f'wanted; SCORE is a number or "{UNTRAINED}", as in "AP on COCO val2017: {UNTRAINED} (published: AP 74.4)"'
        )
    return Score(*found[0])


def configs(folder: Path) -> list[Path]:
    """The configs below a folder in their order on the page: bases, in folders that begin with _, are none."""
    files = sorted(folder.rglob('*.py'))
    found = [p for p in files if not any(part.startswith('_') for part in p.relative_to(folder).parts)]
    if not found:
        raise ConfigError(f'{folder} holds no configs (files ending in .py, outside folders that begin with _)')
    return found


def model_of(path: Path) -> Model:
    """A config's row. A network that cannot be followed keeps its reason, for the page says why it has no numbers."""
    cfg = load_config(path)
    return Model(path, input_size(cfg), score_of(path), cost_of(cfg))


def cost_of(cfg: Any) -> Cost | str:
    """What the network of a config costs, or the error of the part that cannot be built or followed without numbers."""
    try:
        model = weightless(cfg)
        return costs(model, trace(model).macs)
    except Exception as error:  # parts of plugins may fail in any way, and the rest of the page does not depend on them
        return f'{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else "no message"}'


def page(folder: Path) -> Iterator[str]:
    """The lines of docs/models.md for the configs below a folder, a table for each folder of theirs."""
    yield from TITLE.format(counted=COUNTED).splitlines()
    paths = configs(folder)
    for family in sorted({p.parent for p in paths}):
        yield from ['', f'## {family.name}', '']
        yield from table([model_of(p) for p in paths if p.parent == family])


def table(models: Sequence[Model]) -> Iterator[str]:
    """The configs of one family, and below them why any of them has no numbers."""
    yield '| config | input | parameters | multiply-adds | measured by | published | ours |'
    yield '|---|---|---|---|---|---|---|'
    yield from map(row, models)
    unknown = [m for m in models if isinstance(m.cost, str)]
    if unknown:
        yield ''
    yield from (f'`{m.path.stem}` is not counted: {m.cost}' for m in unknown)


def row(model: Model) -> str:
    """One config as a row of Markdown."""
    score = model.score
    ours = f'**{score.ours}** ([results.md](results.md))' if score.trained else UNTRAINED
    counts = ['not counted'] * 2 if isinstance(model.cost, str) else numbers(model.cost)
    size = f'{model.size[0]} x {model.size[1]}'
    cells = [f'`{model.path.stem}`', size, *counts, f'{score.measure}, {score.data}', score.published or '-', ours]
    return f'| {" | ".join(cells)} |'


def numbers(cost: Cost) -> list[str]:
    """Parameters to the last one, multiply-adds in units of 10^9."""
    return [f'{cost.parameters:,}', f'{cost.macs / 1e9:.2f} G']
