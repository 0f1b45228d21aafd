"""Ablations of stacked hourglasses: capacity, supervision, upsampling, kinds of blocks, sharing."""

from __future__ import annotations

import argparse

from poseplug.cli.family_options import add_family_options, run_family_study


def analyze_hourglass(args: argparse.Namespace) -> None:
    run_family_study(args, 'hourglass')


def add_hourglass_arguments(parser: argparse.ArgumentParser) -> None:
    add_family_options(parser, ('capacity', 'supervision', 'upsampling', 'blocks', 'sharing'))
