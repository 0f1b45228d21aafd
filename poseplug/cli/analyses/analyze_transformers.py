"""Ablations of plain transformers: kinds of attention, decoders, frozen parts."""

from __future__ import annotations

import argparse

from poseplug.cli.family_options import add_family_options, run_family_study


def analyze_transformers(args: argparse.Namespace) -> None:
    run_family_study(args, 'transformers')


def add_transformers_arguments(parser: argparse.ArgumentParser) -> None:
    add_family_options(parser, ('attention', 'decoders', 'frozen'))
