"""What a config builds, from bytes to joints, and what it costs.

poseplug describe CONFIG [--json] [--cfg-options KEY=VALUE ...]
poseplug describe CONFIG --safe            what a config from a stranger says, without running it
poseplug describe FOLDER --table FILE      the page of all configs below a folder: docs/models.md
Of every part: shapes, parameters, multiply-adds, receptive field.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from poseplug.cli import add_options


def run(args: argparse.Namespace) -> None:
    if args.table is not None:
        write_table(args.config, args.table)
        return
    if args.safe:
        from poseplug.config_data import ENDINGS, outline, read_data

        print(json.dumps((read_data if args.config.suffix in ENDINGS else outline)(args.config), indent=2, default=str))
        return
    from poseplug.analysis.describe import describe, show
    from poseplug.config import load_config

    about = describe(load_config(args.config, args.cfg_options))
    if args.json:
        print(json.dumps(about, indent=2, default=str))
    else:
        show(about)


def write_table(folder: Path, file: Path) -> None:
    from poseplug.analysis.model_table import page

    text = '\n'.join(page(folder)) + '\n'
    file.write_text(text)
    print(f'written: {file}')


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help='a config, or with --table a folder of configs')
    parser.add_argument('--json', action='store_true', help='print the description as JSON')
    parser.add_argument('--safe', action='store_true', help='print what is written, as JSON; nothing is run or built')
    parser.add_argument('--table', type=Path, metavar='FILE', help='write what all configs of a folder cost and score')
    add_options(parser)
