"""What a checkpoint says about the pixels that its network receives and about the meaning of its fields."""

from __future__ import annotations

__all__ = ['describe_model', 'warn_of_changed_model']

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

_LOGGER = logging.getLogger('poseplug')


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Describe what the weights of a model depend on, but do not contain, as plain data.

    Args:
        model: an estimator.

    Returns:
        `input_norm.mean`, `input_norm.std` and `input_norm.channel_order` of its network, and `codec.type`; without
        those that the model lacks.
    """
    record: dict[str, Any] = {}
    input_norm = getattr(getattr(model, 'network', None), 'input_norm', None)
    if input_norm is not None:
        for name in ('mean', 'std'):
            record[f'input_norm.{name}'] = [round(value, 4) for value in getattr(input_norm, name).flatten().tolist()]
        record['input_norm.channel_order'] = input_norm.channel_order
    codec = getattr(model, 'codec', None)
    if codec is not None:
        record['codec.type'] = type(codec).__name__
    return record


def warn_of_changed_model(record: Any, model: nn.Module, path: Path | str) -> None:
    """Log a warning where weights were trained with other pixels or for other fields than the model has.

    Args:
        record: of the checkpoint, as `describe_model` returns it; anything else is ignored.
        model: the estimator that loads the weights.
        path: the checkpoint.
    """
    current = describe_model(model)
    changes = [
        f'model.{key}: {record[key]} in the checkpoint, {value} in the config'
        for key, value in current.items()
        if isinstance(record, Mapping) and key in record and record[key] != value
    ]
    if changes:
        message = (
            '%s was trained with other settings, and its weights may not fit these: %s. Use those of the checkpoint'
        )
        _LOGGER.warning(message, path, '; '.join(changes))
