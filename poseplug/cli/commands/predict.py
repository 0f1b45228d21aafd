"""Predict and draw poses in images and videos.

poseplug predict [CONFIG CHECKPOINT] INPUTS... [--model NAME|FILE] [--out DIR] [--boxes x,y,w,h ...] [--heatmaps]
Inputs are images, videos, folders of both, their addresses, - for standard input, the index of a camera, or the
address of a stream; with --engine images, also in lists (.txt) and tables (.parquet). Without CONFIG and CHECKPOINT
or --model, the model of the package is used.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from poseplug.cli.argument_types import parse_fraction, parse_names, parse_positive_int
from poseplug.cli.bulk_options import add_bulk_options, check_bulk_options, predict_in_bulk
from poseplug.cli.detector_options import add_detector_argument, add_detector_options, build_optional_detector
from poseplug.cli.model_options import add_model_options, build_predictor, check_model_options
from poseplug.cli.options import add_device_option, add_weights_options

if TYPE_CHECKING:
    from poseplug.files.output_guard import InputGuard
    from poseplug.predict.fetched_inputs import FetchedInputs
    from poseplug.predict.folders import PredictionWriter
    from poseplug.predict.pose_predictor import PosePredictor
    from poseplug.predict.prediction_options import PredictionOptions

_DEFAULT_OUT = Path('work_dirs/predictions')
_DEFAULT_SMOOTHER = 'OneEuroSmoother'
# Without it a photo of several people gets one pose across all of them, and nothing says why.
_WHOLE_IMAGE_NOTE = 'one instance per image, cropped as a whole; for several: --boxes, --detector or --model balanced'


def run_predict(args: argparse.Namespace) -> None:
    import tempfile

    from poseplug.predict.fetched_inputs import fetch_inputs
    from poseplug.predict.input_files import split_arguments

    (config, weights), inputs = split_arguments(args.inputs)
    # built once more for the defaults: options that differ from them were typed
    parser = argparse.ArgumentParser()
    add_predict_arguments(parser)
    check_bulk_options(args, parser)
    if args.engine is not None:
        predict_in_bulk(args, config, weights, inputs)
        return
    # downloads are needed by this command alone; results name the addresses
    with tempfile.TemporaryDirectory(prefix='poseplug-') as folder:
        fetched = fetch_inputs(inputs, Path(folder))
        if fetched.stream is None:
            _predict_files(args, fetched, config, weights)
        else:
            _predict_stream(args, fetched.stream, config, weights)


def _predict_files(args: argparse.Namespace, fetched: FetchedInputs, config: str | None, weights: str | None) -> None:
    """Predict images and videos."""
    from poseplug.core.errors import ConfigError
    from poseplug.predict import input_checks
    from poseplug.predict.boxes_option import parse_boxes_option
    from poseplug.predict.folders import PredictionWriter
    from poseplug.predict.input_files import list_input_files

    listing = list_input_files(fetched.inputs, args.out, args.recursive)
    listing.titles = fetched.titles
    if unread := listing.describe_unread():
        logging.getLogger('poseplug').warning(unread)
    boxes = parse_boxes_option(args.boxes, listing.files)
    input_checks.check_options(listing.files, args.heatmaps)
    if args.boxes and args.detector:
        raise ConfigError('--boxes gives the boxes of instances, and --detector detects them; use one of the two')
    options = _build_options(args)
    predictor = _build_predictor(args, options, config, weights)
    if boxes is not None and predictor.finds_instances:
        raise ConfigError('--boxes: the model finds instances in whole images by itself; leave --boxes out')
    errors = input_checks.check_inputs(listing.files, boxes, args.box_format, listing.titles)
    # with --skip-bad at least one file has to be good
    if not args.skip_bad or len(errors) == len(listing.files):
        input_checks.raise_input_errors(errors, len(listing.files))
    # outputs must replace neither inputs nor the files of the model
    guard = _build_guard(args, [*listing.files, config, weights, args.model, *(args.boxes or ())])
    settings = dict(skip_bad=args.skip_bad, resume=args.resume)
    with PredictionWriter(predictor, listing, args.out, options, args.heatmaps, guard, **settings) as writer:
        for file, reason in errors.items():
            writer.skip_file(file, reason)
        for report in writer.process_files(listing.files, boxes):
            _print_report(args, report)
    _print_summary(args, predictor, writer)


def _predict_stream(args: argparse.Namespace, source: int | str, config: str | None, weights: str | None) -> None:
    """Predict a camera or a network stream until it ends."""
    from poseplug.core.errors import ConfigError
    from poseplug.files.live_stream import LiveStream
    from poseplug.predict.folders import PredictionWriter
    from poseplug.predict.input_files import InputListing
    from poseplug.predict.stop_request import StopRequest

    if args.boxes or args.heatmaps or args.resume:
        raise ConfigError('--boxes, --heatmaps and --resume are for files, but the input is a stream; leave them out')
    options = _build_options(args)
    predictor = _build_predictor(args, options, config, weights)
    guard = _build_guard(args, [config, weights, args.model])
    # a stream that is stopped by Ctrl-C ends like a file: outputs are closed, and the summary is printed
    with StopRequest() as should_stop:
        stream = LiveStream(source, args.every_frame, should_stop=should_stop)
        guard.check_outputs(args.out / f'{stream.name}{end}' for end in ('.jsonl', '.csv', '_pose.mp4'))
        _print_report(args, f'{stream.title}: Ctrl-C, or q and Enter, ends it')
        with PredictionWriter(predictor, InputListing(), args.out, options, guard=guard) as writer:
            _print_report(args, writer.process_stream(stream))
    _print_summary(args, predictor, writer)


def _build_options(args: argparse.Namespace) -> PredictionOptions:
    from poseplug.predict.prediction_options import PredictionOptions
    from poseplug.predict.result_exports import check_result_formats

    check_result_formats(args.format)  # before the model is loaded
    # a smoother that is named asks for smoothing, as a format csv asks for the table of --csv
    return PredictionOptions(
        frame_interval=args.frame_interval,
        tracker=_get_tracker_config(args),
        smoother={'type': args.smoother or _DEFAULT_SMOOTHER} if args.smooth or args.smoother else None,
        draw_video=not args.no_video,
        save_csv=args.csv or 'csv' in args.format,
        formats=tuple(args.format),
        threshold=args.keypoint_threshold,
        detector_interval=args.detector_interval,
        batch_size=args.batch_size,
        box_format=args.box_format,
    )


def _build_predictor(
    args: argparse.Namespace, options: PredictionOptions, config: str | None, weights: str | None
) -> PosePredictor:
    from poseplug.predict.video import build_smoother, build_tracker

    check_model_options(args, config)
    detector = build_optional_detector(args, args.detector_threshold)
    if detector is not None:
        print(f'detector {detector.description}', file=_get_report_stream(args), flush=True)
    if options.smoother:
        # built only to be checked before the model is loaded, which takes seconds; every video has its own
        build_smoother(options.smoother)
    predictor = build_predictor(args, config, weights, detector)
    # built only to be checked, like the smoother, but a tracker needs the skeleton of the model
    build_tracker(options.tracker, predictor.skeleton)
    return predictor


def _build_guard(args: argparse.Namespace, inputs: list[Any]) -> InputGuard:
    from poseplug.files.output_guard import InputGuard

    return InputGuard([*inputs, args.detector, args.detector_weights])


def _get_report_stream(args: argparse.Namespace) -> TextIO:
    # with --json, stdout has the results alone
    return sys.stderr if args.json else sys.stdout


def _print_report(args: argparse.Namespace, report: str) -> None:
    if not args.json:
        print(report, flush=True)


def _print_summary(args: argparse.Namespace, predictor: Any, writer: PredictionWriter) -> None:
    detector: Any = predictor.detector  # one that `build_optional_detector` built
    if detector is not None:
        print(f'detector {detector.describe_funnel()}', file=_get_report_stream(args))
    elif not args.boxes and not predictor.finds_instances:
        _print_report(args, _WHOLE_IMAGE_NOTE)
    # after the prediction, since 'auto' decides by its first inputs
    if args.precision != 'fp32':
        print(f'precision: {predictor.precision.reason}', file=_get_report_stream(args))
    if args.json:
        print(writer.lines.json_file.read_text(encoding='utf-8').rstrip())
    else:
        print(f'written to {args.out}: {", ".join(writer.describe_outputs())}')


def add_predict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='[CONFIG CHECKPOINT] INPUTS',
        help='images, videos, folders, addresses, - (standard input) or the index of a camera',
    )
    add_model_options(parser)
    parser.add_argument('--recursive', action='store_true', help='also read the folders below a folder')
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='skip files that cannot be read; results.json lists them (default: stop)',
    )
    parser.add_argument(
        '--every-frame',
        action='store_true',
        help='predict every frame of a camera or stream, not only the newest one (may fall behind)',
    )
    _add_instance_arguments(parser)
    _add_output_arguments(parser)
    _add_tracking_arguments(parser)
    add_bulk_options(parser)
    parser.add_argument(
        '--batch-size',
        type=parse_positive_int,
        default=32,
        metavar='N',
        help='instances per forward pass (default: 32)',
    )
    parser.add_argument(
        '--precision',
        choices=('auto', 'fp32', 'bf16', 'fp16'),
        default='fp32',
        help='number format of the network; auto takes bf16 if it is fast and keeps the keypoints (default: fp32)',
    )
    parser.add_argument('--no-flip', action='store_true', help='leave out the flip test: faster, a little less exact')
    parser.add_argument(
        '--threads',
        type=parse_positive_int,
        metavar='N',
        help='threads of the network (default: all processors that it may use)',
    )
    add_weights_options(parser)
    add_device_option(parser)


def _add_instance_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--boxes',
        nargs='+',
        metavar='x,y,w,h',
        help='boxes of the instances in the image, or a JSON file of boxes (docs/howto/boxes_and_detectors.md)',
    )
    parser.add_argument(
        '--box-format', choices=('xywh', 'xyxy'), default='xywh', help='meaning of the four numbers (default: xywh)'
    )
    add_detector_argument(
        parser, 'detector of the instances, each of which is predicted: an ONNX file, or a pose model of whole images'
    )
    parser.add_argument(
        '--detector-interval',
        type=parse_positive_int,
        default=1,
        metavar='N',
        help='detect in one of N frames of a video, and take the boxes of the last poses in between (default: 1)',
    )
    add_detector_options(parser)


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--out',
        type=Path,
        default=_DEFAULT_OUT,
        metavar='DIR',
        help=f'folder of drawings and results.json (default: {_DEFAULT_OUT})',
    )
    parser.add_argument(
        '--resume', action='store_true', help='continue an interrupted run; needs the same inputs, options and --out'
    )
    parser.add_argument('--heatmaps', action='store_true', help='also draw the heatmaps of images, stage by stage')
    parser.add_argument('--json', action='store_true', help='print the results as JSON instead of lines')
    parser.add_argument(
        '--format',
        type=parse_names,
        default=(),
        metavar='NAME,...',
        help='also write the results as coco, coco_results, csv, cvat, labelme, openpose, parquet or yolo',
    )
    parser.add_argument(
        '--csv', action='store_true', help='write tables with a row per keypoint: results.csv, and one per video'
    )
    parser.add_argument(
        '--frame-interval',
        type=parse_positive_int,
        default=1,
        metavar='N',
        help='predict one of N frames of a video (default: 1)',
    )
    parser.add_argument('--smooth', action='store_true', help='smooth the keypoints of videos (one-euro filter)')
    parser.add_argument('--smoother', metavar='NAME', help=f'registered smoother to use (default: {_DEFAULT_SMOOTHER})')
    parser.add_argument('--no-video', action='store_true', help='do not draw videos')
    parser.add_argument(
        '--keypoint-threshold',
        type=parse_fraction,
        default=0.05,
        metavar='S',
        help='minimum score of a keypoint that is drawn (default: 0.05)',
    )


def _add_tracking_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('ids of the instances in videos')
    group.add_argument(
        '--tracker',
        default='SimilarityTracker',
        metavar='NAME',
        help='registered tracker to use (default: SimilarityTracker)',
    )
    group.add_argument(
        '--track-max-age',
        type=float,
        metavar='S',
        help='seconds for which an instance that is out of sight keeps its id (default: 3)',
    )
    group.add_argument(
        '--track-min-frames',
        type=int,
        metavar='N',
        help='minimum number of processed frames for which it keeps its id (default: 3)',
    )
    group.add_argument(
        '--track-min-similarity',
        type=float,
        metavar='S',
        help='minimum similarity of a match, 0 to 1; 0 matches any two (default: 0.2)',
    )
    group.add_argument(
        '--track-num-instances',
        type=parse_positive_int,
        metavar='N',
        help='known number of instances: each frame keeps the N with the highest scores, as ids 1 to N',
    )


def _get_tracker_config(args: argparse.Namespace) -> dict[str, Any]:
    """The tracker's config from the arguments; settings that are not given keep its defaults."""
    prefix = 'track_'
    given = {name: value for name, value in vars(args).items() if name.startswith(prefix) and value is not None}
    return {'type': args.tracker, **{name.removeprefix(prefix): value for name, value in given.items()}}
