"""The page of all models, docs/reference/models.md, from the configs: cost, published score and our score of each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseplug.config.build import get_input_size
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.inspect.complexity import (
    COUNTED_OPERATIONS,
    ModuleCost,
    build_on_meta_device,
    compute_costs,
    trace_forward,
)

_UNTRAINED = 'not trained yet'
_METRIC_PATTERN = r'(?:mean )?(?:PCK@0\.\d+|PCKh@0\.\d+|AP|AUC(?:@0\.\d+)?|EPE|NME)'
_SCORE_PATTERN = re.compile(
    rf'^({_METRIC_PATTERN}) on (.+?): ({_UNTRAINED}|\d+(?:\.\d+)?)(?: \((.+)\))?$', re.MULTILINE
)
_PUBLISHED_PATTERN = re.compile(r'published(.*?): (.*\d.*)')
_PAGE_HEADER = """# Models

Every config with what its network costs and how well it does, read from the configs by

<!-- snippet: checked, it builds every config, which takes minutes; a test does so -->
```bash
poseplug describe configs --table docs/reference/models.md
```

- **published** is the score in the paper or the code that a config names; COCO's are taken with a detector's boxes.
- **ours** was measured here, by the command in [results.md](../lab/results.md), or says that it was not.
- Input is width x height in px. Multiply-adds are those of
  {counted_operations}, for one image without flip test.
  Papers often leave out attention's two products between tokens (ViTPose-S: 5.25 G, and 0.34 G for these).
- If a model has several decoders, the parameters are those of all, the multiply-adds those of the active one; of
  experts all are computed. A teacher counts in neither.
"""


@dataclass(frozen=True)
class DocumentedScore:
    """The score that the docstring of a config states.

    Attributes:
        metric: Name of the metric, such as 'PCK@0.2'.
        dataset: What it was measured on.
        measured_score: Our score as it is written, or 'not trained yet'.
        note: The note in parentheses after it.
    """

    metric: str
    dataset: str
    measured_score: str
    note: str = ''

    @property
    def is_trained(self) -> bool:
        """Whether we measured a score."""
        return self.measured_score != _UNTRAINED

    @property
    def published_score(self) -> str:
        """The published score in the note, with its origin if that is named; empty if there is none."""
        match = _PUBLISHED_PATTERN.search(self.note)
        if match is None:
            return ''
        origin = match[1].strip(' ,')
        return f'{match[2]} ({origin})' if origin else match[2]


@dataclass(frozen=True)
class ModelEntry:
    """A config in the table.

    Attributes:
        path: The config.
        input_size: (width, height) in px.
        score: What its docstring says about accuracy.
        cost: What its network costs, or why that is not known.
    """

    path: Path
    input_size: tuple[int, int]
    score: DocumentedScore
    cost: ModuleCost | str


def parse_score(path: Path) -> DocumentedScore:
    """Parse the score line of a config's docstring, `METRIC on DATA: SCORE (note)`.

    SCORE is a number in percent (in px for EPE) or 'not trained yet'; the note may say `published: ...`.

    Raises:
        ConfigError: The docstring has no such line, or several.
    """
    # read as text: executing a config would need its bases and plugins
    text = ast.get_docstring(ast.parse(path.read_text(), filename=str(path))) or ''
    scores = _SCORE_PATTERN.findall(text)
    if len(scores) != 1:
        example = f'"AP on COCO val2017: {_UNTRAINED} (published: AP 74.4)"'
        raise ConfigError(
            f'{path}: the docstring has {len(scores)} lines of the form "METRIC on DATA: SCORE (note)", but needs '
            f'one; SCORE is a number or "{_UNTRAINED}", as in {example}'
        )
    return DocumentedScore(*scores[0])


def find_config_files(folder: Path) -> list[Path]:
    """Find the configs below a folder, sorted; files in folders that begin with _ are bases and not listed.

    Raises:
        ConfigError: There are none.
    """
    files = sorted(folder.rglob('*.py'))
    configs = [p for p in files if not any(part.startswith('_') for part in p.relative_to(folder).parts)]
    if not configs:
        raise ConfigError(f'{folder} holds no configs (files ending in .py, outside folders that begin with _)')
    return configs


def build_model_entry(path: Path) -> ModelEntry:
    """Build the entry of a config; if its network cannot be traced, the entry keeps the reason."""
    cfg = load_config(path)
    return ModelEntry(path, get_input_size(cfg), parse_score(path), compute_config_cost(cfg))


def compute_config_cost(cfg: Any) -> ModuleCost | str:
    """Compute the cost of a config's network, or return the error if it cannot be built or traced."""
    try:
        model = build_on_meta_device(cfg)
        return compute_costs(model, trace_forward(model).macs)
    except Exception as error:  # parts of plugins may fail in any way, and the rest of the page does not depend on them
        lines = str(error).strip().splitlines() or ['no message']
        return f'{type(error).__name__}: {lines[0]}'


def render_models_page(folder: Path) -> Iterator[str]:
    """Render docs/reference/models.md for the configs below a folder, with one table per subfolder."""
    yield from _PAGE_HEADER.format(counted_operations=COUNTED_OPERATIONS).splitlines()
    paths = find_config_files(folder)
    for family in sorted({path.parent for path in paths}):
        yield from ['', f'## {family.name}', '']
        yield from _render_family_table([build_model_entry(path) for path in paths if path.parent == family])


def _render_family_table(entries: Sequence[ModelEntry]) -> Iterator[str]:
    """The configs of one family, and below them why any of them has no numbers."""
    yield '| config | input | parameters | multiply-adds | measured by | published | ours |'
    yield '|---|---|---|---|---|---|---|'
    yield from map(render_model_row, entries)
    failed = [entry for entry in entries if isinstance(entry.cost, str)]
    if failed:
        yield ''
    yield from (f'`{entry.path.stem}` is not counted: {entry.cost}' for entry in failed)


def render_model_row(entry: ModelEntry) -> str:
    """Render one config as a row of a Markdown table."""
    score = entry.score
    measured = f'**{score.measured_score}** ([results.md](../lab/results.md))' if score.is_trained else _UNTRAINED
    cost_cells = ['not counted'] * 2 if isinstance(entry.cost, str) else _format_cost(entry.cost)
    width, height = entry.input_size
    score_cells = [f'{score.metric}, {score.dataset}', score.published_score or '-', measured]
    cells = [f'`{entry.path.stem}`', f'{width} x {height}', *cost_cells, *score_cells]
    return f'| {" | ".join(cells)} |'


def _format_cost(cost: ModuleCost) -> list[str]:
    """Exact parameters, and multiply-adds in units of 10^9."""
    return [f'{cost.parameters:,}', f'{cost.macs / 1e9:.2f} G']
