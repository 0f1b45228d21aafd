"""torch.compile as a switch: a network that does not compile runs as it is, and says so."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from poseplug.core.errors import ConfigError

_LOGGER = logging.getLogger('poseplug')


def compile_network(model: nn.Module, spec: bool | Mapping[str, Any] | None) -> None:
    """Compile an estimator's network (pixels to fields) in place; encoding, loss and decoding stay as they are.

    `spec` is True, or the settings of torch.compile (`backend`, `mode`, `dynamic`, ...); False or None do nothing.
    Names and values of the weights do not change.
    """
    if not spec:
        return
    if spec is not True and not isinstance(spec, Mapping):
        raise ConfigError(f'compile is True, False or settings of torch.compile, as dict(mode=...); got {spec!r}')
    settings = {} if spec is True else dict(spec)
    network: Any = getattr(model, 'network', model)
    try:
        network.forward = _CompiledForward(network.forward, settings)
    except (RuntimeError, TypeError) as error:
        backends = ', '.join(torch.compiler.list_backends(exclude_tags=()))
        raise ConfigError(f'compile={spec!r}: {_get_first_message_line(error)}; backends: {backends}') from error
    _LOGGER.info('the network is compiled by %s when it first runs', settings.get('backend', 'inductor'))


@contextmanager
def explain_backward_compile_errors(spec: bool | Mapping[str, Any] | None) -> Iterator[None]:
    """Within this context a gradient that does not compile, which is too late to do without, is an error of the config.

    The gradient of a compiled network is compiled when it is first needed.
    """
    try:
        yield
    except RuntimeError as error:
        if not spec or not isinstance(error, torch._dynamo.exc.TorchDynamoException):
            raise
        raise ConfigError(
            f"the network's gradient does not compile ({_describe_compile_error(error)}); set compile=False"
        ) from error


class _CompiledForward:
    """A forward function that is compiled when it is first called, or left as it is where that fails."""

    def __init__(self, forward: Any, settings: Mapping[str, Any]):
        self.forward, self.compiled_forward = forward, torch.compile(forward, **settings)

    def __call__(self, *args: Any, **named: Any) -> Any:
        try:
            return self.compiled_forward(*args, **named)
        except torch._dynamo.exc.TorchDynamoException as error:
            told = 'the network does not compile and runs uncompiled (%s); set compile=False, or another backend'
            _LOGGER.warning(told, _describe_compile_error(error))
            self.compiled_forward = self.forward
            return self.forward(*args, **named)


def _describe_compile_error(error: BaseException) -> str:
    """Name and first line of what made a compiler fail."""
    cause = getattr(error, 'inner_exception', error)
    return f'{type(cause).__name__}: {_get_first_message_line(cause)}'


def _get_first_message_line(error: BaseException) -> str:
    """The first line of an error's message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
