"""Write a template of a part, with its contract test.

poseplug new backbone|head|codec|loss|metric|transform|source|logger NAME
    [--out DIR]
"""

from __future__ import annotations

import argparse
import keyword
import re
from pathlib import Path

from poseplug.core.errors import ConfigError
from poseplug.files.atomic import write_atomically

_TEMPLATES = Path(__file__).parents[1] / 'templates'
_TEST_SEPARATOR = '# ---- test ----\n'
# how a config names a part, where its place is not that of the parts of the same kind
_SETTINGS = {'logger': "visualizer = dict(vis_backends=[dict(type='PART_NAME')])"}


def run_new(args: argparse.Namespace) -> None:
    if not args.name.isidentifier() or keyword.iskeyword(args.name) or not args.name[0].isupper():
        raise ConfigError(f'{args.name!r} is no name of a class; write one such as MyCodec')
    # an underscore before each word: MyRTMOCodec is my_rtmo_codec
    module = re.sub(r'(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])', '_', args.name).lower()
    template = (_TEMPLATES / f'{args.kind}.txt').read_text(encoding='utf-8')
    text = template.replace('PART_NAME', args.name).replace('PART_MODULE', module)
    # one template has both files, so that they are read side by side
    part, _, test = text.partition(_TEST_SEPARATOR)
    test_file = args.out / f'test_{module}.py'
    files = {args.out / f'{module}.py': part, test_file: test}
    existing = [str(file) for file in files if file.exists()]
    if existing:
        raise ConfigError(f'{", ".join(existing)} exists already; choose another name or folder')
    for file, content in files.items():
        write_atomically(file, content.encode())
    print(f'written: {", ".join(map(str, files))}')
    print(f'test it:  python -m pytest {test_file}')  # pytest imports from the folder of the test
    setting = _SETTINGS.get(args.kind, "type='PART_NAME'").replace('PART_NAME', args.name)
    print(f"use it:   custom_imports = dict(imports=['{module}']) in a config beside it, and {setting}")


def add_new_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = sorted(file.stem for file in _TEMPLATES.glob('*.txt'))
    parser.add_argument('kind', choices=kinds, help=', '.join(kinds))
    parser.add_argument('name', metavar='NAME', help='name of the class, such as MyCodec')
    parser.add_argument(
        '--out', type=Path, default=Path(), metavar='DIR', help='folder to write to (default: the current one)'
    )
