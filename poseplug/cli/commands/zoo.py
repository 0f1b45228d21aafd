"""Write the weights of a model for other projects.

poseplug zoo export [CONFIG CHECKPOINT | --model NAME] --to mmpose --out FILE.pth
poseplug zoo export [CONFIG CHECKPOINT | --model NAME] --to hf --out DIR
MMPose 1.x loads the file with strict=True: HRNet, SimpleBaseline and its variants,
ViTPose, RTMPose, SimCC, UDP, DARK, RTMO, associative embedding and others. --to hf
writes a folder for VitPoseForPoseEstimation.from_pretrained of transformers.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseplug.cli.argument_types import parse_weights_source
from poseplug.cli.model_options import add_model_name_option, load_config_and_weights
from poseplug.cli.options import CONFIG_HELP, add_config_options


def run_zoo(args: argparse.Namespace) -> None:
    from poseplug.config.build import build_model
    from poseplug.files.weights import load_weights
    from poseplug.zoo.mmpose_export import export_mmpose_checkpoint
    from poseplug.zoo.transformers_export import export_transformers_folder

    cfg, weights = load_config_and_weights(args)
    model = build_model(cfg)
    # which checks names, shapes and keypoints before anything is written
    load_weights(model, weights)
    if args.to == 'mmpose':
        layout = export_mmpose_checkpoint(model, weights, args.out)
        print(f'{args.out}: names of {layout}, {args.out.stat().st_size:,} bytes')
    else:
        for file in export_transformers_folder(model, weights, args.out):
            print(f'{file}: {file.stat().st_size:,} bytes')


def add_zoo_arguments(parser: Any) -> None:
    commands = parser.add_subparsers(required=True, metavar='export')
    export = commands.add_parser('export', help='write weights that MMPose or transformers loads')
    export.add_argument('config', nargs='?', metavar='CONFIG', help=CONFIG_HELP)
    export.add_argument('checkpoint', nargs='?', type=parse_weights_source, help='a checkpoint of the config')
    add_model_name_option(export)
    export.add_argument('--to', choices=('mmpose', 'hf'), required=True, help='project that loads the weights')
    export.add_argument('--out', type=Path, required=True, metavar='PATH', help='a .pth file, or a folder for hf')
    add_config_options(export)
