"""Look into a system: what its codec brings back of true fields.

poseplug analyze oracle CONFIG [--noise A,B,...] [--variant KEY=VALUE[;KEY=VALUE] ...] [--out FILE.svg]
The fields are clean, or have noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseplug.cli import add_options, option


def run(args: argparse.Namespace) -> None:
    args.run(args)


def oracle(args: argparse.Namespace) -> None:
    from poseplug.analysis.oracle import sweep
    from poseplug.config import load_config
    from poseplug.visualization.curves import Chart, Series, line_svg, save_svg

    variants = args.variant or [()]
    configs = [load_config(args.config, {**(args.cfg_options or {}), **dict(v)}) for v in variants]
    names = [', '.join(f'{v}' for _, v in variant) or args.config.stem for variant in variants]

    def tell(place: int, noise: float, values: dict[str, float]) -> None:
        print(f'{names[place]}, noise {noise:g}: ' + ', '.join(f'{k} {v:g}' for k, v in values.items()), flush=True)

    rows = sweep(configs, args.noise, tell)
    if args.out:
        key = next(iter(rows[0][0]))
        series = [Series(n, args.noise, [v.get(key, 0.0) for v in row]) for n, row in zip(names, rows, strict=True)]
        chart = Chart(f'{key} of true fields with noise', 'noise, standard deviation in a cell', key, series)
        print(f'written: {save_svg(line_svg(chart), args.out)}')


def numbers(text: str) -> list[float]:
    """Numbers with commas between them."""
    return [float(part) for part in text.split(',')]


def variant(text: str) -> list[tuple[str, Any]]:
    """KEY=VALUE pairs with semicolons between them."""
    return [option(part.strip()) for part in text.split(';')]


def arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar='oracle')
    reading = commands.add_parser('oracle', help="read the codec's own targets: the best that a network could reach")
    reading.add_argument('config', type=Path)
    reading.add_argument(
        '--noise', type=numbers, default=[0.0], metavar='A,B,...', help='standard deviations in a cell'
    )
    reading.add_argument(
        '--variant', type=variant, action='append', metavar='KEY=VALUE[;KEY=VALUE]', help='options of one line; repeat'
    )
    reading.set_defaults(run=oracle)
    reading.add_argument('--out', type=Path, metavar='FILE.svg', help='draw the first score over the noise')
    add_options(reading)
