"""Measure a checkpoint on a config's test set.

poseplug test {CONFIG CHECKPOINT | --model NAME} [--weights raw|averaged]
    [--map-keypoints]
    [--out FILE] [--report DIR] [--predictions FILE.jsonl]
    [--batch-size N] [--workers N] [--device NAME]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseplug.cli.argument_types import parse_weights_source
from poseplug.cli.model_options import add_model_name_option, load_config_and_weights
from poseplug.cli.options import CONFIG_HELP, add_config_options, add_run_options, add_weights_options


def run_test(args: argparse.Namespace) -> None:
    from poseplug.config.run_options import set_loader_options
    from poseplug.engine import launch, results
    from poseplug.evaluation.prediction_file import write_predictions
    from poseplug.files.output_guard import check_dataset_outputs, check_outputs
    from poseplug.predict.precision import COMPUTE_DTYPES
    from poseplug.registry.skeletons import get_skeleton

    cfg, _ = load_config_and_weights(args)
    set_loader_options(cfg, ('test_dataloader',), args.batch_size, args.workers)
    page = args.report / 'report.html' if args.report else None
    # a report in the work dir must not replace the files of the run
    check_outputs([args.config, args.checkpoint], [page], '--report')
    check_dataset_outputs(cfg, [args.out, page, args.predictions], '--out, --report or --predictions')
    if args.out:  # before the work, since it may fail
        results.create_output_folder(args.out.parent, args.out, '--out')
    if args.report:
        results.create_output_folder(args.report, args.report, '--report')
    if args.predictions:
        results.create_output_folder(args.predictions.parent, args.predictions, '--predictions')
    weights = dict(weight_kind=args.weight_kind, map_keypoints=args.map_keypoints, device=args.device)
    evaluation = launch.test(cfg, args.checkpoint, **weights, compute_dtype=COMPUTE_DTYPES[args.precision])
    skeleton = get_skeleton(cfg['skeleton'])
    print(results.format_score_table(evaluation, skeleton))
    print(results.format_evaluation_summary(evaluation))
    if args.out:  # before the others, which need more that may fail
        run_info = dict(config=args.config, checkpoint=args.checkpoint)
        results.write_evaluation(args.out, evaluation, skeleton, run_info)
        print(f'written: {args.out}')
    if args.predictions:
        write_predictions(args.predictions, evaluation.predictions, skeleton, args.config.stem)
        print(f'written: {args.predictions}')
    if args.report:
        print(f'written: {_write_report_page(args, cfg, evaluation, skeleton)}')


def _write_report_page(args: argparse.Namespace, cfg: Any, evaluation: Any, skeleton: Any) -> Path:
    """Write the page; it has the learning curve if the checkpoint is in the work dir of its run."""
    from poseplug.predict.predictor import Predictor
    from poseplug.report.page import write_html_report

    weights = dict(weight_kind=args.weight_kind, map_keypoints=args.map_keypoints, device=args.device)
    # loaded once more, for the heatmaps of examples: the evaluation does not return its model
    predictor = Predictor(cfg, args.checkpoint, **weights)
    # a run keeps its curve beside its checkpoints
    folder = args.checkpoint if args.checkpoint.is_dir() else args.checkpoint.parent
    curve = folder / 'curve.jsonl'
    run_info = dict(config=args.config, checkpoint=args.checkpoint, seconds=f'{evaluation.seconds:.1f}')
    return write_html_report(
        args.report / 'report.html',
        f'{args.config.stem} on its test set',
        evaluation,
        skeleton,
        curve_file=curve if curve.is_file() else None,
        predict_heatmaps=predictor.predict_record_heatmaps if predictor.has_heatmaps else None,
        run_info=run_info,
    )


def add_test_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', nargs='?', type=Path, help=CONFIG_HELP)
    parser.add_argument(
        'checkpoint',
        nargs='?',
        type=parse_weights_source,
        help='a .pth or .safetensors file, or a work dir for its newest checkpoint',
    )
    add_model_name_option(parser)
    parser.add_argument(
        '--precision',
        choices=('fp32', 'bf16', 'fp16'),
        default='fp32',
        help='number format of the network (default: fp32)',
    )
    parser.add_argument('--out', type=Path, metavar='FILE', help='write scores and curves as JSON')
    parser.add_argument('--report', type=Path, metavar='DIR', help='write a page with scores, curves and images')
    parser.add_argument(
        '--predictions',
        type=Path,
        metavar='FILE.jsonl',
        help='write the labels and predictions of every image, for poseplug compare',
    )
    add_weights_options(parser)
    add_run_options(parser, training=False)
    add_config_options(parser)
