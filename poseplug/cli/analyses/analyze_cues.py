"""Measure which heatmaps of a stage the next stage reads for each keypoint, as the shoulder's for the elbow.

For a network of several stages with trained weights. percent: that of the keypoint itself in the effect of all
heatmaps of the stage before on its peak; the strongest other ones follow.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poseplug.cli.argument_types import parse_positive_int, parse_weights_source
from poseplug.cli.options import add_config_options
from poseplug.cli.table_options import (
    add_out_option,
    format_table_command,
    list_table_files,
    load_test_model,
    print_result_table,
)

if TYPE_CHECKING:
    from poseplug.inspect.stage_cues import StageCues

_NUM_CUES = 3  # columns of the table


def analyze_cues(args: argparse.Namespace) -> None:
    from poseplug.config.load import load_config
    from poseplug.engine.dataloaders import build_dataloader
    from poseplug.files.output_guard import check_dataset_outputs
    from poseplug.inspect.stage_cues import measure_stage_cues
    from poseplug.report.result_table import ResultTable

    cfg = load_config(args.config, args.cfg_options)
    check_dataset_outputs(cfg, list_table_files(args.out))
    model = load_test_model(cfg, args.checkpoint, args.device)
    cues = measure_stage_cues(model, build_dataloader(cfg, 'test_dataloader', 0), args.images)
    stages = range(2, cues.percents.shape[1] + 2)
    rows = [_create_row(cues, stage, keypoint) for stage in stages for keypoint in cues.skeleton.keypoints]
    charts = {f'stage_{stage}': _build_chart(cues, stage) for stage in stages}
    notes = [
        f'Means over {len(cues.percents)} images, in percent.',
        *(_judge_neighbors(cues, stage) for stage in stages),
    ]
    title = f'Cues of the keypoints of {args.config.stem}'
    print_result_table(ResultTable(title, format_table_command(), rows, charts, [n for n in notes if n]), args.out)


def _create_row(cues: StageCues, stage: int, keypoint: str) -> dict[str, Any]:
    index = cues.skeleton.index(keypoint)
    percent = float(cues.percents[:, stage - 2, index, index].mean())
    row: dict[str, Any] = dict(stage=stage, keypoint=keypoint, percent=percent)
    for number, (name, percent) in enumerate(cues.list_strongest_cues(stage, keypoint, _NUM_CUES), start=1):
        row |= {f'cue_{number}': name, f'percent_{number}': percent}
    return row


def _judge_neighbors(cues: StageCues, stage: int) -> str:
    """A sentence on the cues that limbs join to a keypoint, with a verdict; empty for a skeleton without limbs."""
    from poseplug.analysis.verdicts import judge_interval

    interval = cues.compare_limb_neighbors(stage)
    if interval is None:
        return ''
    verdict = judge_interval(interval)
    return f'Stage {stage}: a limb neighbor is a stronger cue than another keypoint, by {interval}: {verdict}.'


def _build_chart(cues: StageCues, stage: int) -> Any:
    from poseplug.report.matrix_chart import MatrixChart

    means = cues.percents[:, stage - 2].mean(axis=0)
    return MatrixChart(
        f'Cues of stage {stage}', f'heatmap of stage {stage - 1}', 'keypoint', 'percent', cues.skeleton.keypoints,
        cues.cues, means,
    )  # fmt: skip


def add_cues_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help='of a network of several stages')
    parser.add_argument('checkpoint', type=parse_weights_source, help='a file of weights, or a work dir for its newest')
    parser.add_argument(
        '--images', type=parse_positive_int, default=50, metavar='N', help='test images that are measured (default: 50)'
    )
    parser.add_argument('--device', help='of the network (default: cpu)')
    add_out_option(parser)
    add_config_options(parser)
