"""Try models in the browser.

poseplug web [MODEL ...] [--port N] [--detector FILE.onnx|MODEL]
A MODEL is the name of an installed one, a config followed by its checkpoint, or a
file of poseplug export. The page shows the keypoints of images, videos and the
camera, compares them with labels, and saves them in every format. It is served to
this machine alone and needs no network.
"""

from __future__ import annotations

import argparse
from typing import Any

from poseplug.cli.argument_types import parse_count, parse_positive_int
from poseplug.cli.detector_options import add_detector_argument, add_detector_options, build_optional_detector
from poseplug.cli.model_options import is_exported_file, load_exported_predictor
from poseplug.cli.options import add_device_option


def run_web(args: argparse.Namespace) -> None:
    from poseplug.deploy.server import serve_predictors
    from poseplug.predict.precision import set_num_threads

    set_num_threads(args.threads)
    detector = build_optional_detector(args, args.detector_threshold)
    pairs = split_models(args.models)
    serve_predictors([_build_predictor(args, detector, *pair) for pair in pairs], args.host, args.port)


def split_models(texts: list[str]) -> list[tuple[str | None, str | None]]:
    """Split the arguments into models and their weights.

    Args:
        texts: names, exported files, and configs that are each followed by their checkpoint.

    Returns:
        Model and weights of each; without arguments those of the installed model.

    Raises:
        ConfigError: a config has no checkpoint behind it.

    Example:
        >>> split_models(['cpm_lsp_lite', 'cpm.py', 'cpm.pth', 'rtmo.onnx'])
        [('cpm_lsp_lite', None), ('cpm.py', 'cpm.pth'), ('rtmo.onnx', None)]
    """
    from poseplug.core.errors import ConfigError
    from poseplug.predict.model_loading import list_models
    from poseplug.zoo.index import is_model_name

    pairs: list[tuple[str | None, str | None]] = []
    remaining, named = list(texts), list_models(with_weights=True)
    while remaining:
        model = remaining.pop(0)
        weights = None
        # a config is the only kind of model without weights of its own
        if not is_model_name(model) and model not in named and not is_exported_file(model):
            if not remaining:
                raise ConfigError(
                    f'{model} is no model with weights of its own (poseplug models) and no exported file (.onnx, '
                    f'.xml); write its checkpoint behind it'
                )
            weights = remaining.pop(0)
        pairs.append((model, weights))
    return pairs or [(None, None)]


def _build_predictor(args: argparse.Namespace, detector: Any, model: str | None, weights: str | None) -> Any:
    """The predictor of a model, with the detector unless it finds instances by itself."""
    from poseplug.core.errors import ConfigError

    predictor = _load_predictor(args, model, weights)
    if not predictor.finds_instances:
        predictor.detector = detector
    # of several models, those that need boxes get the detector
    elif detector is not None and len(args.models) == 1:
        raise ConfigError(f'{predictor.name} finds the instances of an image by itself; leave --detector out')
    return predictor


def _load_predictor(args: argparse.Namespace, model: str | None, weights: str | None) -> Any:
    if model is not None and is_exported_file(model):
        return load_exported_predictor(model, threads=args.threads)
    # here, since exported files are run without torch
    from poseplug.predict.predictor import Predictor

    return Predictor(model, weights, args.device)


def add_web_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'models',
        nargs='*',
        metavar='MODEL',
        help='a name, CONFIG CHECKPOINT or FILE.onnx; the page offers all that are given (default: the shipped model)',
    )
    parser.add_argument(
        '--port',
        type=parse_count,
        default=8000,
        metavar='N',
        help='port of the page; 0 takes any free one (default: 8000)',
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to serve at; others than the default are open to other machines (default: 127.0.0.1)',
    )
    add_detector_argument(
        parser, 'detector of the instances, each of which is predicted: an ONNX file, or a pose model of whole images'
    )
    parser.add_argument(
        '--threads',
        type=parse_positive_int,
        metavar='N',
        help='threads of the network (default: all processors that it may use)',
    )
    add_device_option(parser)
    add_detector_options(parser)
