"""Experiments on a config, with tables and charts.

poseplug analyze oracle CONFIG [--noise-std A,B,...] [--variant KEY=VALUE[;KEY=VALUE] ...] [--out FILE.svg]
poseplug analyze variants CONFIG --variant NAME:KEY=VALUE[;KEY=VALUE] ... [--steps N] [--seeds N] --out DIR
poseplug analyze decoding|limbs CONFIG [--checkpoint FILE] [--noise-std A,B,...] [--out DIR]
poseplug analyze people CONFIG ... [--counts A,B,...] [--out DIR]
poseplug analyze curves|errors FILE.jsonl ... [--out DIR]
poseplug analyze gradients CONFIG [--at STEP,...] [--steps N] [--seeds N] --out DIR
poseplug analyze regimes CONFIG [--margin POINTS] [--steps N] [--seeds N] --out DIR
poseplug analyze stages CONFIG [--steps N] [--seeds N] --out DIR
poseplug analyze receptive-field CONFIG [--layers KEY] [--kernels N,...] [--steps N] [--seeds N] --out DIR
poseplug analyze hourglass CONFIG [--group NAME] [--steps N] [--seeds N] --out DIR
poseplug analyze transformers CONFIG [--group NAME] [--steps N] [--seeds N] --out DIR
poseplug analyze hard-keypoints|paf-stages|bins CONFIG [--group NAME] [--steps N] [--seeds N] --out DIR
poseplug analyze sigmas CONFIG CHECKPOINT [--groups N] [--out DIR]
Those that train do so with several seeds and equal steps; a run that was stopped is resumed.
"""

from __future__ import annotations

import argparse
from importlib import import_module

# name of the analysis -> its module in poseplug/cli/analyses
_ANALYSES = {
    'oracle': 'analyze_oracle',
    'variants': 'analyze_variants',
    'decoding': 'analyze_decoding',
    'limbs': 'analyze_limbs',
    'people': 'analyze_people',
    'curves': 'analyze_curves',
    'errors': 'analyze_errors',
    'gradients': 'analyze_gradients',
    'regimes': 'analyze_regimes',
    'stages': 'analyze_stages',
    'receptive-field': 'analyze_receptive_field',
    'hourglass': 'analyze_hourglass',
    'transformers': 'analyze_transformers',
    'sigmas': 'analyze_sigmas',
    'hard-keypoints': 'analyze_hard_keypoints',
    'paf-stages': 'analyze_paf_stages',
    'bins': 'analyze_bins',
}


def run(args: argparse.Namespace) -> None:
    args.run(args)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar='ANALYSIS')
    for name, module_name in _ANALYSES.items():
        module = import_module(f'poseplug.cli.analyses.{module_name}')
        summary = (module.__doc__ or '').partition('\n')[0].removesuffix('.')
        command = commands.add_parser(name, help=summary[0].lower() + summary[1:], description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
