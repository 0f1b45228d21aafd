"""Ablations of RTMO's coordinate classifier: bins, loss, sigma and encoding.

For a config with RTMOHead. `poseplug analyze sigmas` compares predicted sigmas with true errors.
"""

from __future__ import annotations

import argparse

from poseplug.cli.family_options import add_family_options, run_family_study


def analyze_bins(args: argparse.Namespace) -> None:
    run_family_study(args, 'bins')


def add_bins_arguments(parser: argparse.ArgumentParser) -> None:
    add_family_options(parser, ('bins', 'loss', 'sigma', 'encoding'))
