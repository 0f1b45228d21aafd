"""What a config builds, from bytes to joints, with shapes, parameters, multiply-adds and receptive fields.

python tools/describe.py CONFIG [--json] [--cfg-options KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from poseplug.cli import add_options, main


def run(args: argparse.Namespace) -> None:
    from poseplug.analysis.describe import describe, show
    from poseplug.config import load_config

    about = describe(load_config(args.config, args.cfg_options))
    if args.json:
        print(json.dumps(about, indent=2, default=str))
    else:
        show(about)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', type=Path)
    parser.add_argument('--json', action='store_true', help='print the description as JSON')
    return add_options(parser)


if __name__ == '__main__':
    main(parser(), run)
