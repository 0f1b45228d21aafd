"""Freezing parts of a model: parameters and running statistics that training does not change."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from poseplug.core.errors import ConfigError
from poseplug.core.weight_names import weight_name

_LOGGER = logging.getLogger('poseplug')
_RUNNING_MEAN = 'running_mean'  # patterns match this name, since a batch norm may have no parameters


def freeze_parameters(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Freeze every parameter and every running statistic whose name matches one of the patterns.

    Args:
        model: the estimator; its matching parameters no longer require a gradient.
        patterns: regular expressions, searched anywhere in a name: '^backbone' freezes the backbone,
            '^backbone.*(weight|bias)$' its weights without its running statistics.

    Returns:
        The names of the batch norms whose statistics are frozen, for `set_train_mode`.

    Raises:
        ConfigError: a pattern is no regular expression or matches nothing, or no parameter is left to train.
    """
    if isinstance(patterns, str) or not all(isinstance(p, str) for p in patterns):
        raise ConfigError(f"freeze is a list of regular expressions, such as ['^backbone']; got {patterns!r}")
    # names as in checkpoints, without what compiling or a wrapper adds to them
    parameters = {weight_name(n): p for n, p in model.named_parameters()}
    norms = {n: f'{weight_name(n)}.{_RUNNING_MEAN}' for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    for pattern in patterns:
        if not any(_matches_pattern(pattern, n) for n in [*parameters, *norms.values()]):
            examples = ', '.join([*parameters][:4])
            raise ConfigError(f'freeze: {pattern!r} matches no parameter; names look like {examples}')
    # all patterns were checked before the first parameter is changed
    frozen_names = [n for n in parameters if any(_matches_pattern(p, n) for p in patterns)]
    for name in frozen_names:
        parameters[name].requires_grad_(False)
    frozen_norms = [n for n, statistics in norms.items() if any(_matches_pattern(p, statistics) for p in patterns)]
    num_values = sum(parameters[n].numel() for n in frozen_names)
    message = 'frozen: %d of %d parameter tensors (%s values) and the statistics of %d of %d batch norms'
    _LOGGER.info(message, len(frozen_names), len(parameters), f'{num_values:,}', len(frozen_norms), len(norms))
    if not any(p.requires_grad for p in parameters.values()):
        raise ConfigError(f'freeze={list(patterns)!r} leaves no parameter to train; remove a pattern')
    return frozen_norms


def find_frozen_names(model: nn.Module, patterns: Sequence[str]) -> set[str]:
    """Return the names of the parameters, as `named_parameters` lists them, that match one of the patterns."""
    names = [name for name, _ in model.named_parameters()]
    return {name for name in names if any(_matches_pattern(p, weight_name(name)) for p in patterns)}


def _matches_pattern(pattern: str, name: str) -> bool:
    """Whether a name contains a match of a regular expression."""
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise ConfigError(f'freeze: {pattern!r} is not a regular expression ({error})') from error


def set_train_mode(model: nn.Module, frozen_norms: Sequence[str]) -> None:
    """Set a model to training mode, except the batch norms named in `frozen_norms`.

    A batch norm in evaluation mode normalizes by its running statistics and does not update them.
    """
    model.train()
    for name in frozen_norms:
        model.get_submodule(name).eval()
