"""The option of a command that names its model, and the predictor that it describes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poseplug.core.errors import ConfigError

if TYPE_CHECKING:
    from poseplug.deploy.runtime import ExportedPredictor
    from poseplug.predict.predictor import Predictor

# the exported files that run without torch; by the suffix no file has to be opened to know
_RUNTIME_OF_SUFFIX = {'.onnx': 'onnxruntime', '.xml': 'openvino'}
_RUNTIMES = tuple(_RUNTIME_OF_SUFFIX.values())


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add `--model NAME|FILE` and `--runtime` to a command that predicts.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        '--model',
        metavar='NAME|FILE',
        help='a published or installed model (poseplug models), or a file of poseplug export (.onnx, .xml)',
    )
    parser.add_argument(
        '--runtime',
        choices=_RUNTIMES,
        help='what runs an exported file (default: openvino for .xml, onnxruntime for .onnx)',
    )


def add_model_name_option(parser: Any) -> None:
    """Add `--model NAME` to a command that needs a config and its checkpoint.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        '--model', metavar='NAME', help='a published model (poseplug models) instead of CONFIG and CHECKPOINT'
    )


def check_single_model(args: argparse.Namespace, config: Any) -> None:
    """Check that a model is named once.

    Args:
        args: of the command, with `--model`.
        config: given besides; None for none.

    Raises:
        ConfigError: there are two models.
    """
    if args.model is not None and config is not None:
        raise ConfigError(f'--model {args.model} and {config} are two models; leave one of them out')


def is_exported_file(model: str | None) -> bool:
    """Whether the argument of `--model` names an exported file."""
    return model is not None and Path(model).suffix.lower() in _RUNTIME_OF_SUFFIX


def check_model_options(args: argparse.Namespace, config: str | None) -> None:
    """Check that the options fit the model.

    Args:
        args: of the command, with `--model` and `--runtime`.
        config: given besides; None for none.

    Raises:
        ConfigError: there are two models, or options that are for models of another kind.
    """
    check_single_model(args, config)
    if not is_exported_file(args.model):
        if args.runtime is not None:
            raise ConfigError(f'--runtime {args.runtime} runs files; name one by --model FILE.onnx')
        return
    # each option with whether it differs from its default
    unfit = {
        '--precision': args.precision != 'fp32',
        '--no-flip': args.no_flip,
        '--device': args.device not in (None, 'cpu'),
        '--weights': args.weight_kind is not None,
        '--map-keypoints': args.map_keypoints,
        '--heatmaps': args.heatmaps,
    }
    if names := [name for name, is_used in unfit.items() if is_used]:
        raise ConfigError(
            f'{args.model} is an exported file, in which precision, flip test and weights are fixed, and which runs on '
            f'the CPU; leave {", ".join(names)} out, or export the model with other settings'
        )


def build_predictor(
    args: argparse.Namespace, config: str | None, weights: str | None, detector: Any
) -> Predictor | ExportedPredictor:
    """Build the predictor that the options describe; an exported file is run without loading torch.

    Args:
        args: of the command.
        config: a config file; None for the model of `--model` or the installed one.
        weights: its checkpoint.
        detector: of the instances; None for none.

    Raises:
        ConfigError: the model is unknown, or a package is missing.
        CheckpointError: a file is missing or damaged.
    """
    if is_exported_file(args.model):
        return load_exported_predictor(args.model, args.runtime, args.threads, detector)
    from poseplug.models.devices import parse_device
    from poseplug.predict.precision import set_num_threads
    from poseplug.predict.predictor import Predictor

    device = parse_device(args.device)
    # before torch computes anything, since it starts its threads then
    set_num_threads(args.threads)
    kinds = dict(weight_kind=args.weight_kind, map_keypoints=args.map_keypoints)
    # None leaves the flip test to the config
    kinds |= dict(precision=args.precision, flip_test=False if args.no_flip else None)
    return Predictor(config or args.model, weights, device=device, detector=detector, **kinds)


def load_exported_predictor(
    file: str, runtime: Any = None, threads: int | None = None, detector: Any = None
) -> ExportedPredictor:
    """Load the predictor of an exported file.

    Args:
        file: for which `is_exported_file` is true.
        runtime: 'onnxruntime' or 'openvino'; None for the one of the file's suffix.
        threads: of the runtime; None leaves it to the runtime.
        detector: of the instances; None for none.

    Raises:
        ConfigError: a package is missing.
        CheckpointError: the file is missing or damaged.
    """
    # here, since this module neither needs torch nor mmengine, and is not needed for configs
    from poseplug.deploy.runtime import ExportedPredictor

    runtime = runtime or _RUNTIME_OF_SUFFIX[Path(file).suffix.lower()]
    return ExportedPredictor(file, runtime, threads, detector)


def load_config_and_weights(args: argparse.Namespace) -> tuple[Any, Path]:
    """Return the loaded config and the weights that the arguments of a command name.

    Args:
        args: with `config`, `checkpoint`, `model` and `cfg_options`. Of a model by name, `config` becomes its name and
            `checkpoint` the file of its weights.

    Raises:
        ConfigError: a model is named twice or not at all, is unknown, or a setting is wrong.
        CheckpointError, UnsafeFileError: weights cannot be fetched, or are not the expected ones.
    """
    from poseplug.config.load import load_config
    from poseplug.files.weights import fetch_weights
    from poseplug.zoo.published_models import get_published_files

    check_single_model(args, args.config)
    if args.model is not None:
        files = get_published_files(args.model, args.cfg_options)
        # commands print and store these as the names of the model
        args.config, args.checkpoint = Path(files.entry.name), files.weights
        return files.cfg, files.weights
    if args.config is None or args.checkpoint is None:
        raise ConfigError('which model? Name a CONFIG and its CHECKPOINT, or a published model by --model NAME')
    cfg = load_config(args.config, args.cfg_options)
    args.checkpoint = fetch_weights(args.checkpoint)
    return cfg, args.checkpoint
