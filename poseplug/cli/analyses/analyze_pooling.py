"""Accuracy against the stride of CPM's trunk: fewer or more poolings at the same layers.

For a config with CPMTrunk and CPMHead.
"""

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


def analyze_pooling(args: argparse.Namespace) -> None:
    from poseplug.analysis.pooling_study import build_pooling_claims, build_pooling_variants
    from poseplug.analysis.study import collect_scores, run_study
    from poseplug.analysis.study_report import StudyReport, build_run_rows
    from poseplug.analysis.verdicts import judge_claim

    settings = create_study_settings(args)
    runs = run_study(settings, build_pooling_variants(settings, args.strides))
    values = collect_scores(runs)
    extra = f'--strides {",".join(map(str, args.strides))} --margin {args.margin:g}'
    claims = build_pooling_claims(list(values), args.margin)
    report = StudyReport(
        title=f'Poolings of {args.config.stem}',
        command=format_study_command(args, 'pooling', extra),
        unit=runs[0].metric,
        values=values,
        rows=build_run_rows(runs),
        claims=[judge_claim(claim, values, runs[0].lower_is_better) for claim in claims],
        notes=['A convolution that loses its pooling runs behind the trunk.'],
    )
    print_study_report(report, args.out)


def _parse_strides(text: str) -> list[int]:
    # rising, since each stride is compared with the one before
    return sorted(set(parse_counts(text)))


def add_pooling_arguments(parser: argparse.ArgumentParser) -> None:
    add_study_options(parser)
    parser.add_argument(
        '--strides', type=_parse_strides, default=[4, 8, 16], metavar='N,...', help='powers of 2 (default: 4,8,16)'
    )
    add_margin_option(parser)
