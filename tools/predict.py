"""Draw people: python tools/predict.py [CONFIG CHECKPOINT] IMAGES... [--out DIR] [--boxes x,y,w,h ...] [--fields]

With nothing but pictures (files or folders), the model that comes with poseplug is used.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseplug.cli import add_plugins, main

OUT = Path('work_dirs/predictions')


def run(args: argparse.Namespace) -> None:
    from poseplug.inference import folders
    from poseplug.inference.predictor import Predictor

    model, inputs = folders.split_arguments(args.inputs)
    files = folders.picture_files(inputs, args.out)
    boxes = folders.read_boxes(args.boxes, files)
    folders.check_pictures(files, boxes, args.box_format)
    predictor = Predictor(*model, device=args.device)
    writer = folders.Writer(predictor, args.out, args.threshold, args.box_format)
    for report in writer.each(files, boxes, args.batch_size, args.fields):
        if not args.json:
            print(report, flush=True)
    content = writer.finish(csv=args.csv)
    print(content if args.json else f'written to {args.out}: {", ".join(writer.written())}')


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('inputs', nargs='+', metavar='[CONFIG CHECKPOINT] IMAGES', help='pictures, or folders of them')
    add('--out', type=Path, default=OUT, metavar='DIR', help=f'folder for pictures and results.json (default: {OUT})')
    add('--boxes', nargs='+', metavar='x,y,w,h', help='people of the one picture, or a JSON file {picture: [boxes]}')
    add('--box-format', choices=('xywh', 'corners'), default='xywh', help='what the four numbers of a box are')
    add('--fields', action='store_true', help='belief maps of everybody, stage by stage, too')
    add('--json', action='store_true', help='print the results as JSON instead of lines')
    add('--csv', action='store_true', help='write results.csv as well: a row a joint')
    add('--threshold', type=float, default=0.05, help='joints that score less are not drawn (default: 0.05)')
    add('--batch-size', type=positive, default=32, help='people that go through the network at once')
    add('--device', help='such as cuda:1 or cpu (default: the accelerator where there is one)')
    return add_plugins(parser)


def positive(text: str) -> Any:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text} is not at least 1')
    return number


if __name__ == '__main__':
    main(parser(), run)
