"""Compare ways to read and to draw heatmaps, on the fields of one pass.

Without --checkpoint the codec's true fields are read, with noise if that is asked for; so drawing (--centers) and input
sizes are compared without training. With --checkpoint the fields of the network are read, and the time of reading them
is compared with that of the network.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseplug.cli.argument_types import parse_names, parse_size
from poseplug.cli.options import CONFIG_HELP
from poseplug.cli.table_options import (
    add_field_options,
    format_table_command,
    list_table_files,
    load_test_model,
    print_result_table,
)

_DEFAULT_READOUTS = ('none', 'quarter', 'dark', 'dark_unmodulated', 'taylor', 'udp')


def analyze_decoding(args: argparse.Namespace) -> None:
    from poseplug.core.errors import ConfigError
    from poseplug.files.output_guard import check_dataset_outputs
    from poseplug.report.result_table import ResultTable

    variants = _list_variants(args)
    if args.checkpoint and len(variants) > 1:
        raise ConfigError(
            'a checkpoint was trained with one center and input size; leave --centers and --input-sizes out'
        )
    configs = [_load_variant(args, options) for options in variants.values()]
    # all variants read the same data
    check_dataset_outputs(configs[0], list_table_files(args.out))
    # predicted fields have errors of their own
    noise_stds = [None] if args.checkpoint else args.noise_std
    rows = []
    for name, cfg in zip(variants, configs, strict=True):
        rows += _measure_variant(args, name, cfg, noise_stds)
    title = f'Reading the heatmaps of {args.config.stem}'
    notes = [
        'Percent unless the name of a score says otherwise. Times are per instance, in ms, with the threads of torch.'
    ]
    print_result_table(ResultTable(title, format_table_command(), rows, _draw_charts(rows), notes), args.out)


def _list_variants(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Settings by name: one variant per center and input size."""
    sizes: list[Any] = args.input_sizes or [None]
    variants: dict[str, dict[str, Any]] = {}
    for center in args.centers or [None]:
        for size in sizes:
            # whole Gaussians: released codecs cut theirs off, which would differ by center
            options = {} if center is None else {'model.codec.center': center, 'model.codec.truncate': False}
            options |= {} if size is None else {'model.codec.input_size': size}
            words = ([center] if center else []) + ([f'{size[0]}x{size[1]}'] if size else [])
            variants[', '.join(words) or 'config'] = options
    return variants


def _load_variant(args: argparse.Namespace, options: dict[str, Any]) -> Any:
    from poseplug.config.load import load_config

    return load_config(args.config, {**(args.cfg_options or {}), **options})


def _measure_variant(args: argparse.Namespace, name: str, cfg: Any, noise_stds: list[Any]) -> list[dict[str, Any]]:
    from poseplug.inspect.readout_sweep import compare_readouts

    model, rows = load_test_model(cfg, args.checkpoint, args.device), []
    for noise_std in noise_stds:
        for result in compare_readouts(cfg, model, args.readouts, noise_std):
            row = dict(drawing=name, noise=noise_std, readout=result.name)
            # names with a slash are scores of single keypoints, too many for a table
            row |= {key: value for key, value in result.values.items() if '/' not in key}
            # true fields come from no network, whose time decoding could be a part of
            times = dict(network_ms=result.network_ms, decode_ms=result.decode_ms, decode_percent=result.decode_percent)
            rows.append({**row, **(times if noise_std is None else dict(decode_ms=result.decode_ms))})
    return rows


def _draw_charts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The first score over the noise, one line per drawing and readout; nothing without several amounts of noise."""
    from poseplug.report.charts import Chart, Series

    # the columns drawing, noise and readout come first
    metric = list(rows[0])[3]
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row['noise'] is not None:
            lines.setdefault(f'{row["drawing"]}, {row["readout"]}', []).append((row['noise'], row[metric]))
    series = [Series(name, *map(list, zip(*points, strict=True))) for name, points in lines.items()]
    if not series:
        return {}
    label = 'standard deviation of the noise in a cell'
    return {'readouts': Chart(f'{metric} by readout', label, metric, series)}


def _parse_sizes(text: str) -> list[tuple[int, int]]:
    return [parse_size(part) for part in parse_names(text)]


def add_decoding_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help=CONFIG_HELP)
    parser.add_argument(
        '--readouts',
        type=parse_names,
        default=list(_DEFAULT_READOUTS),
        metavar='A,B,...',
        help=f'ways to refine peaks (default: {",".join(_DEFAULT_READOUTS)}; also second_peak, udp_unmodulated)',
    )
    parser.add_argument(
        '--centers',
        type=parse_names,
        metavar='A,B,...',
        help='where Gaussians are drawn: exact, cell, floor, ceil (default: as the config says)',
    )
    parser.add_argument(
        '--input-sizes', type=_parse_sizes, metavar='WxH,...', help="sizes of the input in px (default: the config's)"
    )
    add_field_options(parser)
