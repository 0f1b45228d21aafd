"""Draw people in pictures and videos.

poseplug predict [CONFIG CHECKPOINT] INPUTS... [--out DIR] [--boxes x,y,w,h ...] [--fields]
Inputs are pictures, videos and folders of both; with nothing else, the model that comes with poseplug is used.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseplug.cli import add_plugins

OUT = Path('work_dirs/predictions')


def run(args: argparse.Namespace) -> None:
    from poseplug.errors import ConfigError
    from poseplug.inference import folders
    from poseplug.inference.clips import Treatment
    from poseplug.inference.detectors import OnnxDetector
    from poseplug.inference.predictor import Predictor
    from poseplug.inference.smoothing import Smoothing

    (config, weights), inputs = folders.split_arguments(args.inputs)
    files = folders.input_files(inputs, args.out)
    boxes = folders.read_boxes(args.boxes, files)
    folders.check_options(files, args.out, args.fields)
    if args.boxes and args.detector:
        raise ConfigError('--boxes says where people are, and --detector finds them; leave one of them out')
    folders.check_inputs(files, boxes, args.box_format)
    treatment = Treatment(
        every=args.every,
        smoothing=Smoothing() if args.smooth else None,
        draw=not args.no_video,
        csv=args.csv,
        threshold=args.threshold,
        batch_size=args.batch_size,
        box_format=args.box_format,
    )
    detector = OnnxDetector(args.detector, args.detector_threshold) if args.detector else None
    predictor = Predictor(config, weights, device=args.device, detector=detector)
    writer = folders.Writer(predictor, args.out, treatment, args.fields)
    for report in writer.each(files, boxes):
        if not args.json:
            print(report, flush=True)
    content = writer.finish()
    print(content if args.json else f'written to {args.out}: {", ".join(writer.written())}')


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('inputs', nargs='+', metavar='[CONFIG CHECKPOINT] INPUTS', help='pictures, videos, or folders')
    add('--out', type=Path, default=OUT, metavar='DIR', help=f'folder for pictures and results.json (default: {OUT})')
    add('--boxes', nargs='+', metavar='x,y,w,h', help='people of the one picture, or a JSON file (see the docs)')
    add('--box-format', choices=('xywh', 'corners'), default='xywh', help='what the four numbers of a box are')
    add('--detector', metavar='FILE.onnx', help='finds the people, each of whom is predicted (see the docs)')
    add('--detector-threshold', type=float, default=0.4, metavar='S', help='least score of a box (default: 0.4)')
    add('--fields', action='store_true', help='belief maps of everybody in pictures, stage by stage, too')
    add('--json', action='store_true', help='print the results as JSON instead of lines')
    add('--csv', action='store_true', help='tables as well, a row a joint: results.csv, and one a video')
    add('--every', type=positive, default=1, metavar='N', help='predict one of N frames of a video (default: each)')
    add('--smooth', action='store_true', help='smooth the joints of videos (one-euro filter)')
    add('--no-video', action='store_true', help='results of videos without a drawn video')
    add('--threshold', type=float, default=0.05, help='joints that score less are not drawn (default: 0.05)')
    add('--batch-size', type=positive, default=32, help='people that go through the network at once')
    add('--device', help='such as cuda:1 or cpu (default: the accelerator where there is one)')
    add_plugins(parser)


def positive(text: str) -> Any:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text} is not at least 1')
    return number
