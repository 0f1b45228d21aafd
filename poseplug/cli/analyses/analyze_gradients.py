"""Record gradients by layer over training, with and without intermediate supervision."""

from __future__ import annotations

import argparse

from poseplug.cli.argument_types import parse_count, parse_fraction, parse_names
from poseplug.cli.study_options import (
    add_study_options,
    create_study_settings,
    format_study_command,
    print_study_report,
)


def analyze_gradients(args: argparse.Namespace) -> None:
    from poseplug.analysis.gradient_study import build_gradient_variants, summarize_gradients
    from poseplug.analysis.study import run_study
    from poseplug.analysis.study_report import StudyReport
    from poseplug.analysis.verdicts import judge_claim
    from poseplug.report.charts import save_svg
    from poseplug.report.panel_chart import render_panel_chart, save_panel_chart

    settings = create_study_settings(args)
    study = summarize_gradients(run_study(settings, build_gradient_variants(settings, args.at)))
    report = StudyReport(
        title=f'Gradients of {args.config.stem}',
        command=format_study_command(args, 'gradients', '--at ' + ','.join(map(str, args.at))),
        unit='log10 of the RMS gradient of a layer, mean over stage 1',
        values=study.values,
        rows=study.rows,
        claims=[judge_claim(claim, study.values) for claim in study.claims],
        charts=study.charts,
    )
    # a chart with a panel for each stage and step; those of a report have one panel
    save_svg(render_panel_chart(study.histograms), args.out / 'histograms.svg')
    save_panel_chart(study.histograms, args.out / 'histograms.png')
    print_study_report(report, args.out)


def _parse_steps(text: str) -> list[float]:
    """Steps, or fractions of the run if a number has a point, separated by commas."""
    # the point decides: 1.0 is the end of the run, and 1 the second step
    return [parse_fraction(part) if '.' in part else parse_count(part) for part in parse_names(text)]


def add_gradients_arguments(parser: argparse.ArgumentParser) -> None:
    add_study_options(parser)
    parser.add_argument(
        '--at',
        type=_parse_steps,
        default=[0, 0.1, 0.5, 1.0],
        metavar='STEP,...',
        help='steps to record, counted from 0, or fractions of the run such as 0.5 (default: 0,0.1,0.5,1.0)',
    )
