"""The options of predict for many images by several workers, and the job that they describe."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poseplug.cli.argument_types import parse_positive_float, parse_positive_int
from poseplug.cli.detector_options import build_optional_detector
from poseplug.cli.model_options import build_predictor, check_model_options
from poseplug.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from poseplug.predict.bulk.chunk_prediction import WorkerSettings
    from poseplug.predict.bulk.worker_pool import WorkerPool
    from poseplug.predict.pose_predictor import PosePredictor

_BULK_OPTIONS = ('workers', 'chunk_size', 'input_timeout')
# Options of drawings, of videos and of boxes, by the name of their argument: a job writes results of images alone.
_REFUSED = (
    'boxes',
    'box_format',
    'heatmaps',
    'json',
    'csv',
    'every_frame',
    'frame_interval',
    'detector_interval',
    'smooth',
    'smoother',
    'no_video',
    'keypoint_threshold',
    'tracker',
    'track_max_age',
    'track_min_frames',
    'track_min_similarity',
    'track_num_instances',
)
# What does not change the results, and may differ between a job and its resumption.
_UNRELATED = (
    *('inputs', 'out', 'resume', 'engine', 'workers', 'threads', 'recursive', 'skip_bad', 'input_timeout', 'device'),
    *_REFUSED,
)
_DEFAULT_WORKERS, _DEFAULT_CHUNK_SIZE = 2, 64
_DEFAULT_TIMEOUT_S = 600.0  # a batch of 32 large images of the largest models on one core takes half of it


def add_bulk_options(parser: argparse.ArgumentParser) -> None:
    """Add `--engine`, `--workers`, `--chunk-size` and `--input-timeout` to a command that predicts.

    Args:
        parser: of the command.
    """
    group = parser.add_argument_group('many images by several workers (docs/howto/predict_many.md)')
    group.add_argument(
        '--engine',
        choices=('local', 'ray'),
        help='what writes the results of images in parts, without drawings: local processes or actors of Ray',
    )
    group.add_argument(
        '--workers',
        type=parse_positive_int,
        metavar='N',
        help=f'processes that predict at the same time, each with a model in memory (default: {_DEFAULT_WORKERS})',
    )
    group.add_argument(
        '--chunk-size',
        type=parse_positive_int,
        metavar='N',
        help=f'inputs per part; a part is predicted again if its worker dies (default: {_DEFAULT_CHUNK_SIZE})',
    )
    group.add_argument(
        '--input-timeout',
        type=parse_positive_float,
        metavar='S',
        help=f'seconds to read an image or predict a batch before a worker is ended (default: {_DEFAULT_TIMEOUT_S:g})',
    )


def check_bulk_options(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Check that the options fit a job, or that there is none.

    Args:
        args: of the command.
        parser: with all options of the command, whose defaults are compared.

    Raises:
        ConfigError: an option is for the other way of predicting.
    """
    names = _BULK_OPTIONS if args.engine is None else _REFUSED
    # An option that has its default was not typed, or says nothing new.
    used = [f'--{name.replace("_", "-")}' for name in names if getattr(args, name) != parser.get_default(name)]
    devices = _list_devices(args)
    if len(devices) > 1 and args.engine != 'local':
        raise ConfigError(
            f'--device {args.device} names several devices, which --engine local divides its workers among'
        )
    if used and args.engine is None:
        raise ConfigError(f'{", ".join(used)} needs --engine; add --engine local')
    if used:
        raise ConfigError(f'--engine {args.engine} writes the results of images alone; leave {", ".join(used)} out')
    if args.engine is not None and set(args.format) - {'parquet'}:
        raise ConfigError(f'--engine {args.engine} writes lines of JSON, or by --format parquet Parquet files')


def _list_devices(args: argparse.Namespace) -> list[str]:
    """The devices of --device; none where it is left out."""
    return [text.strip() for text in (args.device or '').split(',') if text.strip()]


def predict_in_bulk(args: argparse.Namespace, config: str | None, weights: str | None, inputs: list[str]) -> None:
    """Predict many images by several workers.

    Args:
        args: of the command.
        config: a config file; None for the model of `--model` or the installed one.
        weights: its checkpoint.
        inputs: images, addresses, folders, patterns, lists and tables.

    Raises:
        PoseplugError: an option, an input or the model is wrong, or no input could be predicted.
    """
    from poseplug.predict.bulk.bulk_inputs import list_bulk_inputs
    from poseplug.predict.bulk.chunk_prediction import WorkerSettings
    from poseplug.predict.bulk.job_driver import run_bulk_job
    from poseplug.predict.bulk.job_folder import JobFolder, compute_list_digest
    from poseplug.predict.result_exports import check_result_formats

    # Before the inputs are listed, which takes minutes for millions of images.
    check_model_options(args, config)
    check_result_formats(args.format)
    paths = list_bulk_inputs(inputs, args.out, args.recursive)
    folder = JobFolder(args.out, 'parquet' in args.format)
    num_workers, chunk_size = args.workers or _DEFAULT_WORKERS, args.chunk_size or _DEFAULT_CHUNK_SIZE
    list_digest = {'num_inputs': len(paths), 'list_sha256': compute_list_digest(paths), 'chunk_size': chunk_size}
    timeout = args.input_timeout or _DEFAULT_TIMEOUT_S
    # A function instead of a predictor: each worker is another process and loads its own model.
    build = partial(_build_worker_predictor, args, config, weights, num_workers)
    create_pool = _choose_pool(args, WorkerSettings(build, folder, args.batch_size, timeout), num_workers)
    description = {**list_digest, **_describe_options(args, config, weights)}
    counts = run_bulk_job(paths, folder, description, create_pool, num_workers, chunk_size, args.resume)
    text = ', '.join(f'{count} {name}' for name, count in counts.items())
    print(f'written to {args.out}: {text}', flush=True)


def _choose_pool(args: argparse.Namespace, settings: WorkerSettings, num_workers: int) -> Callable[[], WorkerPool]:
    """The pool of the engine; nothing of Ray is imported for processes."""
    if args.engine == 'ray':
        from poseplug.predict.bulk.ray_workers import RayWorkers

        return partial(RayWorkers, settings, num_workers, args.device != 'cpu')
    from poseplug.predict.bulk.process_workers import ProcessWorkers

    return partial(ProcessWorkers, settings, _list_devices(args))


def _describe_options(args: argparse.Namespace, config: str | None, weights: str | None) -> dict[str, Any]:
    """The model and the options that change the results; of files, their SHA-256."""
    values: dict[str, Any] = {'config': config, 'checkpoint': weights}
    # of devices their kind, by which results may differ in the last digit; how many there are may change
    values['device'] = ','.join(sorted({device.partition(':')[0] for device in _list_devices(args)})) or None
    # the size of chunks is part of the description of the list
    values |= {name: value for name, value in vars(args).items() if name not in _UNRELATED and name != 'chunk_size'}
    return {name: _describe_value(value) for name, value in values.items() if value is not None}


def _describe_value(value: Any) -> Any:
    import hashlib

    # A file may change under its name between a job and its resumption.
    if isinstance(value, str) and Path(value).is_file():
        with open(value, 'rb') as file:
            return f'{value} sha256={hashlib.file_digest(file, "sha256").hexdigest()}'
    return value


def _build_worker_predictor(
    args: argparse.Namespace, config: str | None, weights: str | None, num_workers: int, device: str | None = None
) -> PosePredictor:
    """Build the predictor of one of several workers, in the worker."""
    from poseplug.core.processors import count_allowed_processors

    if args.threads is None:
        # the workers divide the processors: more threads than processors wait for each other
        args.threads = max(1, int(count_allowed_processors() / num_workers))
    if device is not None:
        args.device = device
    detector = build_optional_detector(args, args.detector_threshold)
    return build_predictor(args, config, weights, detector)
