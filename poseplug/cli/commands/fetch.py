"""Fetch published weights, also for machines without a network.

poseplug fetch NAME ... [--to DIR]
NAME is a published model, a preset or a pattern such as rtmo-*. A fetch that was
cut goes on where it ended. Copy DIR, and set POSEPLUG_CACHE to the copy.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def run_fetch(args: argparse.Namespace) -> None:
    from poseplug.core.errors import CheckpointError, PoseplugError
    from poseplug.zoo.index import expand_model_names
    from poseplug.zoo.installed_models import list_installed_entries
    from poseplug.zoo.weight_cache import MODELS_FOLDER, WeightCache

    installed = [entry.name for entry in list_installed_entries() if entry.name in args.names]
    for name in installed:
        print(f'{name}: installed with poseplug, nothing to fetch')
    models = expand_model_names([name for name in args.names if name not in installed])
    cache = WeightCache(args.to and args.to / MODELS_FOLDER)
    failures = []
    for model in models:
        try:
            path = cache.fetch_published_file(model)
        except PoseplugError as error:
            failures.append(str(error))
            # the others are fetched all the same, and all failures are reported together
            continue
        print(f'{model.name}: {path}, {path.stat().st_size:,} bytes, sha256 {cache.read_digest(path)}', flush=True)
    if failures:
        listed = '\n'.join(failures)
        raise CheckpointError(f'{len(failures)} of {len(models)} were not fetched:\n{listed}')


def add_fetch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('names', nargs='+', metavar='NAME', help='published models (poseplug models lists them)')
    parser.add_argument(
        '--to', type=Path, metavar='DIR', help='folder to fetch to (default: POSEPLUG_CACHE, or ~/.cache/poseplug)'
    )
