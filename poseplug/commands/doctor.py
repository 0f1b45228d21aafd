"""What stands in the way of a run, each with a remedy.

poseplug doctor [CONFIG] [--page FILE.html] [--worst 50] [--cfg-options KEY=VALUE ...]
Looked at are the environment, and with a config its data. The exit code is 1 where the environment is wrong;
what merely looks wrong in the data is told.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from poseplug.cli import add_options


def run(args: argparse.Namespace) -> None:
    from poseplug.analysis.doctor import environment

    around = environment()
    print('environment', *around, sep='\n')
    if args.config is not None:
        look_at_data(args, around)
    if any(finding.wrong for finding in around):
        raise SystemExit(1)


def look_at_data(args: argparse.Namespace, around: list) -> None:
    from poseplug.analysis.data_doctor import examine, findings, write_page
    from poseplug.config import load_config
    from poseplug.datasets.verify import verify

    sets = [(facts, examine(facts)) for facts in verify(load_config(args.config, args.cfg_options), args.workers)]
    for facts, patients in sets:
        print(f'\n{facts.title}', *findings(facts, patients), sep='\n')
    if args.page is not None:
        write_page(args.page, around, sets, args.worst)
        print(f'\nwritten: {args.page}')


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, nargs='?', help='a config, to look at its data too')
    parser.add_argument('--page', type=Path, metavar='FILE', help='write a page with the worst people drawn')
    parser.add_argument('--worst', type=int, default=50, help='people drawn of each source (default: 50)')
    parser.add_argument('--workers', type=int, default=2, help='threads that read pictures (default: 2)')
    add_options(parser)
