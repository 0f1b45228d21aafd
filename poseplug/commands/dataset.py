"""Look after data sets: verify, browse, prepare, pack, detect.

poseplug dataset verify CONFIG
poseplug dataset browse CONFIG --out sheet.jpg [--split train|val|test] [--count 48] [--raw]
poseplug dataset prepare synthetic --out DIR [--count N] [--format lsp|coco]
poseplug dataset prepare lsp|lspet|flic|coco|mpii|crowdpose|aic [--root DIR]
poseplug dataset pack CONFIG --out DIR [--quality 95] [--detail 1.0]
poseplug dataset detect CONFIG|FOLDER --detector FILE.onnx --out found.json [--split test] [--threshold 0.2]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from poseplug.cli import add_options, add_plugins


def run(args: argparse.Namespace) -> None:
    args.run(args)


def verify(args: argparse.Namespace) -> None:
    from poseplug.config import load_config
    from poseplug.datasets import verify

    found = verify.verify(load_config(args.config, args.cfg_options), args.workers)
    for facts in found:
        print('\n'.join(verify.lines(facts)))
    leaks = verify.leaks(found)
    if leaks:
        print(f'WRONG: {len(leaks)} pictures are both trained and tested on: {verify.some(leaks)}')
    if leaks or any(list(verify.problems(facts)) for facts in found):
        raise SystemExit(1)
    print('nothing is wrong')


def browse(args: argparse.Namespace) -> None:
    from poseplug.config import load_config
    from poseplug.datasets import browse

    cfg = load_config(args.config, args.cfg_options)
    browse.write(browse.browse(cfg, args.split, args.count, args.raw, args.epoch), args.out)
    print(f'written: {args.out}')


def prepare(args: argparse.Namespace) -> None:
    from poseplug.datasets import prepare
    from poseplug.errors import ConfigError

    if args.set != 'synthetic':
        print(prepare.check(args.set, args.root))
        return
    if args.out is None:
        raise ConfigError('prepare synthetic needs --out DIR, the folder to write')
    folder = prepare.make(args.out, args.format, args.count, args.train, args.seed, args.workers)
    print(f'written: {folder}')


def pack(args: argparse.Namespace) -> None:
    from poseplug.build import build_dataset, input_size, need
    from poseplug.config import load_config
    from poseplug.datasets import pack

    cfg = load_config(args.config, args.cfg_options)
    dataset = build_dataset(cfg, need(need(cfg, f'{args.split}_dataloader'), 'dataset'))
    folder = pack.pack(dataset, input_size(cfg), args.out, args.quality, args.detail)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(
        f'written: {folder} ({size / 2**20:,.1f} MiB); read it by sources=[dict(type="PackedSource", root="{folder}")]'
    )


def detect(args: argparse.Namespace) -> None:
    from poseplug.config import load_config
    from poseplug.inference import found_boxes
    from poseplug.inference.detectors import OnnxDetector

    detector = OnnxDetector(args.detector, args.threshold, args.overlap)
    annotated = []
    if args.input.suffix == '.py':
        annotated = found_boxes.of_config(load_config(args.input, args.cfg_options), args.split)
        pictures = found_boxes.numbered((record.id, record.path) for record in annotated)
    else:
        pictures = found_boxes.of_folder(args.input)
    rows = found_boxes.detect(pictures, detector)
    found_boxes.write(rows, args.out)
    print(f'written: {args.out}, {len(rows):,} boxes in {len(pictures):,} pictures')
    if annotated:
        print(found_boxes.recall(annotated, rows))


def arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar='verify | browse | prepare | pack | detect')
    checking = commands.add_parser(
        'verify', help='count and judge everything that a config reads; exit code 1 if wrong'
    )
    checking.add_argument('config', type=Path)
    checking.add_argument('--workers', type=int, default=2, help='pictures decoded at once (default: 2)')
    checking.set_defaults(run=verify)
    sheet = commands.add_parser('browse', help='write a sheet of pictures with their skeletons')
    sheet.add_argument('config', type=Path)
    sheet.add_argument('--out', type=Path, required=True, metavar='FILE', help='the sheet, .jpg or .png')
    sheet.add_argument('--split', choices=('train', 'val', 'test'), default='train')
    sheet.add_argument('--count', type=int, default=48, help='samples, spread evenly over the split (default: 48)')
    sheet.add_argument('--epoch', type=int, default=0, help='whose random numbers the transforms draw (default: 0)')
    sheet.add_argument('--raw', action='store_true', help='as stored, before the transforms')
    sheet.set_defaults(run=browse)
    add_options(checking)
    add_options(sheet)
    add_prepare(commands.add_parser('prepare', help='make the embedded set, or check where another one should be'))
    add_pack(commands.add_parser('pack', help='write the crops of a training set into a few large files'))
    add_detect(commands.add_parser('detect', help="write a detector's boxes, for tests with boxes='found.json'"))


def add_detect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'input', type=Path, metavar='CONFIG | FOLDER', help='a config, or a folder of numbered pictures'
    )
    parser.add_argument('--detector', required=True, metavar='FILE', help='its ONNX file, or URL#sha256=DIGITS')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help="the boxes, in COCO's result format")
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='test', help='of a config (default: test)')
    parser.add_argument('--threshold', type=float, default=0.2, help='least score of a box (default: 0.2)')
    parser.add_argument('--overlap', type=float, default=0.6, help='of boxes that share more the best (default: 0.6)')
    parser.set_defaults(run=detect)
    add_options(parser)


def add_pack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path)
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='the new folder of the pack')
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train')
    parser.add_argument('--quality', type=int, default=95, help="of the crops' JPEG files, 1 to 100 (default: 95)")
    parser.add_argument('--detail', type=float, default=1.0, help="finest resolution in the input's (default: 1.0)")
    parser.set_defaults(run=pack)
    add_options(parser)


def add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('set', help='synthetic, lsp, lspet, flic, coco, mpii, crowdpose, aic, or one of --plugins')
    parser.add_argument('--out', type=Path, metavar='DIR', help='synthetic: the folder to write')
    parser.add_argument('--count', type=int, default=1600, help='synthetic: pictures (default: 1600)')
    parser.add_argument('--train', type=int, metavar='N', help='synthetic: of these for training (default: 7 of 8)')
    parser.add_argument('--seed', type=int, default=0, help='synthetic: another seed gives other people')
    parser.add_argument(
        '--format', choices=('lsp', 'coco'), default='lsp', help="synthetic: whose layout (default: lsp's)"
    )
    parser.add_argument('--workers', type=int, default=0, help='synthetic: processes besides this one (default: none)')
    parser.add_argument('--root', type=Path, metavar='DIR', help='another set: the folder to check')
    parser.set_defaults(run=prepare)
    add_plugins(parser)
