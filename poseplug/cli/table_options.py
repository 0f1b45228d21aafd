"""What the analyses without trainings have in common: their folder, their command, and what they print."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poseplug.cli.argument_types import parse_numbers, parse_weights_source
from poseplug.cli.options import add_config_options

if TYPE_CHECKING:
    from poseplug.report.result_table import ResultTable


def add_out_option(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add `--out DIR` to an analysis.

    Args:
        parser: of the analysis.

    Returns:
        The same parser.
    """
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder for the table (CSV, Markdown) and the charts')
    return parser


def add_field_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of an analysis of true fields or those of a network: noise, device, checkpoint, folder, config.

    Args:
        parser: of the analysis.

    Returns:
        The same parser.
    """
    parser.add_argument(
        '--noise-std',
        type=parse_numbers,
        default=[0.0],
        metavar='A,B,...',
        help='standard deviations of the noise in the cells of true fields (default: 0)',
    )
    parser.add_argument('--device', help='device of the network (default: cpu)')
    parser.add_argument(
        '--checkpoint',
        type=parse_weights_source,
        metavar='FILE',
        help="weights, or a work dir for its newest ones: analyze predicted fields (default: the codec's true fields)",
    )
    add_out_option(parser)
    return add_config_options(parser)


def load_test_model(cfg: Any, checkpoint: Path | str | None, device: str | None = None) -> Any:
    """Build the estimator of a config for an analysis, with the weights of a checkpoint if there is one.

    Args:
        cfg: the config.
        checkpoint: a file, a work dir or an address.
        device: of the network.
    """
    from poseplug.config.build import build_model
    from poseplug.files.weights import load_weights

    model: Any = build_model(cfg)
    # without a checkpoint true fields or times are analyzed, for which random weights serve as well
    if checkpoint is not None:
        load_weights(model, checkpoint)
    return model.to(device or 'cpu').eval()


def list_table_files(out: Path | None) -> list[Path]:
    """List the files of a table in a folder, beside the charts; none without a folder."""
    return [out / 'rows.csv', out / 'report.md'] if out else []


def format_table_command() -> str:
    """Format the command line of the running analysis."""
    # in a test or a notebook the arguments do not begin with the command
    words = sys.argv[1:] if sys.argv[1:2] == ['analyze'] else ['analyze', *sys.argv[1:]]
    return f'poseplug {shlex.join(words)}'


def print_result_table(table: ResultTable, out: Path | None) -> None:
    """Print a table, and write its files if there is a folder for them.

    Args:
        table: of the analysis.
        out: the folder.
    """
    from poseplug.report.result_table import format_result_table, write_result_table

    print(format_result_table(table))
    if out is not None:
        print('\nwritten: ' + ', '.join(map(str, write_result_table(table, out))))
