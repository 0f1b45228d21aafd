"""Parts of a model that training leaves as they are."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from poseplug.errors import ConfigError

LOGGER = logging.getLogger('poseplug')
STATISTICS = 'running_mean'


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Keep every parameter and every running statistic whose name one of `patterns` (regular expressions) is found in.

    Returns the names of the batch norms that keep their statistics: `train_mode` has them in evaluation mode. A
    pattern that fits nothing is an error, and so is nothing left to learn.
    """
    if isinstance(patterns, str) or not all(isinstance(p, str) for p in patterns):
        raise ConfigError(f"freeze is a list of regular expressions, such as ['^backbone']; got {patterns!r}")
    parameters = dict(model.named_parameters())
    norms = {n: f'{n}.{STATISTICS}' for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    for pattern in patterns:
        if not any(found(pattern, n) for n in [*parameters, *norms.values()]):
            some = ', '.join([*parameters][:4])
            raise ConfigError(f'freeze: {pattern!r} fits no parameter; names look like {some}')
    kept = [n for n in parameters if any(found(p, n) for p in patterns)]
    for name in kept:
        parameters[name].requires_grad_(False)
    numbers = sum(parameters[n].numel() for n in kept)
    told = 'frozen: %d of %d parameter tensors (%s numbers) and the statistics of %d of %d batch norms'
    still = [n for n, statistics in norms.items() if any(found(p, statistics) for p in patterns)]
    LOGGER.info(told, len(kept), len(parameters), f'{numbers:,}', len(still), len(norms))
    if not any(p.requires_grad for p in parameters.values()):
        raise ConfigError(f'freeze={list(patterns)!r} leaves no parameter to learn')
    return still


def found(pattern: str, name: str) -> bool:
    """Whether a regular expression is found in a name; one that is none is an error."""
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise ConfigError(f'freeze: {pattern!r} is no regular expression ({error})') from error


def train_mode(model: nn.Module, still: Sequence[str]) -> None:
    """Put a model into training mode, without the batch norms named in `still`."""
    model.train()
    for name in still:
        model.get_submodule(name).eval()
