"""Measure where results fail: by viewpoint, by occlusion and by the nearest other person.

The files are those that `poseplug test --predictions FILE` writes. A keypoint is correct from a similarity of 0.5 on,
the term of OKS; intervals are over images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseplug.cli.table_options import add_out_option, format_table_command, list_table_files, print_result_table


def analyze_errors(args: argparse.Namespace) -> None:
    from poseplug.evaluation.prediction_file import read_predictions
    from poseplug.files.output_guard import check_outputs
    from poseplug.inspect.error_groups import group_errors
    from poseplug.report.result_table import ResultTable

    check_outputs(args.files, list_table_files(args.out), '--out')
    rows = []
    for file in args.files:
        predictions = read_predictions(file)
        rows += [_create_row(predictions.name, group) for group in group_errors(predictions)]
    notes = [
        'percent: correct keypoints; low and high: their 95 % interval. The others: percent of each kind of error.'
    ]
    print_result_table(ResultTable('Errors by group', format_table_command(), rows, {}, notes), args.out)


def _create_row(name: str, group: Any) -> dict[str, Any]:
    from poseplug.evaluation.keypoint_errors import ERROR_KINDS

    row = dict(result=name, group=group.group, keypoints=group.count)
    row |= dict(percent=group.percent.value, low=group.percent.low, high=group.percent.high)
    return {**row, **dict(zip(ERROR_KINDS, group.kinds, strict=True))}


def add_errors_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'files', nargs='+', type=Path, metavar='FILE.jsonl', help='a file that poseplug test --predictions wrote'
    )
    add_out_option(parser)
