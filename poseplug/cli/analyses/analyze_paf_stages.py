"""Split four stages into limb stages and keypoint stages in every way.

For a config with PAFStagesHead.
"""

from __future__ import annotations

import argparse

from poseplug.cli.family_options import add_family_options, run_family_study


def analyze_paf_stages(args: argparse.Namespace) -> None:
    run_family_study(args, 'paf-stages')


def add_paf_stages_arguments(parser: argparse.ArgumentParser) -> None:
    add_family_options(parser, ('stages',))
