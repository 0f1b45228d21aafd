"""A page to try a model in the browser: python demo/web.py [--port N] [--config C --checkpoint W] [--detector FILE]

The page is served to this machine alone and needs no network. Without a config it shows the model that is installed
with poseplug.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from poseplug.cli.detector_options import add_detector_options, build_optional_detector
from poseplug.cli.options import main

PAGE = Path(__file__).with_name('web.html')


def run(args: argparse.Namespace) -> None:
    """Build the predictor and serve the page until Ctrl-C."""
    from poseplug.deploy.server import serve_predictor
    from poseplug.predict.predictor import Predictor

    detector = build_optional_detector(args)
    predictor = Predictor(args.config, args.checkpoint, detector=detector)
    serve_predictor(predictor, PAGE, args.host, args.port)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--port', type=int, default=8000, metavar='N', help='0 uses any free port (default: 8000)')
    add('--host', default='127.0.0.1', help='another address lets others in (default: 127.0.0.1, this machine alone)')
    add('--config', metavar='C', help='a config, with --checkpoint')
    add('--checkpoint', metavar='W', help='the weights of that config')
    add('--detector', metavar='FILE.onnx|MODEL', help='finds the people of an image, each of whom is predicted')
    add_detector_options(parser)
    return parser


if __name__ == '__main__':
    main(build_parser(), run)
