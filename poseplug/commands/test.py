"""Measure a checkpoint on a config's test set.

poseplug test CONFIG CHECKPOINT [--out FILE] [--report DIR]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseplug.cli import add_options


def run(args: argparse.Namespace) -> None:
    from poseplug.config import load_config
    from poseplug.engine import launch, results
    from poseplug.skeleton import get_skeleton

    cfg = load_config(args.config, args.cfg_options)
    evaluation = launch.test(cfg, args.checkpoint)
    skeleton = get_skeleton(cfg['skeleton'])
    print(results.table(evaluation, skeleton))
    print(results.account(evaluation))
    if args.report:
        print(f'written: {report(args, cfg, evaluation, skeleton)}')
    if args.out:
        results.write(args.out, evaluation, skeleton, dict(config=args.config, checkpoint=args.checkpoint))
        print(f'written: {args.out}')


def report(args: argparse.Namespace, cfg: Any, evaluation: Any, skeleton: Any) -> Path:
    """The page, with the curve of the run where the checkpoint lies in its work dir."""
    from poseplug.inference.predictor import Predictor
    from poseplug.visualization.report import write_report

    folder = args.checkpoint if args.checkpoint.is_dir() else args.checkpoint.parent
    curve = folder / 'curve.jsonl'
    return write_report(
        args.report / 'report.html',
        f'{args.config.stem} on its test set',
        evaluation,
        skeleton,
        curve=curve if curve.is_file() else None,
        beliefs=Predictor(cfg, args.checkpoint).fields,
        facts=dict(config=args.config, checkpoint=args.checkpoint, seconds=f'{evaluation.seconds:.1f}'),
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path, help='a .pth or .safetensors file, or a work dir for its newest')
    parser.add_argument('--out', type=Path, metavar='FILE', help='write the scores and curves as JSON, too')
    parser.add_argument('--report', type=Path, metavar='DIR', help='write a page with pictures and curves there, too')
    add_options(parser)
