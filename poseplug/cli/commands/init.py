"""Start from your own labels: split, draw, write a config.

poseplug init DATA [--images DIR] [--model small|base|large|NAME] [--out DIR]
    [--category NAME ...] [--format NAME] [--val-fraction 0.2] [--seed 0]
DATA is a file or folder of any label format (COCO, YOLO-pose, LabelMe, CVAT,
Label Studio, DeepLabCut, SLEAP, CSV). The images stay where they are.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from poseplug.cli.argument_types import parse_fraction


def run_init(args: argparse.Namespace) -> None:
    from poseplug.starter.project import SHEET_FILE, create_project

    out = args.out or Path(f'poseplug_{_get_data_name(args.data)}')
    project = create_project(
        args.data, out, args.images, args.model, args.format, args.category, args.val_fraction, args.seed
    )
    print('\n'.join(project.lines))
    print(f'written: {project.config}; look at {out / SHEET_FILE}: are the labels where they belong?')
    print('next:')
    for command in _list_next_commands(project):
        print(f'  poseplug {shlex.join(command)}')


def _get_data_name(data: Path) -> str:
    """The name of the data set: that of the folder of a data.yaml, else of the file or folder."""
    resolved = data.resolve()
    # every YOLO data set has a data.yaml
    return resolved.parent.name if resolved.suffix in ('.yaml', '.yml') else resolved.stem


def _list_next_commands(project: Any) -> list[list[str]]:
    """The arguments of the commands that lead from the config to predictions."""
    config, run = str(project.config), str(project.folder / 'run')
    # in whole pixels, which are easier to read, and near enough for an example
    box = [] if project.example_box is None else ['--boxes', ','.join(f'{value:.0f}' for value in project.example_box)]
    return [
        ['train', config, '--work-dir', run],
        ['test', config, run, '--report', str(project.folder / 'report')],
        ['predict', config, run, str(project.example_image), *box, '--out', str(project.folder / 'predictions')],
        ['doctor', config, '--model', run, '--out', str(project.folder / 'label_check')],
    ]


def add_init_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('data', type=Path, metavar='DATA', help='the labels: a file or folder of any known format')
    parser.add_argument('--images', type=Path, metavar='DIR', help='folder of the images (default: beside the labels)')
    parser.add_argument(
        '--model',
        metavar='NAME',
        help='small, base, large, a config by name, or a published model, from whose weights the run begins (default: '
        'by the size of the set)',
    )
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder to write (default: poseplug_NAME of the data)')
    parser.add_argument(
        '--category', nargs='+', default=[], metavar='NAME', help='categories to learn (default: all that are labeled)'
    )
    parser.add_argument('--format', metavar='NAME', help='format to read (default: recognized by the files)')
    parser.add_argument(
        '--val-fraction',
        type=parse_fraction,
        default=0.2,
        metavar='F',
        help='fraction of the images for validation, if the files have no split (default: 0.2)',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the split (default: 0)')
