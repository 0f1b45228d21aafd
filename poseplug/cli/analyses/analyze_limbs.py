"""Compare ways to represent limbs and to choose them: fields or midpoints, and three matchings.

The limbs are a tree, those of the skeleton, or one between any two keypoints. True fields are grouped, with noise if
that is asked for; with --checkpoint those of the network, which has no midpoints and no limbs beside the skeleton's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

from poseplug.cli.argument_types import parse_names
from poseplug.cli.table_options import (
    add_field_options,
    format_table_command,
    list_table_files,
    load_test_model,
    print_result_table,
)


def analyze_limbs(args: argparse.Namespace) -> None:
    from poseplug.config.load import load_config
    from poseplug.files.output_guard import check_dataset_outputs
    from poseplug.inspect.limb_sweep import compare_limbs
    from poseplug.report.result_table import ResultTable

    cfg = load_config(args.config, args.cfg_options)
    check_dataset_outputs(cfg, list_table_files(args.out))
    model = load_test_model(cfg, args.checkpoint, args.device)
    results = compare_limbs(cfg, model, _list_results(args, model.skeleton), use_network=args.checkpoint is not None)
    rows = [_create_row(result) for result in results]
    title = f'Limbs of {args.config.stem}'
    notes = ['parse_ms: time of finding peaks and grouping them, mean over the images. Scores in percent.']
    charts = _draw_charts(results, rows)
    print_result_table(ResultTable(title, format_table_command(), rows, charts, notes), args.out)


def _list_results(args: argparse.Namespace, skeleton: Any) -> list[Any]:
    """All combinations, without those of limb sets that are the skeleton's again."""
    from poseplug.core.errors import ConfigError
    from poseplug.inspect.limb_sweep import LIMB_SETS, MATCHINGS, REPRESENTATIONS, LimbResult, select_limbs

    known = dict(representations=REPRESENTATIONS, limbs=LIMB_SETS, matchings=MATCHINGS)
    if args.checkpoint:
        known |= dict(representations=('fields',), limbs=('tree', 'skeleton'))
    for option, names in known.items():
        if unknown := sorted(set(getattr(args, option) or ()) - set(names)):
            raise ConfigError(f'--{option} are among {", ".join(names)} here; got {", ".join(unknown)}')
    # without 'all', a limb between any two keypoints: 153 of the 18 of `coco18`
    limb_sets = args.limbs or [n for n in ('tree', 'skeleton') if n in known['limbs']]
    # the limbs of this skeleton are a tree already
    if len(select_limbs(skeleton, 'tree').limbs) == len(skeleton.limbs) and {'tree', 'skeleton'} <= set(limb_sets):
        limb_sets = [name for name in limb_sets if name != 'tree']
    # 'graph' solves an integer program, which takes seconds for an image: only if it is named
    representations, matchings = (
        args.representations or known['representations'],
        args.matchings or ['greedy', 'hungarian'],
    )
    # predicted fields have errors of their own
    noise_stds = [0.0] if args.checkpoint else args.noise_std
    return [
        LimbResult(representation, limbs, matching, noise_std)
        for noise_std in noise_stds
        for representation in representations
        for limbs in limb_sets
        for matching in matchings
    ]


def _create_row(result: Any) -> dict[str, Any]:
    row = dict(
        representation=result.representation, limbs=result.limbs, matching=result.matching, noise=result.noise_std
    )
    totals = {name: value for name, value in result.values.items() if '/' not in name}
    times = [time for of_count in result.parse_ms.values() for time in of_count]
    return {**row, **totals, 'parse_ms': fmean(times)}


def _draw_charts(results: list[Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The time of grouping by the number of people, and the first score over the noise."""
    from poseplug.report.charts import Chart, Series

    # times do not depend on the noise that is asked for, so that one amount is drawn
    timed = [result for result in results if result.noise_std == results[0].noise_std]
    series = []
    for result in timed:
        counts = sorted(result.parse_ms)
        series.append(Series(result.name, counts, [fmean(result.parse_ms[count]) for count in counts]))
    charts = {'time': Chart('Time of grouping', 'people in the image', 'ms', series, log_scale=True)}
    # the columns representation, limbs, matching and noise come first
    metric = list(rows[0])[4]
    lines: dict[str, list[tuple[float, float]]] = {}
    for result, row in zip(results, rows, strict=True):
        lines.setdefault(result.name, []).append((result.noise_std, row[metric]))
    # a single amount of noise makes no line
    if len(next(iter(lines.values()))) > 1:
        label = 'standard deviation of the noise in a cell'
        series = [Series(name, *map(list, zip(*points, strict=True))) for name, points in lines.items()]
        charts['noise'] = Chart(f'{metric} by limbs', label, metric, series)
    return charts


def add_limbs_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help='a config of BottomUp with the codec PAF')
    parser.add_argument(
        '--representations',
        type=parse_names,
        metavar='A,B',
        help='limb representations: fields, midpoints (default: both)',
    )
    parser.add_argument(
        '--limbs', type=parse_names, metavar='A,B,...', help='limb sets: tree, skeleton, all (default: the first two)'
    )
    parser.add_argument(
        '--matchings',
        type=parse_names,
        metavar='A,B,...',
        help='matching methods: greedy, hungarian, graph (default: the first two)',
    )
    add_field_options(parser)
