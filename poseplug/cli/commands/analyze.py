"""Experiments on a config, with tables and charts.

poseplug analyze oracle CONFIG [--noise-std A,B,...] [--variant KEY=VALUE[;KEY=VALUE] ...] [--out FILE.svg]
poseplug analyze variants CONFIG --variant NAME:KEY=VALUE[;KEY=VALUE] ... [--steps N] [--seeds N] --out DIR
poseplug analyze decoding|limbs CONFIG [--checkpoint FILE] [--noise-std A,B,...] [--out DIR]
poseplug analyze layers CONFIG [--out DIR]
poseplug analyze cues CONFIG CHECKPOINT [--images N] [--out DIR]
poseplug analyze people CONFIG ... [--counts A,B,...] [--out DIR]
poseplug analyze curves|errors FILE.jsonl ... [--out DIR]
poseplug analyze gradients CONFIG [--at STEP,...] [--steps N] [--seeds N] --out DIR
poseplug analyze regimes CONFIG [--margin POINTS] [--steps N] [--seeds N] --out DIR
poseplug analyze stages CONFIG [--steps N] [--seeds N] --out DIR
poseplug analyze receptive-field CONFIG [--layers KEY] [--kernels N,...] [--steps N] [--seeds N] --out DIR
poseplug analyze pooling CONFIG [--strides N,...] [--steps N] [--seeds N] --out DIR
poseplug analyze hourglass CONFIG [--group NAME] [--steps N] [--seeds N] --out DIR
poseplug analyze transformers CONFIG [--group NAME] [--steps N] [--seeds N] --out DIR
poseplug analyze hard-keypoints|paf-stages|bins CONFIG [--group NAME] [--steps N] [--seeds N] --out DIR
poseplug analyze sigmas CONFIG CHECKPOINT [--groups N] [--out DIR]
Those that train do so with several seeds and equal steps; a run that was stopped is resumed.
"""

from __future__ import annotations

import argparse

from poseplug.cli.command_modules import load_analysis

# as they are typed: with hyphens, where names of modules have underscores
ANALYSES = (
    'oracle',
    'variants',
    'decoding',
    'limbs',
    'layers',
    'cues',
    'people',
    'curves',
    'errors',
    'gradients',
    'regimes',
    'stages',
    'receptive-field',
    'pooling',
    'hourglass',
    'transformers',
    'sigmas',
    'hard-keypoints',
    'paf-stages',
    'bins',
)


def run_analyze(args: argparse.Namespace) -> None:
    args.run(args)


def add_analyze_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar='ANALYSIS')
    for name in ANALYSES:
        analysis = load_analysis(name.replace('-', '_'))
        summary = analysis.summary.removesuffix('.')
        # lists of argparse begin in lower case, and end without a period
        command = commands.add_parser(name, help=summary[0].lower() + summary[1:], description=analysis.description)
        analysis.add_arguments(command)
        command.set_defaults(run=analysis.run)
