"""Train a config.

poseplug train CONFIG [--work-dir DIR] [--resume | --auto-resume | --init WEIGHTS] [--map-keypoints]
    [--resume-with KEY ...] [--overfit N]
    [--epochs N] [--batch-size N] [--lr RATE] [--precision fp32|bf16|auto]
    [--workers N] [--device NAME]
On several GPUs or machines: under torchrun (docs/howto/distributed_training.md).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Literal

from poseplug.cli.options import CONFIG_HELP, add_config_options, add_map_keypoints_option, add_run_options

# Must be set before torch is imported: DDP warns of a setting that is intended (poseplug/engine/distributed.py).
if 'RANK' in os.environ:
    os.environ.setdefault('TORCH_CPP_LOG_LEVEL', 'ERROR')


def run_train(args: argparse.Namespace) -> None:
    from poseplug.config.load import load_config
    from poseplug.config.run_options import change_run_options
    from poseplug.engine import launch

    cfg = load_config(args.config, args.cfg_options, training=True)
    # 'auto' starts a new run where there is none; `resume=True` then is an error
    resume: bool | Literal['auto'] = 'auto' if args.auto_resume else args.resume
    result = launch.train(
        change_run_options(cfg, args.epochs, args.batch_size, args.lr, args.workers, args.precision),
        args.work_dir,
        resume,
        args.init,
        overfit=args.overfit,
        resume_with=args.resume_with,
        map_keypoints=args.map_keypoints,
        device=args.device,
    )
    # of several processes the first speaks
    if result.rank == 0:
        print(f'done: {result.steps} steps, in {result.work_dir}')


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help=CONFIG_HELP)
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='folder of the run (default: work_dirs/CONFIG, with --overfit work_dirs/CONFIG_overfit)',
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument('--resume', action='store_true', help='continue the run in the work dir exactly')
    start.add_argument(
        '--auto-resume',
        action='store_true',
        help='continue the run in the work dir if there is one, otherwise start a new one',
    )
    start.add_argument('--init', help='start a new run from the weights in this file, or in URL#sha256=DIGITS')
    parser.add_argument(
        '--resume-with',
        nargs='+',
        default=[],
        metavar='KEY',
        help='settings, such as param_scheduler, that may differ from those of the resumed checkpoint and count from '
        'there on',
    )
    add_map_keypoints_option(parser)
    parser.add_argument(
        '--overfit', type=int, metavar='N', help='train and test on the first N samples alone, without augmentation'
    )
    add_run_options(parser)
    add_config_options(parser)
