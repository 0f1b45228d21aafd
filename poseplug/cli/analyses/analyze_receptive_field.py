"""Accuracy against receptive field at equal parameters; the field in theory, and of trained weights on real images."""

from __future__ import annotations

import argparse

from poseplug.cli.argument_types import parse_counts
from poseplug.cli.study_options import (
    add_margin_option,
    add_study_options,
    create_study_settings,
    format_study_command,
    print_study_report,
)


def analyze_receptive_field(args: argparse.Namespace) -> None:
    import numpy as np

    from poseplug.analysis.receptive_study import build_field_claims, build_kernel_variants, measure_run_fields
    from poseplug.analysis.study import collect_scores, run_study
    from poseplug.analysis.study_report import StudyReport, build_run_rows
    from poseplug.analysis.verdicts import judge_claim
    from poseplug.report.charts import Chart, Series

    settings = create_study_settings(args)
    variants = build_kernel_variants(settings, args.layers, args.kernels)
    runs = run_study(settings, variants)
    values = collect_scores(runs)
    by_name = {variant.name: variant for variant in variants}
    fields = [measure_run_fields(settings, by_name[run.variant], run) for run in runs]
    rows = []
    for row, field in zip(build_run_rows(runs), fields, strict=True):
        rows.append({**row, **vars(field)})
    kinds = {'theoretical_px': 'in theory', 'width_px': 'effective, 95 %', 'half_width_px': 'effective, half'}
    means = [float(np.mean(scores)) for scores in values.values()]
    series = []
    for key, name in kinds.items():
        # the same scores are drawn over each kind of field: which of them explains accuracy is the question
        by_variant = {v: [row[key] for row in rows if row['variant'] == v] for v in values}
        series.append(Series(name, [float(np.mean(widths)) for widths in by_variant.values()], means))
    metric = runs[0].metric
    claims = build_field_claims(list(values), args.margin)
    extra = f'--layers {args.layers} --kernels {",".join(map(str, args.kernels))} --margin {args.margin:g}'
    report = StudyReport(
        title=f'Receptive fields of {args.config.stem}',
        command=format_study_command(args, 'receptive-field', extra),
        unit=metric,
        values=values,
        rows=rows,
        claims=[judge_claim(claim, values, runs[0].lower_is_better) for claim in claims],
        charts={'fields': Chart(f'{metric} by receptive field', 'width of the field, px', metric, series)},
        notes=[
            'The width of the layers is solved so that all variants have the parameters of the config or just less.'
        ],
    )
    print_study_report(report, args.out)


def _parse_sizes(text: str) -> list[int]:
    # rising, since each size is claimed to be better than the one before
    return sorted(set(parse_counts(text)))


def add_receptive_field_arguments(parser: argparse.ArgumentParser) -> None:
    add_study_options(parser)
    parser.add_argument(
        '--layers',
        default='model.head.context_layers',
        metavar='KEY',
        help='setting that lists layers as (kernel size, channels) (default: model.head.context_layers)',
    )
    parser.add_argument(
        '--kernels',
        type=_parse_sizes,
        default=[1, 3, 5, 7, 9],
        metavar='N,...',
        help='odd kernel sizes (default: 1,3,5,7,9)',
    )
    add_margin_option(parser)
