"""Measure time and memory of a prediction by the number of people in the image, of one config or several.

Weights are not needed: the networks run on noise, and the fields that are decoded are those of people on a grid. The
time of a detector, which top-down models need, is not part of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseplug.cli.argument_types import parse_counts, parse_positive_int
from poseplug.cli.options import CONFIG_HELP
from poseplug.cli.table_options import add_out_option, format_table_command, load_test_model, print_result_table

_DEFAULT_COUNTS = (1, 2, 5, 10, 20, 50)


def analyze_people(args: argparse.Namespace) -> None:
    from poseplug.config.load import load_config
    from poseplug.inspect.instance_costs import measure_instance_costs
    from poseplug.report.result_table import ResultTable

    costs: dict[str, list[Any]] = {}
    for config in args.configs:
        # weights do not change what a network costs
        model = load_test_model(load_config(config), None, args.device)
        costs[config.stem] = measure_instance_costs(model, args.counts, args.batch_size, args.repeats)
    rows = [dict(config=name, **vars(cost)) for name, results in costs.items() for cost in results]
    notes = ['Times are medians; network_ms is part of total_ms. Of top-down models the detector is not included.']
    table = ResultTable('Cost by number of people', format_table_command(), rows, _draw_charts(costs), notes)
    print_result_table(table, args.out)


def _draw_charts(costs: dict[str, list[Any]]) -> dict[str, Any]:
    from poseplug.report.charts import Chart, Series

    charts = {}
    for name, attribute, unit in (('time', 'total_ms', 'ms'), ('memory', 'peak_mib', 'MiB')):
        series = [
            Series(config, [cost.num_instances for cost in results], [getattr(cost, attribute) for cost in results])
            for config, results in costs.items()
        ]
        charts[name] = Chart(f'{name.capitalize()} of an image', 'people in the image', unit, series)
    return charts


def add_people_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG', help=CONFIG_HELP)
    parser.add_argument(
        '--counts',
        type=parse_counts,
        default=list(_DEFAULT_COUNTS),
        metavar='A,B,...',
        help=f'numbers of people (default: {",".join(map(str, _DEFAULT_COUNTS))})',
    )
    parser.add_argument(
        '--batch-size', type=parse_positive_int, default=16, metavar='N', help='crops per forward pass (default: 16)'
    )
    parser.add_argument(
        '--repeats',
        type=parse_positive_int,
        default=3,
        metavar='N',
        help='how often each image is predicted and timed (default: 3)',
    )
    parser.add_argument('--device', help='device, such as cuda:0 (default: cpu)')
    add_out_option(parser)
