"""Decode the codec's own targets: the best that a network could reach."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseplug.cli.argument_types import parse_numbers
from poseplug.cli.options import CONFIG_HELP, add_config_options, parse_cfg_option


def analyze_oracle(args: argparse.Namespace) -> None:
    from poseplug.config.load import load_config
    from poseplug.files.output_guard import check_dataset_outputs
    from poseplug.inspect.oracle_noise import sweep_oracle_noise

    variants = args.variant or [()]
    configs = [load_config(args.config, {**(args.cfg_options or {}), **dict(variant)}) for variant in variants]
    check_dataset_outputs(configs[0], [args.out])  # before the work
    names = [', '.join(f'{value}' for _, value in variant) or args.config.stem for variant in variants]

    # each row as soon as it is known: a sweep takes minutes
    def print_row(index: int, noise_std: float, values: dict[str, float]) -> None:
        scores = ', '.join(f'{name} {value:g}' for name, value in values.items())
        print(f'{names[index]}, noise {noise_std:g}: {scores}', flush=True)

    rows = sweep_oracle_noise(configs, args.noise_std, print_row)
    if args.out:
        print(f'written: {_draw_chart(names, args.noise_std, rows, args.out)}')


def _draw_chart(names: list[str], noise_stds: list[float], rows: list[list[dict[str, float]]], out: Path) -> Path:
    """The first metric over the noise, one line per variant."""
    from poseplug.report.charts import Chart, Series, render_line_chart, save_svg

    metric = next(iter(rows[0][0]))
    series = []
    for name, row in zip(names, rows, strict=True):
        series.append(Series(name, noise_stds, [values.get(metric, 0.0) for values in row]))
    chart = Chart(f'{metric} of targets with noise', 'standard deviation of the noise in a cell', metric, series)
    return save_svg(render_line_chart(chart), out)


def _parse_variant(text: str) -> list[tuple[str, Any]]:
    """KEY=VALUE pairs separated by semicolons."""
    return [parse_cfg_option(part.strip()) for part in text.split(';')]


def add_oracle_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help=CONFIG_HELP)
    parser.add_argument(
        '--noise-std',
        type=parse_numbers,
        default=[0.0],
        metavar='A,B,...',
        help='standard deviations of the noise that is added to every cell (default: 0)',
    )
    parser.add_argument(
        '--variant',
        type=_parse_variant,
        action='append',
        metavar='KEY=VALUE[;KEY=VALUE]',
        help='settings of one line of the chart; repeat for more lines',
    )
    parser.add_argument('--out', type=Path, metavar='FILE.svg', help='draw the first metric over the noise')
    add_config_options(parser)
