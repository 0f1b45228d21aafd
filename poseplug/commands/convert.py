"""Convert weights of MMPose and of official releases.

poseplug convert CHECKPOINT CONFIG --out FILE.safetensors [--report FILE.json] [--trust]
Those of MMPose 1.x, and of the official HRNet, SimpleBaseline and ViTPose, become a file for a config's model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from poseplug.cli import add_options


def run(args: argparse.Namespace) -> None:
    from poseplug.compat.mmpose import convert, write_report
    from poseplug.config import load_config

    report = convert(args.checkpoint, load_config(args.config, args.cfg_options), args.out, args.trust)
    for line in report.lines:
        print(line)
    if args.report:
        write_report(report, args.report)
    print(f'{report}\n{report.out}: sha256 {report.sha256}')


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('checkpoint', type=Path, help='the foreign .pth or .safetensors file')
    parser.add_argument('config', type=Path, help='of the same network here')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.safetensors')
    parser.add_argument('--report', type=Path, metavar='FILE.json', help='what became of every name, as JSON')
    parser.add_argument('--trust', action='store_true', help='pass over what files of MMEngine keep beside the weights')
    add_options(parser)
