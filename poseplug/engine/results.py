"""An evaluation as a table to read and as a file to keep."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import json_tricks
import numpy as np

from poseplug.engine.evaluate import Evaluation
from poseplug.errors import ConfigError
from poseplug.evaluation.base import Scores
from poseplug.skeleton import Skeleton


def table(evaluation: Evaluation, skeleton: Skeleton) -> str:
    """One row a score and one column a stage; the heading names the kind of labels, since kinds never mix."""
    stages = evaluation.stages or [evaluation.scores]
    columns = [f'stage {t + 1}' for t in range(len(stages))]
    rows = [(kind(skeleton), columns), *_rows(stages)]
    wide = max(len(name) for name, _ in rows) + 2
    lines = [f'{name:<{wide}}' + ''.join(f'{cell:>9}' for cell in cells) for name, cells in rows]
    return '\n'.join(line.rstrip() for line in lines)


def kind(skeleton: Skeleton) -> str:
    """Whose left is meant: the person's or the observer's."""
    return f'{skeleton.centric}-centric'


def _rows(stages: list[Scores]) -> Iterator[tuple[str, list[str]]]:
    """The scores by family: those of single joints or groups first, their total after them."""
    names = list(stages[-1].values)
    for family in dict.fromkeys(name.partition('/')[0] for name in names):
        parts = [name for name in names if name.startswith(f'{family}/')]
        if parts:
            yield family, []
        for name in [*parts, *([family] if family in names else [])]:
            shown = f'  {name.partition("/")[2] or "total"}' if parts else name
            yield shown, [_number(stage.values.get(name)) for stage in stages]


def _number(value: float | None) -> str:
    return '-' if value is None or math.isnan(value) else f'{value:.2f}'


def account(evaluation: Evaluation) -> str:
    """What was measured on, what was left out and why, and how long it took."""
    count, seconds = len(evaluation.predictions), evaluation.seconds
    rate = count / seconds if seconds else float('nan')
    return '\n'.join([*evaluation.sources, *evaluation.scores.notes, f'{count:,} pictures in {seconds:.1f} s, '
                      f'{rate:.1f} pictures/s'])  # fmt: skip


def write(path: Path, evaluation: Evaluation, skeleton: Skeleton, about: Mapping[str, Any]) -> None:
    """The scores, stage by stage, with their curves, as plain JSON; a score that nothing was measured for is null."""
    content = {
        **evaluation.scores.plain(),
        'stages': [stage.values for stage in evaluation.stages],
        'labels': kind(skeleton),
        'skeleton': skeleton.name,
        'joints': list(skeleton.joints),
        'sources': evaluation.sources,
        'pictures': len(evaluation.predictions),
        'seconds': round(evaluation.seconds, 3),
        **about,
    }
    text = json_tricks.dumps(plain(content), primitives=True, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + '\n')
    except OSError as error:
        raise ConfigError(f'{path}: {error.strerror or error}; name another --out') from error


def plain(value: Any) -> Any:
    """NumPy numbers and arrays as Python's own, paths as text, NaN as None: what any reader of JSON takes."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
