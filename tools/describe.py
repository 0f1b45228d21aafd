"""What a config builds, from bytes to joints, with shapes, parameters, multiply-adds and receptive fields.

python tools/describe.py CONFIG [--json] [--cfg-options KEY=VALUE ...]
python tools/describe.py CONFIG --safe            what a config from a stranger says, without running it
python tools/describe.py FOLDER --table FILE      the page of all configs below a folder: docs/models.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from poseplug.cli import add_options, main


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


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', type=Path, help='a config, or with --table a folder of configs')
    parser.add_argument('--json', action='store_true', help='print the description as JSON')
    parser.add_argument('--safe', action='store_true', help='print what is written, as JSON; nothing is run or built')
    parser.add_argument('--table', type=Path, metavar='FILE', help='write what all configs of a folder cost and score')
    return add_options(parser)


if __name__ == '__main__':
    main(parser(), run)
