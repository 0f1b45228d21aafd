"""torch.compile as a setting of the config: it compiles an estimator's network, from pixels to fields."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from poseplug.core.errors import ConfigError
from poseplug.models.estimators.base import Estimator

CompileSpec = bool | Mapping[str, Any] | None
_LOGGER = logging.getLogger('poseplug')


def compile_network(model: Estimator, spec: CompileSpec) -> None:
    """Let an estimator's network compile itself when it is first called (`torch.nn.Module.compile`).

    Encoding, losses and decoding are not compiled. Names and values of the weights stay.

    Args:
        model: the estimator.
        spec: True, or the settings of `torch.compile` (`backend`, `mode`, `dynamic`, ...); False, None and {} change
            nothing.

    Raises:
        ConfigError: torch does not know a setting.
    """
    if not spec:
        return
    if spec is not True and not isinstance(spec, Mapping):
        raise ConfigError(f'compile is True, False or settings of torch.compile, as dict(mode=...); got {spec!r}')
    settings = {} if spec is True else dict(spec)
    try:
        model.network.compile(**settings)
    except (RuntimeError, TypeError) as error:
        # with those for debugging, such as 'eager', which torch hides by default
        backends = ', '.join(torch.compiler.list_backends(exclude_tags=()))
        raise ConfigError(f'compile={spec!r}: {_get_first_message_line(error)}; backends: {backends}') from error
    _LOGGER.info('the network is compiled by %s when it first runs', settings.get('backend', 'inductor'))


def describe_compile_error(error: BaseException) -> str:
    """Return the type and the first line of the error that made a compiler fail."""
    # torch wraps the error of a backend in one with a long text about debugging
    cause = getattr(error, 'inner_exception', error)
    return f'{type(cause).__name__}: {_get_first_message_line(cause)}'


def _get_first_message_line(error: BaseException) -> str:
    """The first line of an error's message that is not empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
