"""Train GlobalNet alone, RefineNet, and RefineNet on the hardest keypoints.

For a config with CPNHead of four levels, on at least 12 keypoints.
"""

from __future__ import annotations

import argparse

from poseplug.cli.family_options import add_family_options, run_family_study


def analyze_hard_keypoints(args: argparse.Namespace) -> None:
    run_family_study(args, 'hard-keypoints')


def add_hard_keypoints_arguments(parser: argparse.ArgumentParser) -> None:
    add_family_options(parser, ('keypoints',))
