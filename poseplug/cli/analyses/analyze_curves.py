"""Draw the curves of correct keypoints over the threshold of several results into one chart.

The files are those that `poseplug test --predictions FILE` writes. Normalized by the torso a curve is PCK, by the head
PCKh. Keypoints of people without a prediction count as wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.cli.argument_types import parse_names, parse_positive_float
from poseplug.cli.table_options import add_out_option, format_table_command, print_result_table

# those of the benchmarks: PCK@0.2 of the torso, PCKh@0.5 of the head
_MAX_THRESHOLDS = {'torso': 0.2, 'head': 0.5, 'box': 0.2}


def analyze_curves(args: argparse.Namespace) -> None:
    from poseplug.evaluation.prediction_file import read_predictions
    from poseplug.files.output_guard import check_outputs
    from poseplug.inspect.compare import number_repeated_names
    from poseplug.inspect.pck_curves import CURVE_NORMALIZERS, compute_pck_curve
    from poseplug.report.charts import Chart, Series
    from poseplug.report.result_table import ResultTable

    # charts that would replace an input are refused, too
    names = [f'{name}.{suffix}' for name in ('total', *(args.keypoints or ())) for suffix in ('svg', 'png')]
    check_outputs(
        args.files, [args.out / name for name in (*names, 'rows.csv', 'report.md')] if args.out else [], '--out'
    )
    files = [read_predictions(file) for file in args.files]
    limit = args.max_threshold or _MAX_THRESHOLDS[args.normalizer]
    curves = [compute_pck_curve(file, args.normalizer, limit) for file in files]
    labels = number_repeated_names([curve.name for curve in curves])
    rows = []
    for label, curve in zip(labels, curves, strict=True):
        # a quarter, half, three quarters and the end of the 20 steps
        marks = {f'at {curve.thresholds[i]:g}': float(curve.percents[i]) for i in (5, 10, 15, 20)}
        rows.append(dict(result=label, area=curve.area, **marks, left_out=curve.num_left_out))
    charts: dict[str, Any] = {}
    for keypoint in (None, *(args.keypoints or ())):
        series = [
            Series(label, curve.thresholds.tolist(), _select_curve(curve, file, keypoint))
            for label, curve, file in zip(labels, curves, files, strict=True)
        ]
        x_label = f'threshold, in {CURVE_NORMALIZERS[args.normalizer]}'
        name = keypoint or 'total'
        charts[name] = Chart(f'Correct keypoints, {name}', x_label, 'percent', series, y_range=(0, 100))
    notes = ['area: mean height of the curve. left_out: people without a normalizer, who do not count.']
    print_result_table(ResultTable('Correct keypoints', format_table_command(), rows, charts, notes), args.out)


def _select_curve(curve: Any, file: Any, keypoint: str | None) -> list[float]:
    """The mean curve, or that of a keypoint."""
    if keypoint is None:
        return curve.percents.tolist()
    # a keypoint that is never labeled is drawn at 0
    return np.nan_to_num(curve.per_keypoint[:, file.skeleton.index(keypoint)], nan=0.0).tolist()


def add_curves_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'files', nargs='+', type=Path, metavar='FILE.jsonl', help='a file that poseplug test --predictions wrote'
    )
    parser.add_argument(
        '--normalizer',
        choices=tuple(_MAX_THRESHOLDS),
        default='torso',
        help='what distances are divided by (default: torso)',
    )
    parser.add_argument(
        '--max-threshold',
        type=parse_positive_float,
        metavar='X',
        help='end of the curves (default: 0.2 of the torso or box, 0.5 of the head)',
    )
    parser.add_argument('--keypoints', type=parse_names, metavar='A,B,...', help='keypoints with a chart each')
    add_out_option(parser)
