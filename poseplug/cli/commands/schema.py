"""Write a JSON Schema of configs, for editors.

poseplug schema [--out FILE.json]
Editors complete and check JSON and YAML configs by it: docs/howto/editor.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def run_schema(args: argparse.Namespace) -> None:
    import json

    from poseplug.core.errors import ConfigError
    from poseplug.files.atomic import write_atomically
    from poseplug.inspect.config_schema import build_config_schema

    text = json.dumps(build_config_schema(), indent=1)
    if args.out is None:
        print(text)
        return
    try:
        # an editor that reads the file meanwhile must not get half of it
        write_atomically(args.out, f'{text}\n'.encode())
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f'{args.out}: {reason}; name another --out') from error
    print(f'written: {args.out}')


def add_schema_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--out', type=Path, metavar='FILE', help='the schema (default: print it)')
