"""Package a trained model as the one that comes with poseplug.

poseplug package_model CONFIG CHECKPOINT [--results results.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from poseplug.cli.argument_types import parse_weights_source
from poseplug.cli.options import CONFIG_HELP


def run_package_model(args: argparse.Namespace) -> None:
    from poseplug.core.errors import ConfigError
    from poseplug.predict.shipped_model import SHIPPED_MODEL_DIR, SHIPPED_MODEL_NAME, package_model

    try:
        metrics = json.loads(args.results.read_text())['metrics'] if args.results else None
    # KeyError and TypeError: JSON of another kind than the results of a test
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{args.results}: {error}; expected the file that tools/test.py --out writes') from error
    out_dir, name = args.out or SHIPPED_MODEL_DIR, args.name or SHIPPED_MODEL_NAME
    for file in package_model(args.config, args.checkpoint, out_dir, name, metrics):
        print(f'{file}: {file.stat().st_size:,} bytes')


def add_package_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help=CONFIG_HELP)
    parser.add_argument(
        'checkpoint', type=parse_weights_source, help='a file of weights, or a work dir for its newest checkpoint'
    )
    parser.add_argument(
        '--results',
        type=Path,
        metavar='FILE',
        help='scores to store with the model: a file that poseplug test --out wrote',
    )
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder to write (default: that of the shipped model)')
    parser.add_argument('--name', help='name of the two files (default: that of the shipped model)')
