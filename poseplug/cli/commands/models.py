"""List the models that load by name, published or installed.

poseplug models [PATTERN] [--task body|wholebody|hand|face|animal|fashion] [--json]
PATTERN is a name, an alias or a part of one, or has * and ?; a single model is
shown with its address, scores and licenses. Use a name as --model NAME.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any


def run_models(args: argparse.Namespace) -> None:
    from poseplug.zoo.index import match_published_models
    from poseplug.zoo.installed_models import list_installed_entries
    from poseplug.zoo.model_list import format_model_card, format_model_list

    models = match_published_models(args.pattern, args.task, list_installed_entries())
    if args.json:
        print(json.dumps([asdict(model) for model in models], indent=1))
    elif len(models) == 1:
        print(format_model_card(models[0]))
        _print_others(args.pattern, args.task)
    else:
        print(format_model_list(models))


def _print_others(name: str, task: str | None) -> None:
    """Say how many more models have a name in theirs: MMPose calls one of each family by the family's name."""
    from poseplug.zoo.index import is_model_name, match_published_models

    others = match_published_models(f'*{name}*', task) if is_model_name(name) else []
    if len(others) > 1:
        print(f"others     {len(others) - 1} more have {name!r} in their names: poseplug models '*{name}*'")


def add_models_arguments(parser: Any) -> None:
    from poseplug.zoo.index import TASKS

    parser.add_argument('pattern', nargs='?', default='', metavar='PATTERN', help='models to list (default: all)')
    parser.add_argument('--task', choices=TASKS, help='list the models of one task')
    parser.add_argument('--json', action='store_true', help='print everything in the index as JSON')
