"""Any variants of a config: trained with several seeds and equal steps, and compared."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from poseplug.cli.options import parse_cfg_option
from poseplug.cli.study_options import (
    add_study_options,
    create_study_settings,
    format_study_command,
    print_study_report,
)


def analyze_variants(args: argparse.Namespace) -> None:
    from poseplug.analysis.study import collect_scores, run_study
    from poseplug.analysis.study_report import StudyReport, build_run_rows
    from poseplug.analysis.variants import Variant
    from poseplug.analysis.verdicts import Claim, judge_claim

    # the config itself comes first: every variant is compared with it
    variants = [Variant('config'), *(Variant(name, options) for name, options, _ in args.variant)]
    runs = run_study(create_study_settings(args), variants)
    values = collect_scores(runs)
    claims = [Claim(f'{variant.name} is better', variant.name, 'config') for variant in variants[1:]]
    extra = ' '.join(f'--variant {shlex.quote(text)}' for _, _, text in args.variant)
    report = StudyReport(
        title=f'Variants of {args.config.stem}',
        command=format_study_command(args, 'variants', extra),
        unit=runs[0].metric,
        values=values,
        rows=build_run_rows(runs),
        claims=[judge_claim(claim, values, runs[0].lower_is_better) for claim in claims],
    )
    print_study_report(report, args.out)


def _parse_named_variant(text: str) -> tuple[str, dict[str, Any], str]:
    """NAME:KEY=VALUE[;KEY=VALUE], as name, options and the text itself."""
    name, colon, pairs = text.partition(':')
    # an equals sign before the colon is a setting whose variant has no name
    if not colon or not name.strip() or '=' in name:
        raise argparse.ArgumentTypeError(f'{text!r} is not NAME:KEY=VALUE[;KEY=VALUE]')
    return name.strip(), dict(parse_cfg_option(pair.strip()) for pair in pairs.split(';')), text


def add_variants_arguments(parser: argparse.ArgumentParser) -> None:
    add_study_options(parser)
    parser.add_argument(
        '--variant',
        type=_parse_named_variant,
        action='append',
        required=True,
        metavar='NAME:KEY=VALUE[;KEY=VALUE]',
        help='settings of one variant, which is compared with the config itself; repeat for more',
    )
