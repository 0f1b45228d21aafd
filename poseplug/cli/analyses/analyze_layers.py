"""The receptive field after every convolution and pooling, in the order in which they run; nothing is trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from poseplug.cli.options import CONFIG_HELP, add_config_options
from poseplug.cli.table_options import add_out_option, format_table_command, print_result_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poseplug.inspect.layer_fields import LayerField
    from poseplug.report.charts import Series


def analyze_layers(args: argparse.Namespace) -> None:
    from poseplug.config.load import load_config
    from poseplug.inspect.complexity import build_without_teacher_weights
    from poseplug.inspect.layer_fields import compute_layer_fields
    from poseplug.report.charts import Chart
    from poseplug.report.result_table import ResultTable

    fields = compute_layer_fields(build_without_teacher_weights(load_config(args.config, args.cfg_options)))
    chart = Chart('Receptive field by layer', 'layer', 'width, px', _build_series(fields))
    notes = ['field_px: the width in px that a cell of the output sees; without a number it is the whole image.']
    title = f'Receptive fields of the layers of {args.config.stem}'
    table = ResultTable(title, format_table_command(), [vars(field) for field in fields], {'layers': chart}, notes)
    print_result_table(table, args.out)


def _build_series(fields: Sequence[LayerField]) -> list[Series]:
    """A line per part of the network; layers that see the whole image have no point."""
    from poseplug.report.charts import Series

    points: dict[str, tuple[list[float], list[float]]] = {}
    for number, field in enumerate(fields, start=1):
        if field.field_px is not None:
            x, y = points.setdefault(field.layer.partition('.')[0], ([], []))
            x.append(number)
            y.append(field.field_px)
    return [Series(name, x, y) for name, (x, y) in points.items()]


def add_layers_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help=CONFIG_HELP)
    add_out_option(parser)
    add_config_options(parser)
