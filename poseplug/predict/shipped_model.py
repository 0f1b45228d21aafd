"""The model that is installed with poseplug: two files that need no config, written by `package_model`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from poseplug.config.build import build_model, require_setting
from poseplug.config.load import load_config
from poseplug.config.matching import match_weights
from poseplug.core.errors import CheckpointError
from poseplug.files.atomic import write_atomically
from poseplug.files.output_guard import check_outputs
from poseplug.files.skeleton_record import describe_skeleton
from poseplug.files.weights import load_weights
from poseplug.registry.skeletons import get_skeleton
from poseplug.registry.wiring import freeze_lists

SHIPPED_MODEL_DIR = Path(__file__).parent.parent / 'weights'
SHIPPED_MODEL_NAME = 'cpm_efficientnet_lsp'
_MAX_FLOAT32_BYTES = 10_000_000  # heavier weights are stored in half precision, so that the package stays small
_MODEL_CARD_KEYS = ('skeleton', 'model', 'pipeline', 'sha256')


def package_model(
    config: str | Path,
    checkpoint: str | Path,
    out_dir: str | Path = SHIPPED_MODEL_DIR,
    name: str = SHIPPED_MODEL_NAME,
    metrics: Mapping[str, float] | None = None,
) -> tuple[Path, Path]:
    """Write a trained model as NAME.safetensors and a model card NAME.json, all that prediction needs.

    Weights of more than 10 MB are stored as float16; vectors, such as the statistics of batch norms, stay float32.

    Args:
        config: config file of the model.
        checkpoint: weights of that model.
        out_dir: folder for both files.
        name: file name without its suffix.
        metrics: the model's scores by name, for the card; those of single keypoints ('METRIC/KEYPOINT') are skipped.

    Returns:
        Paths of the weights and of the card.

    Raises:
        ConfigError: one of the files would overwrite the config or the checkpoint.
        CheckpointError: the checkpoint does not fit the config, or a weight exceeds the range of float16.
    """
    from safetensors.torch import save

    weights, card = Path(out_dir) / f'{name}.safetensors', Path(out_dir) / f'{name}.json'
    check_outputs([config, checkpoint], [weights, card])
    cfg = match_weights(load_config(config), checkpoint)
    model: Any = build_model(cfg)
    load_weights(model, checkpoint)
    # by which loading notices weights with other keypoints, or another order of these
    metadata = {'skeleton': json.dumps(describe_skeleton(model.skeleton))}
    tensors = {key: tensor.detach().contiguous() for key, tensor in model.state_dict().items()}
    data = save(tensors, metadata)
    if len(data) > _MAX_FLOAT32_BYTES:
        data = save({key: convert_to_half(tensor, key) for key, tensor in tensors.items()}, metadata)
    card_content = {
        'name': name,
        'skeleton': asdict(get_skeleton(require_setting(cfg, 'skeleton'))),
        'model': require_setting(cfg, 'model'),
        'pipeline': require_setting(cfg, 'test_dataloader')['dataset']['pipeline'],
        'metrics': {key: value for key, value in (metrics or {}).items() if '/' not in key},
        'parameters': sum(parameter.numel() for parameter in model.parameters()),
        'bytes': len(data),
        'sha256': hashlib.sha256(data).hexdigest(),
    }
    # the card last: stopped in between, its SHA-256 is that of other weights, and loading refuses both
    write_atomically(weights, data)
    write_atomically(card, (json.dumps(card_content, indent=1) + '\n').encode())
    return weights, card


def convert_to_half(tensor: Tensor, name: str) -> Tensor:
    """Convert a floating-point weight of two or more axes to float16; return any other tensor unchanged.

    Args:
        tensor: a weight.
        name: its name, for the message.

    Raises:
        CheckpointError: a value exceeds the range of float16.
    """
    # statistics of batch norms may lie outside of float16's range, and vectors weigh little
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return tensor
    half = tensor.to(torch.float16)
    if not half.isfinite().all():
        raise CheckpointError(f'{name} holds values beyond the range of float16; train on, or package a smaller model')
    return half


def load_shipped_model(
    folder: str | Path = SHIPPED_MODEL_DIR, name: str = SHIPPED_MODEL_NAME
) -> tuple[dict[str, Any], Path]:
    """Load a packaged model's card and verify its weights.

    Args:
        folder: folder of the two files.
        name: file name without its suffix.

    Returns:
        The part of a config that prediction needs (skeleton, model, test pipeline), and the path of the weights.

    Raises:
        CheckpointError: a file is missing or damaged, or the SHA-256 of the weights is not the card's.
    """
    weights, card = Path(folder) / f'{name}.safetensors', Path(folder) / f'{name}.json'
    content = _read_model_card(card)
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise _missing_file_error(weights, error) from error
    if hashlib.sha256(data).hexdigest() != content['sha256']:
        raise CheckpointError(
            f'{weights} ({len(data):,} bytes) is not the file that {card.name} describes: its SHA-256 differs; restore '
            f'both files, or install poseplug again'
        )
    # JSON has no tuples: lists become tuples again, as configs have them.
    cfg = {
        'skeleton': content['skeleton'],
        'model': freeze_lists(content['model']),
        'test_dataloader': {'dataset': {'pipeline': freeze_lists(content['pipeline'])}},
    }
    return cfg, weights


def _read_model_card(card: Path) -> dict[str, Any]:
    """The content of a model card; a missing key is an error."""
    try:
        content: dict[str, Any] = json.loads(card.read_text())
    except OSError as error:
        raise _missing_file_error(card, error) from error
    except ValueError as error:
        raise CheckpointError(f'{card} is damaged: {error}; restore it, or install poseplug again') from error
    missing = [key for key in _MODEL_CARD_KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise CheckpointError(f'{card} lacks {", ".join(missing)}; restore it, or install poseplug again')
    return content


def _missing_file_error(file: Path, error: OSError) -> CheckpointError:
    """The error for a file of the shipped model that cannot be read."""
    reason = error.strerror or error
    return CheckpointError(
        f'{file}: {reason}. The model that is installed with poseplug is missing from this copy; name '
        f'a config and its checkpoint, or package one: poseplug package_model CONFIG CHECKPOINT'
    )
