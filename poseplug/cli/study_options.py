"""Options that all analyses with trainings have, and what they print at the end."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from poseplug.cli.argument_types import parse_count, parse_names, parse_positive_float, parse_positive_int
from poseplug.cli.options import CONFIG_HELP, add_config_options, add_device_option

if TYPE_CHECKING:
    from poseplug.analysis.study import StudySettings
    from poseplug.analysis.study_report import StudyReport


def add_study_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the config and the options of an analysis that trains.

    Args:
        parser: of the analysis.

    Returns:
        The same parser.
    """
    parser.add_argument('config', type=Path, help=CONFIG_HELP)
    parser.add_argument(
        '--steps', type=parse_positive_int, metavar='N', help="training steps of each run (default: the config's)"
    )
    parser.add_argument(
        '--seeds',
        type=_parse_seeds,
        default=(0, 1, 2),
        metavar='N',
        help='number of seeds of each variant, or the seeds: 0,1,2 (default: 3)',
    )
    parser.add_argument('--metric', help='the score that is compared (default: the first total)')
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='folder of runs, tables and charts; runs are resumed'
    )
    add_device_option(parser)
    return add_config_options(parser)


def add_margin_option(parser: argparse.ArgumentParser, compared: str = 'variants') -> argparse.ArgumentParser:
    """Add `--margin POINTS` to an analysis with a claim that two are equally good.

    Args:
        parser: of the analysis.
        compared: what is compared, in the help.

    Returns:
        The same parser.
    """
    parser.add_argument(
        '--margin',
        type=parse_positive_float,
        default=2.0,
        metavar='POINTS',
        help=f'difference within which two {compared} are equally good (default: 2)',
    )
    return parser


def _parse_seeds(text: str) -> tuple[int, ...]:
    """A number of seeds, or seeds separated by commas."""
    # a number alone is a count, so that a single seed is written with a comma: '7,'
    if ',' in text:
        return tuple(parse_count(part) for part in parse_names(text))
    return tuple(range(parse_positive_int(text)))


def create_study_settings(args: argparse.Namespace) -> StudySettings:
    """Create the settings of an experiment from the options, and check that its folder can be written.

    Args:
        args: the parsed options.
    """
    from poseplug.analysis.study import StudySettings
    from poseplug.engine.results import create_output_folder

    # before the trainings: hours later it would be too late to name another folder
    create_output_folder(args.out, args.out, '--out')
    return StudySettings(
        config=args.config,
        out=args.out,
        steps=args.steps,
        seeds=args.seeds,
        metric=args.metric,
        options=args.cfg_options or {},
        device=args.device,
    )


def format_study_command(args: argparse.Namespace, name: str, extra: str = '') -> str:
    """Format the command line that repeats an experiment.

    Args:
        args: the parsed options.
        name: of the analysis.
        extra: further options, as text.
    """
    # the number where the seeds are 0, 1, 2, ..., as it was most likely written
    seeds = len(args.seeds) if tuple(args.seeds) == tuple(range(len(args.seeds))) else ','.join(map(str, args.seeds))
    words = ['poseplug', 'analyze', name, str(args.config)]
    words += ['--steps', str(args.steps)] if args.steps else []
    words += ['--seeds', str(seeds)]
    words += ['--metric', args.metric] if args.metric else []
    words += ['--out', str(args.out)]
    # as literals, which --cfg-options parses to the same values
    options = [f'{key}={value!r}' for key, value in (args.cfg_options or {}).items()]
    words += ['--cfg-options', *options] if options else []
    return ' '.join([shlex.join(words), extra]).strip()


def print_study_report(report: StudyReport, out: Path) -> None:
    """Print an experiment and write its files.

    Args:
        report: of the experiment.
        out: the folder of the files.
    """
    from poseplug.analysis.study_report import format_study_report, write_study_report

    print(format_study_report(report))
    files = ', '.join(str(file) for file in write_study_report(report, out))
    print(f'\nwritten: {files}')
