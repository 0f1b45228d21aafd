"""Make a trained model the one that ships.

poseplug package_model CONFIG CHECKPOINT [--results results.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from poseplug.cli import add_plugins


def run(args: argparse.Namespace) -> None:
    from poseplug.errors import ConfigError
    from poseplug.inference.shipped import FOLDER, NAME, package_model

    try:
        metrics = json.loads(args.results.read_text())['metrics'] if args.results else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{args.results}: {error}; give what tools/test.py --out wrote') from error
    for file in package_model(args.config, args.checkpoint, args.out or FOLDER, args.name or NAME, metrics):
        print(f'{file}: {file.stat().st_size:,} bytes')


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--results', type=Path, metavar='FILE', help='scores to keep with it, from tools/test.py --out')
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder (default: that of the shipped model)')
    parser.add_argument('--name', help='name of the two files (default: that of the shipped model)')
    add_plugins(parser)
