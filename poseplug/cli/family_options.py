"""The options of ablations of a family of networks, and how they run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from poseplug.cli.study_options import (
    add_study_options,
    create_study_settings,
    format_study_command,
    print_study_report,
)


def add_family_options(parser: argparse.ArgumentParser, groups: Sequence[str]) -> argparse.ArgumentParser:
    """Add the options of an analysis with groups of variants.

    Args:
        parser: of the analysis.
        groups: names of the groups; the first one is the default.

    Returns:
        The same parser.
    """
    add_study_options(parser)
    parser.add_argument(
        '--group', choices=groups, default=groups[0], help=f'the settings that are varied (default: {groups[0]})'
    )
    return parser


def run_family_study(args: argparse.Namespace, family: str) -> None:
    """Train the variants of a group, and write the results.

    Args:
        args: the parsed options.
        family: the name of the analysis, a key of `FAMILY_STUDIES` or `HEAD_STUDIES`.
    """
    from poseplug.analysis.family_studies import FAMILY_STUDIES
    from poseplug.analysis.head_studies import HEAD_STUDIES
    from poseplug.analysis.study import collect_scores, run_study
    from poseplug.analysis.study_report import StudyReport, build_run_rows
    from poseplug.analysis.verdicts import judge_claim

    group = {**FAMILY_STUDIES, **HEAD_STUDIES}[family][args.group]
    runs = run_study(create_study_settings(args), group.variants)
    values = collect_scores(runs)
    # one entry per variant: its seeds have the same parameters
    parameters = {run.variant: f'{run.variant}: {run.parameters:,}' for run in runs}
    report = StudyReport(
        title=f'{args.config.stem}: {group.summary}',
        command=format_study_command(args, family, f'--group {args.group}'),
        unit=runs[0].metric,
        values=values,
        rows=build_run_rows(runs),
        claims=[judge_claim(claim, values, runs[0].lower_is_better) for claim in group.claims],
        notes=[f'Parameters: {"; ".join(parameters.values())}.'],
    )
    print_study_report(report, args.out)
