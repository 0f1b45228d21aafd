"""Describe what a config builds and what it costs.

poseplug describe CONFIG [--json] [--cfg-options KEY=VALUE ...]
poseplug describe CONFIG --safe            show what an untrusted config says, without running it
poseplug describe FOLDER --table FILE      write the table of all configs below a folder: docs/reference/models.md
Of every part: shapes, parameters, multiply-adds and receptive field.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from poseplug.cli.options import add_config_options


def run_describe(args: argparse.Namespace) -> None:
    if args.table is not None:
        _write_model_table(args.config, args.table)
    elif args.safe:
        _print_without_running(args.config)
    else:
        _print_description(args)


def _write_model_table(folder: Path, file: Path) -> None:
    from poseplug.files.output_guard import check_outputs
    from poseplug.inspect.model_table import render_models_page

    # the table must not replace one of the configs that it lists
    check_outputs(folder.rglob('*.py'), [file], '--table')
    text = '\n'.join(render_models_page(folder)) + '\n'
    file.write_text(text)
    print(f'written: {file}')


def _print_without_running(config: Path) -> None:
    from poseplug.config.data_files import inspect_python_config, load_data_config
    from poseplug.config.shipped import DATA_CONFIG_SUFFIXES, find_config

    config = find_config(config)
    # the file is parsed and never run, since --safe is for files of strangers
    is_data = config.suffix in DATA_CONFIG_SUFFIXES
    content = load_data_config(config) if is_data else inspect_python_config(config)
    print(json.dumps(content, indent=2, default=str))


def _print_description(args: argparse.Namespace) -> None:
    from poseplug.config.load import load_config
    from poseplug.inspect.description import describe_config, print_description

    description = describe_config(load_config(args.config, args.cfg_options))
    if args.json:
        print(json.dumps(description, indent=2, default=str))
    else:
        print_description(description)


def add_describe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help='a config; with --table a folder of configs')
    parser.add_argument('--json', action='store_true', help='print the description as JSON')
    parser.add_argument('--safe', action='store_true', help='print the content as JSON; nothing is run or built')
    parser.add_argument('--table', type=Path, metavar='FILE', help='write cost and score of all configs in a folder')
    add_config_options(parser)
