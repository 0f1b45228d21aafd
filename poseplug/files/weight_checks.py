"""Checks that weights are those of a model: their names, their shapes, and that they are finite numbers."""

from __future__ import annotations

import cmath
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from poseplug.core.errors import CheckpointError


def check_state_dict(module: nn.Module, state_dict: Mapping[str, Any], path: Path | str) -> None:
    """Check that weights have the names and shapes of a module's weights.

    Args:
        module: expects the weights.
        state_dict: weights by name.
        path: their file, for the message.

    Raises:
        CheckpointError: weights are missing, superfluous, of another shape, or rounded to whole numbers.
    """
    expected = module.state_dict()
    tensors = {name: value for name, value in state_dict.items() if isinstance(value, Tensor)}
    differences = {
        'missing': [name for name in expected if name not in tensors],
        'not in the model': [name for name in state_dict if name not in expected],
        'of another shape': find_shape_mismatches(expected, tensors),
        'of whole numbers': [name for name, value in tensors.items() if _is_rounded(value, expected.get(name))],
    }
    message = '; '.join(f'{len(names)} {kind} (first: {names[0]})' for kind, names in differences.items() if names)
    if message:
        remedy = 'Use the config it was trained with'
        # Other names on both sides: of another network, or the same one as another program calls it.
        if differences['missing'] and differences['not in the model']:
            remedy += '; names that another program wrote are converted first: poseplug convert'
        raise CheckpointError(f"{path} is not of the config's model ({len(expected)} tensors): {message}. {remedy}")


def _is_rounded(value: Tensor, expected: Tensor | None) -> bool:
    """Whether a weight has whole numbers where the model has fractions: quantized ones lack their scale here."""
    return expected is not None and expected.is_floating_point() and not value.is_floating_point()


def list_part_names(module: nn.Module) -> set[str]:
    """Return the first parts of the names of a module's weights, such as 'backbone' and 'head'.

    Args:
        module: an estimator or another module.
    """
    return {name.partition('.')[0] for name in module.state_dict()}


def check_finite_weights(state_dict: Mapping[str, Any], path: Path | str) -> None:
    """Check that weights are finite numbers, which those of a run that diverged are not.

    Args:
        state_dict: weights by name.
        path: their file, for the message.

    Raises:
        CheckpointError: a weight is NaN or infinite.
    """
    names = [name for name, value in state_dict.items() if isinstance(value, Tensor) and not has_finite_values(value)]
    if names:
        raise CheckpointError(
            f'{path}: {len(names)} of {len(state_dict)} tensors hold weights that are not finite (first: {names[0]}); '
            f'the run that wrote it diverged, so use an earlier checkpoint'
        )


def has_finite_values(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor are finite.

    Example:
        >>> import torch
        >>> has_finite_values(torch.tensor([1.0, float('nan')]))
        False
    """
    # The sum is finite in all but rare cases, and takes a fraction of the time of a look at every number.
    return cmath.isfinite(tensor.sum().item()) or bool(tensor.isfinite().all())


def find_shape_mismatches(expected: Mapping[str, Tensor], state_dict: Mapping[str, Tensor]) -> list[str]:
    """List the tensors whose shape is not the expected one.

    Args:
        expected: tensors of a model by name.
        state_dict: tensors of a file by name; names that are not expected are ignored.

    Returns:
        A line for each tensor of another shape, with its name and both shapes.
    """
    mismatches = []
    for name, tensor in expected.items():
        shape = state_dict[name].shape if name in state_dict else tensor.shape
        if shape != tensor.shape:
            mismatches.append(f'{name}: {tuple(shape)} in the file, {tuple(tensor.shape)} in the model')
    return mismatches
