"""Measure every stage of a network: per keypoint, with curves over the threshold."""

from __future__ import annotations

import argparse
from typing import Any

from poseplug.cli.study_options import (
    add_study_options,
    create_study_settings,
    format_study_command,
    print_study_report,
)


def analyze_stages(args: argparse.Namespace) -> None:
    from poseplug.analysis.stage_study import build_stage_charts, build_stage_claims, collect_stage_scores
    from poseplug.analysis.study import run_study
    from poseplug.analysis.study_report import StudyReport
    from poseplug.analysis.variants import Variant
    from poseplug.analysis.verdicts import judge_claim
    from poseplug.config.build import build_model
    from poseplug.config.load import load_config

    settings = create_study_settings(args)
    model: Any = build_model(load_config(args.config, args.cfg_options))
    # before the training, since a network of one stage is an error
    claims = build_stage_claims(model.network.num_stages)
    runs = run_study(settings, [Variant('config')])
    values = collect_stage_scores(runs)
    rows = []
    for run in runs:
        rows += [dict(seed=run.seed, stage=t + 1, **scores) for t, scores in enumerate(run.stage_scores)]
    report = StudyReport(
        title=f'Stages of {args.config.stem}',
        command=format_study_command(args, 'stages'),
        unit=runs[0].metric,
        values=values,
        rows=rows,
        claims=[judge_claim(claim, values, runs[0].lower_is_better) for claim in claims],
        charts=build_stage_charts(runs),
    )
    print_study_report(report, args.out)


def add_stages_arguments(parser: argparse.ArgumentParser) -> None:
    add_study_options(parser)
