"""A page to try a model in the browser: python demo/web.py [--port N] [--config C --checkpoint W] [--detector FILE]

It is served to this machine alone, and needs no network. Without a config it shows the model that comes with poseplug.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from poseplug.cli import add_plugins, main

PAGE = Path(__file__).with_name('web.html')


def run(args: argparse.Namespace) -> None:
    """Build the predictor and serve the page until Ctrl-C."""
    from poseplug.inference.detectors import OnnxDetector
    from poseplug.inference.predictor import Predictor
    from poseplug.inference.served import serve

    detector = OnnxDetector(args.detector) if args.detector else None
    serve(Predictor(args.config, args.checkpoint, detector=detector), PAGE, args.host, args.port)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--port', type=int, default=8000, metavar='N', help='0 takes any that is free (default: 8000)')
    add('--host', default='127.0.0.1', help='another address lets others in (default: 127.0.0.1, this machine alone)')
    add('--config', metavar='C', help='a config, with --checkpoint')
    add('--checkpoint', metavar='W', help='the weights of that config')
    add('--detector', metavar='FILE.onnx', help='finds the people, each of whom is predicted')
    return add_plugins(parser)


if __name__ == '__main__':
    main(parser(), run)
