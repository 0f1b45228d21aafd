"""Compare test runs: errors by kind, with intervals.

poseplug compare A.jsonl [B.jsonl ...] [--out DIR] [--html FILE [--images DIR]]
The files are those that `poseplug test --predictions FILE` writes. With one file its errors are explained.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseplug.core.errors import ConfigError

_OUTPUT_NAMES = ('comparison.md', 'errors.svg', 'reliability.svg')


def run_compare(args: argparse.Namespace) -> None:
    from poseplug.evaluation.prediction_file import read_predictions
    from poseplug.files.output_guard import check_outputs
    from poseplug.inspect.compare import compare_predictions

    outputs = [args.out / name for name in _OUTPUT_NAMES] if args.out else []
    # before the work: a comparison must not replace one of its inputs
    check_outputs(args.files, outputs, '--out')
    if args.images is not None and args.html is None:
        raise ConfigError('--images is for the page, which --html names; add --html FILE')
    results = [read_predictions(file) for file in args.files]
    names = [result.name for result in results]
    for result, file in zip(results, args.files, strict=True):
        # runs of one config have its name
        if names.count(result.name) > 1 and result.name != file.stem:
            result.name = f'{result.name} ({file.stem})'
    comparison = compare_predictions(results)
    lines = _format_comparison(comparison)
    # the tables of errors have many rows, and are readable for one result alone
    if len(results) == 1:
        lines += _format_errors(results[0])
    print('\n'.join(lines))
    if args.out:
        print(f'written: {_write_files(comparison, lines, outputs)}')
    if args.html:
        from poseplug.inspect.comparison_page import write_comparison_page

        print(f'written: {write_comparison_page(args.html, comparison, args.images)}')


def _format_comparison(comparison: Any) -> list[str]:
    """A Markdown table of the measures, one column per result, then the differences."""
    names = comparison.names
    lines = [f'{comparison.num_images:,} images; percent with 95 % intervals over images']
    if comparison.num_left_out:
        lines.append(f'{comparison.num_left_out:,} images are left out: not all results have them')
    heads = [*names, *(f'{name} - {names[0]}' for name in names[1:])]
    lines += ['', f'| measure | {" | ".join(heads)} |', '|---' * (len(heads) + 1) + '|']
    for measure, values in comparison.values.items():
        # the first difference is that of the first result to itself
        cells = [*map(str, values), *map(str, comparison.differences[measure][1:])]
        lines.append(f'| {measure} | {" | ".join(cells)} |')
    return lines


def _format_errors(result: Any) -> list[str]:
    """Tables of the errors of one result by group, and of the calibration of its scores."""
    from poseplug.evaluation.keypoint_errors import ERROR_KINDS, collect_keypoint_errors
    from poseplug.inspect.compare import calibrate_scores, summarize_errors

    errors = collect_keypoint_errors(result)
    lines = ['', f'| percent of | {" | ".join(ERROR_KINDS)} |', '|---' * (len(ERROR_KINDS) + 1) + '|']
    for name, intervals in summarize_errors(errors, result.skeleton.keypoints).items():
        lines.append(f'| {name} | {" | ".join(map(str, intervals))} |')
    rows, calibration_error = calibrate_scores(errors)
    lines += ['', '| mean score | fraction right | keypoints |', '|---|---|---|']
    lines += [f'| {score:.3f} | {fraction:.3f} | {count:,} |' for score, fraction, count in rows]
    return [*lines, '', f'expected calibration error of the scores: {calibration_error:.3f}']


def _write_files(comparison: Any, lines: list[str], outputs: list[Path]) -> str:
    """Write the tables, a chart of the errors and one of the scores."""
    from poseplug.evaluation.keypoint_errors import ERROR_KINDS
    from poseplug.files.atomic import write_atomically
    from poseplug.inspect.compare import chart_reliability
    from poseplug.report.charts import render_bar_chart, render_line_chart, save_svg

    table, chart, reliability = outputs
    write_atomically(table, '\n'.join([*lines, '']).encode())
    bars = [(kind, name, i) for kind in ERROR_KINDS for i, name in enumerate(comparison.names)]
    labels = [f'{kind}, {name}' for kind, name, _ in bars]
    values = [comparison.values[kind][i].value for kind, _, i in bars]
    save_svg(render_bar_chart('Keypoints by kind of error', labels, values, unit=' %'), chart)
    save_svg(render_line_chart(chart_reliability(comparison)), reliability)
    return ', '.join(map(str, outputs))


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'files', nargs='+', type=Path, metavar='FILE.jsonl', help='a file that poseplug test --predictions wrote'
    )
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder for the tables and two charts')
    parser.add_argument(
        '--html', type=Path, metavar='FILE', help='page with the differences and the images where results differ most'
    )
    parser.add_argument('--images', type=Path, metavar='DIR', help='folder of the images, at any depth, for the page')
