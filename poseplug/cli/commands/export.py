"""Export a model to one file, and compare it with the model.

poseplug export [CONFIG CHECKPOINT | --model NAME] --out model.onnx [--to onnx|...]
poseplug export [CONFIG CHECKPOINT | --model NAME] --web DIR
From the bytes of images to keypoints, with decoding, normalization and on request
the flip test inside; see docs/howto/export.md. A file that predicts something else
than the model is removed. --web writes a page that runs the model in the browser.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from poseplug.cli.argument_types import parse_weights_source
from poseplug.cli.model_options import add_model_name_option, check_single_model, load_config_and_weights
from poseplug.cli.options import add_config_options, add_weights_options


def run_export(args: argparse.Namespace) -> None:
    from poseplug.core.errors import ConfigError
    from poseplug.deploy.checked_export import CheckSettings, export_checked
    from poseplug.deploy.export import EXPORT_SUFFIXES
    from poseplug.deploy.export_settings import ExportOptions
    from poseplug.deploy.reduced_precision import PrecisionSettings
    from poseplug.predict.image_input import expand_images

    # before the model is loaded, which takes seconds
    _check_targets(args, EXPORT_SUFFIXES[args.to])
    check_single_model(args, args.config)
    model: Any = args.config
    if args.model is not None or (args.config is not None and args.checkpoint is not None):
        model, _ = load_config_and_weights(args)
    elif args.cfg_options:
        raise ConfigError('--cfg-options change a config; name it, and its checkpoint')
    options = ExportOptions(flip_test=args.flip, input_type=args.input_type, license=args.license)
    calibration = list(expand_images(args.calibrate or ()))
    name = _choose_precision(args)
    check = CheckSettings(list(expand_images(args.images or ())), args.check_data, _get_tolerance(args, name))
    precision = PrecisionSettings(name, calibration)
    kinds = dict(weight_kind=args.weight_kind, map_keypoints=args.map_keypoints)

    # one call for both targets: a page contains the exported file
    def export_to(file: Path) -> Path:
        return export_checked(model, args.checkpoint, file, args.to, options, check, precision, **kinds)

    if args.web is None:
        _report_size(export_to(args.out))
    else:
        _export_page(args, model, export_to)


def _check_targets(args: argparse.Namespace, suffix: str) -> None:
    """Check what the options say is written."""
    from poseplug.core.errors import ConfigError

    if args.out is None and args.web is None:
        raise ConfigError('name what is written: --out FILE, or --web DIR for a page that runs the model')
    if args.out is not None and args.out.suffix != suffix:
        raise ConfigError(f'--out {args.out}: a file --to {args.to} ends in {suffix}')
    if args.web is not None and args.to != 'onnx':
        raise ConfigError(f'--web runs an ONNX file; leave --to {args.to} out')
    if args.web is None and args.web_runtime is not None:
        raise ConfigError('--web-runtime is for --web DIR, which is missing')


def _export_page(args: argparse.Namespace, model: Any, export_to: Callable[[Path], Path]) -> None:
    """Write the page, and the file by itself if it was asked for; what is missing is an error before the export."""
    from poseplug.deploy import browser_export

    # in the order of their cost: a look at the folder, the model without weights, a download
    browser_export.check_browser_folder(args.web)
    browser_export.check_browser_model(model, args.checkpoint)
    runtime_files = browser_export.find_runtime_files(args.web_runtime)
    # the page has a copy of the file, so that it is written elsewhere unless --out names it
    with tempfile.TemporaryDirectory(prefix='poseplug-') as folder:
        file = export_to(args.out or Path(folder) / 'model.onnx')
        page = browser_export.write_browser_page(file, args.web, runtime_files)
    if args.out is not None:
        _report_size(file)
    num_bytes = sum(part.stat().st_size for part in args.web.rglob('*'))
    print(f'{page}: {num_bytes / 2**20:.1f} MiB with all files; python -m http.server -d {args.web} shows it')


def _report_size(file: Path) -> None:
    num_bytes = sum(part.stat().st_size for part in _list_parts(file))
    print(f'{file}: {num_bytes / 2**20:.1f} MiB')


def _list_parts(file: Path) -> list[Path]:
    """The file, and the weights that OpenVINO has beside it."""
    # a .bin beside another format is of an earlier export, and counts nothing
    return [file, file.with_suffix('.bin')] if file.suffix == '.xml' else [file]


def _choose_precision(args: argparse.Namespace) -> Any:
    """The precision that the options describe."""
    if args.half:
        return 'float16'
    return 'int8' if args.int8 else 'float32'


def _get_tolerance(args: argparse.Namespace, precision: str) -> Any:
    """The tolerance that the options describe; None for the defaults of the precision."""
    from dataclasses import replace

    from poseplug.deploy.parity import ParityTolerance

    changes = {'px': args.tolerance_px, 'score': args.tolerance_score}
    given = {name: value for name, value in changes.items() if value is not None}
    # one of the two tolerances may be changed alone
    return replace(ParityTolerance.for_precision(precision), **given) if given else None


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'config',
        nargs='?',
        metavar='CONFIG',
        help='a config, or the name of an installed model (default: the shipped one)',
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        type=parse_weights_source,
        help='a checkpoint of the config, or a work dir for its newest checkpoint',
    )
    add_model_name_option(parser)
    parser.add_argument('--out', type=Path, metavar='FILE', help='the file to write')
    parser.add_argument('--web', type=Path, metavar='DIR', help='write a page that runs the model in the browser')
    parser.add_argument(
        '--web-runtime',
        type=Path,
        metavar='PATH',
        help='folder or .tgz file of the npm package onnxruntime-web (default: npm fetches it)',
    )
    parser.add_argument(
        '--to',
        choices=('onnx', 'openvino', 'torchscript', 'torch-export'),
        default='onnx',
        help='format of the file (default: onnx)',
    )
    parser.add_argument('--flip', action='store_true', help='average with the flipped image, inside the file')
    parser.add_argument(
        '--input-type',
        choices=('uint8', 'float32'),
        default='uint8',
        help='type of the images, which are BGR from 0 to 255 in both (default: uint8)',
    )
    parser.add_argument('--license', metavar='TEXT', help='license of the weights, for the metadata of the file')
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument('--half', action='store_true', help='store the weights in half precision (ONNX)')
    precision.add_argument('--int8', action='store_true', help='run layers in 8 bits; needs --calibrate (ONNX)')
    parser.add_argument(
        '--calibrate',
        nargs='+',
        metavar='IMAGE',
        help='images or folders on which the ranges of 8-bit values are measured',
    )
    _add_check_arguments(parser.add_argument_group('comparison with the model'))
    add_weights_options(parser)
    add_config_options(parser)


def _add_check_arguments(group: Any) -> None:
    group.add_argument(
        '--images', nargs='+', metavar='IMAGE', help='images or folders to compare on (default: generated images)'
    )
    group.add_argument(
        '--check-data',
        type=int,
        default=0,
        metavar='N',
        help='also compute the metrics of model and file on N images of the test data',
    )
    group.add_argument(
        '--tolerance-px', type=float, metavar='D', help='largest distance of a keypoint in px (default: by precision)'
    )
    group.add_argument(
        '--tolerance-score', type=float, metavar='D', help='largest difference of a score (default: by precision)'
    )
