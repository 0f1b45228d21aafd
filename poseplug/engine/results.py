"""Evaluation results as a table to read and as a JSON file to keep."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import MetricResult
from poseplug.evaluation.results import EvaluationResult
from poseplug.files.jsonable import to_json_values


def format_score_table(evaluation: EvaluationResult, skeleton: Skeleton) -> str:
    """Format the scores as a text table with one row per score and one column per stage.

    The heading says whether the labels are person-centric or observer-centric, since their scores do not compare.

    Args:
        evaluation: the scores, of every stage if there are several.
        skeleton: of the predictions.

    Returns:
        The lines of the table, without a newline at the end.
    """
    # a model without stages has one column
    stages = evaluation.stage_scores or [evaluation.scores]
    heading = [f'stage {t + 1}' for t in range(len(stages))]
    rows = [(_get_label_convention(skeleton), heading), *_iterate_score_rows(stages)]
    name_width = max(len(name) for name, _ in rows) + 2
    lines = []
    for name, cells in rows:
        columns = ''.join(f'{cell:>9}' for cell in cells)
        lines.append(f'{name:<{name_width}}{columns}'.rstrip())
    return '\n'.join(lines)


def _get_label_convention(skeleton: Skeleton) -> str:
    """'person-centric' if left is the person's left, 'observer-centric' if it is the observer's."""
    return f'{skeleton.centric}-centric'


def _iterate_score_rows(stages: list[MetricResult]) -> Iterator[tuple[str, list[str]]]:
    """The rows of a table by family: the scores of keypoints or groups ('PCK/head'), then the total ('PCK')."""
    names = list(stages[-1].values)
    for family in dict.fromkeys(name.partition('/')[0] for name in names):
        members = [name for name in names if name.startswith(f'{family}/')]
        if members:
            yield family, []
        # the total stands below its parts, like the sum of a column
        total = [family] if family in names else []
        for name in [*members, *total]:
            label = name
            if members:
                member = name.partition('/')[2] or 'total'
                label = f'  {member}'
            yield label, [_format_score(stage.values.get(name)) for stage in stages]


def _format_score(value: float | None) -> str:
    """A score with two decimals, or '-' if nothing was measured."""
    return '-' if value is None or math.isnan(value) else f'{value:.2f}'


def format_evaluation_summary(evaluation: EvaluationResult) -> str:
    """Format what was evaluated, what was dropped and why, and the speed.

    Args:
        evaluation: the result; its `source_reports` and the metrics' notes are the first lines.

    Returns:
        Several lines, without a newline at the end.
    """
    count, seconds = len(evaluation.predictions), evaluation.seconds
    rate = count / seconds if seconds else float('nan')
    speed = f'{count:,} images in {seconds:.1f} s, {rate:.1f} images/s'
    return '\n'.join([*evaluation.source_reports, *evaluation.scores.notes, speed])


def create_output_folder(folder: Path, target: Path, option: str) -> None:
    """Create a folder of results, and check that something can be written there.

    Args:
        folder: the folder.
        target: what the user named: the folder, or a file in it.
        option: by which it was named, such as '--out'.

    Raises:
        ConfigError: it cannot be created, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # the folder's permissions alone do not tell of read-only file systems and full disks
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f'{target}: {reason}; name another {option}') from error


def write_evaluation(path: Path, evaluation: EvaluationResult, skeleton: Skeleton, run_info: Mapping[str, Any]) -> None:
    """Write the scores of every stage with their curves as a JSON file.

    A score for which nothing was measured is null.

    Args:
        path: the file; its folder is created.
        evaluation: the scores.
        skeleton: of the predictions.
        run_info: further entries of the file, such as the paths of the config and the checkpoint.

    Raises:
        ConfigError: the file cannot be written.
    """
    content = {
        **evaluation.scores.to_dict(),
        'lower_is_better': sorted(evaluation.scores.lower_is_better),
        'stages': [stage.values for stage in evaluation.stage_scores],
        'centric': _get_label_convention(skeleton),
        'skeleton': skeleton.name,
        'keypoints': list(skeleton.keypoints),
        'source_reports': evaluation.source_reports,
        'num_images': len(evaluation.predictions),
        'seconds': round(evaluation.seconds, 3),
        **run_info,
    }
    import json_tricks  # here, since its import takes half a second that only a written result needs

    text = json_tricks.dumps(to_json_values(content), primitives=True, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + '\n')
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f'{path}: {reason}; name another --out') from error
