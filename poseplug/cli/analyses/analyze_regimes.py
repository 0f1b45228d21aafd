"""Train a network of several stages jointly, stage by stage, in turn, and without intermediate supervision."""

from __future__ import annotations

import argparse
from typing import Any

from poseplug.cli.study_options import (
    add_margin_option,
    add_study_options,
    create_study_settings,
    format_study_command,
    print_study_report,
)


def analyze_regimes(args: argparse.Namespace) -> None:
    from poseplug.analysis.regime_study import build_regime_claims, build_regime_variants
    from poseplug.analysis.study import collect_scores, run_study
    from poseplug.analysis.study_report import StudyReport, build_run_rows
    from poseplug.analysis.verdicts import judge_claim
    from poseplug.config.build import build_model
    from poseplug.config.load import load_config

    settings = create_study_settings(args)
    # built for the number of its stages, by which the regimes divide the steps
    model: Any = build_model(load_config(args.config, args.cfg_options))
    runs = run_study(settings, build_regime_variants(model.network.num_stages))
    values = collect_scores(runs)
    report = StudyReport(
        title=f'Training regimes of {args.config.stem}',
        command=format_study_command(args, 'regimes', f'--margin {args.margin:g}'),
        unit=runs[0].metric,
        values=values,
        rows=build_run_rows(runs),
        claims=[judge_claim(claim, values, runs[0].lower_is_better) for claim in build_regime_claims(args.margin)],
        notes=['All regimes have the same number of steps; ii and iii divide them among their trainings.'],
    )
    print_study_report(report, args.out)


def add_regimes_arguments(parser: argparse.ArgumentParser) -> None:
    add_study_options(parser)
    add_margin_option(parser, 'regimes')
