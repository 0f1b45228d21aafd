"""Convert weights of MMPose and of official releases.

poseplug convert CHECKPOINT CONFIG --out FILE.safetensors [--report FILE.json] [--map-keypoints] [--trust]
Weights of MMPose 1.x, of transformers' VitPose, and of the official HRNet,
SimpleBaseline and ViTPose become weights of a config's model. CONFIG may also be
the name of a published model, of which CHECKPOINT was fetched by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from poseplug.cli.argument_types import parse_weights_source
from poseplug.cli.options import add_config_options, add_map_keypoints_option


def run_convert(args: argparse.Namespace) -> None:
    from poseplug.config.load import load_config
    from poseplug.files.weights import fetch_weights
    from poseplug.zoo.index import is_model_name
    from poseplug.zoo.mmpose import convert_checkpoint, write_conversion_report
    from poseplug.zoo.published_models import load_published_config

    is_published = is_model_name(str(args.config)) and not args.config.exists()
    load = load_published_config if is_published else load_config
    cfg = load(str(args.config), args.cfg_options)
    source = fetch_weights(args.checkpoint)
    report = convert_checkpoint(source, cfg, args.out, args.trust, args.map_keypoints)
    for entry in report.entries:
        print(entry)
    if args.report:
        write_conversion_report(report, args.report)
    print(f'{report}\n{report.out_file}: sha256 {report.sha256}')


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'checkpoint', type=parse_weights_source, help='the .pth or .safetensors file to convert, or URL#sha256=DIGITS'
    )
    parser.add_argument('config', type=Path, help='a config of the same network, or the name of a published model')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.safetensors', help='the file to write')
    parser.add_argument('--report', type=Path, metavar='FILE.json', help='write what became of every tensor as JSON')
    parser.add_argument(
        '--trust',
        action='store_true',
        help='skip the objects that MMEngine stores beside the weights, without running them',
    )
    add_map_keypoints_option(parser)
    add_config_options(parser)
