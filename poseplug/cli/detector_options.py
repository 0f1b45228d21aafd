"""Options of the commands that run a detector: how its file is fed and read, and what it detects."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from poseplug.cli.argument_types import parse_fraction, parse_names, parse_numbers, parse_size
from poseplug.core.errors import ConfigError

if TYPE_CHECKING:
    from poseplug.predict.detectors import OnnxDetector
    from poseplug.predict.pose_detector import PoseDetector

# the values of `predict.detector_input`, which is not imported here: `--help` has to be fast
_RESIZE_MODES = ('letterbox', 'letterbox_corner', 'stretch')
_CHANNEL_ORDERS = ('rgb', 'bgr')
_RUNTIMES = ('onnxruntime', 'opencv')
_DEFAULT_THRESHOLD = 0.4


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a detector, besides its file and thresholds, to a command.

    Args:
        parser: of the command.
    """
    group = parser.add_argument_group(
        'detector', 'what the file does not state; the detector family has defaults for the rest'
    )
    group.add_argument(
        '--detector-family',
        metavar='NAME',
        help='NanoDet, YOLOX, RTMDet, Ultralytics, RFDETR, RTDETR or a registered one (default: recognized)',
    )
    group.add_argument('--detector-weights', metavar='FILE', help='weights of the pose model that --detector names')
    group.add_argument(
        '--detector-class',
        type=_parse_classes,
        metavar='CLASS,...',
        help='classes to detect, by index or name (default: person)',
    )
    group.add_argument(
        '--detector-mean',
        type=_parse_three_numbers,
        metavar='M,M,M',
        help='mean that is subtracted from the channels (values of 0 to 255)',
    )
    group.add_argument(
        '--detector-std',
        type=_parse_three_numbers,
        metavar='S,S,S',
        help='standard deviation by which the channels are divided',
    )
    group.add_argument('--detector-channels', choices=_CHANNEL_ORDERS, help='channel order of the input')
    group.add_argument('--detector-resize', choices=_RESIZE_MODES, help='how an image fills the input')
    group.add_argument('--detector-fill', type=int, metavar='V', help='value of the padding, 0 to 255')
    group.add_argument(
        '--detector-size',
        type=parse_size,
        metavar='W,H',
        help='input size for a file that takes any size (default: 640,640)',
    )
    group.add_argument(
        '--detector-runtime', choices=_RUNTIMES, help='what runs the file (default: onnxruntime if it is installed)'
    )


def add_detector_argument(parser: argparse.ArgumentParser, help_text: str) -> None:
    """Add `--detector` and `--detector-threshold` to a command that predicts.

    Args:
        parser: of the command.
        help_text: what the detector is for.
    """
    parser.add_argument('--detector', metavar='FILE.onnx|MODEL', help=help_text)
    parser.add_argument(
        '--detector-threshold',
        type=parse_fraction,
        default=_DEFAULT_THRESHOLD,
        metavar='S',
        help=f'minimum score of a box (default: {_DEFAULT_THRESHOLD})',
    )


def build_detector(
    args: argparse.Namespace, threshold: float = 0.4, nms_threshold: float | None = None
) -> OnnxDetector | PoseDetector:
    """Build the detector that the options describe: of an ONNX file, or a pose model.

    Args:
        args: of the command, with the file or the model as `args.detector`.
        threshold: as in `OnnxDetector`.
        nms_threshold: as in `OnnxDetector`.

    Raises:
        ConfigError: an option is for the other kind of detector.
    """
    settings = _collect_settings(args)
    # an address is that of a file, since pose models have names or configs
    if '://' in args.detector or args.detector.lower().endswith('.onnx'):
        from poseplug.predict.detectors import OnnxDetector

        if args.detector_weights is not None:
            raise ConfigError(
                f'--detector-weights are those of a pose model as the detector, but {args.detector} is an ONNX file'
            )
        return OnnxDetector(args.detector, threshold, nms_threshold, **settings)
    if any(value is not None for value in (nms_threshold, *settings.values())):
        raise ConfigError(
            f'{args.detector} is no ONNX file (.onnx) but a pose model as the detector, which takes --detector-weights '
            f'and a threshold alone'
        )
    from poseplug.predict.pose_detector import PoseDetector

    # commands without --device leave the choice to the model
    return PoseDetector(args.detector, args.detector_weights, threshold, getattr(args, 'device', None))


def build_optional_detector(args: argparse.Namespace, threshold: float = 0.4) -> OnnxDetector | PoseDetector | None:
    """Build the detector that the options describe, if they name one.

    Args:
        args: of the command, with the file or the model as `args.detector`, or None.
        threshold: as in `OnnxDetector`.

    Raises:
        ConfigError: there are options of a detector, but none is named; or an option is for the other kind.
    """
    if args.detector is not None:
        return build_detector(args, threshold)
    # options without a detector are a forgotten --detector, and would have no effect
    values = (args.detector_weights, *_collect_settings(args).values())
    is_changed = args.detector_threshold != _DEFAULT_THRESHOLD or getattr(args, 'detector_interval', 1) != 1
    if is_changed or any(value is not None for value in values):
        raise ConfigError('there are options of a detector, but no detector; name its file by --detector')
    return None


def _collect_settings(args: argparse.Namespace) -> dict[str, Any]:
    # None is an option that was not given: what the family knows counts
    return dict(
        classes=args.detector_class,
        family=args.detector_family,
        mean=args.detector_mean,
        std=args.detector_std,
        channel_order=args.detector_channels,
        resize=args.detector_resize,
        fill=args.detector_fill,
        input_size=args.detector_size,
        runtime=args.detector_runtime,
    )


def _parse_classes(text: str) -> list[str]:
    names = parse_names(text)
    if not names:
        raise argparse.ArgumentTypeError(f'{text!r} names no class; write indices or names, such as person or 0,16')
    return names


def _parse_three_numbers(text: str) -> tuple[float, ...]:
    numbers = parse_numbers(text)
    if len(numbers) != 3:
        raise argparse.ArgumentTypeError(f'{text!r} is not three numbers with commas between them, such as 0,0,0')
    return tuple(numbers)
