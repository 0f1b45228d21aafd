"""Compare the sigmas that RTMO predicts with its true errors.

Keypoints are grouped by the error that their sigma stands for; in each group the mean true error is measured. Weights
are needed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from poseplug.cli.argument_types import parse_positive_int, parse_weights_source
from poseplug.cli.options import add_config_options
from poseplug.cli.table_options import (
    add_out_option,
    format_table_command,
    list_table_files,
    load_test_model,
    print_result_table,
)


def analyze_sigmas(args: argparse.Namespace) -> None:
    from poseplug.config.load import load_config
    from poseplug.files.output_guard import check_dataset_outputs
    from poseplug.inspect.sigma_errors import collect_sigma_errors
    from poseplug.report.charts import Chart, Series
    from poseplug.report.result_table import ResultTable

    cfg = load_config(args.config, args.cfg_options)
    check_dataset_outputs(cfg, list_table_files(args.out))
    errors = collect_sigma_errors(cfg, load_test_model(cfg, args.checkpoint, args.device))
    rows = errors.summarize(args.groups)
    x, y = ([row[name] for row in rows] for name in ('expected_px', 'error_px'))
    # the diagonal, on which sigmas without error would lie
    series = [Series('measured', x, y), Series('as predicted', x, x)]
    chart = Chart('Predicted sigma and true error', 'error that sigma stands for, px', 'mean error, px', series)
    notes = [f'Rank correlation of both: {errors.rank_correlation:.3f}, over {len(errors.errors_px):,} keypoints.']
    title = f'Sigmas of {args.config.stem}'
    print_result_table(ResultTable(title, format_table_command(), rows, {'sigmas': chart}, notes), args.out)


def add_sigmas_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help='a config of OneStage with RTMOHead')
    parser.add_argument(
        'checkpoint', type=parse_weights_source, help='a file of weights, or a work dir for its newest checkpoint'
    )
    parser.add_argument(
        '--groups', type=parse_positive_int, default=5, metavar='N', help='number of groups of keypoints (default: 5)'
    )
    parser.add_argument('--device', help='device of the network (default: cpu)')
    add_out_option(parser)
    add_config_options(parser)
