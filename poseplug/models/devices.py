"""The devices that networks run on."""

from __future__ import annotations

__all__ = ['get_default_device', 'parse_device']

import torch

from poseplug.core.errors import ConfigError


def get_default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def parse_device(device: str | torch.device | None) -> torch.device:
    """Return a device that this machine has.

    Args:
        device: such as 'cpu', 'cuda:1' or 'mps'; None for `get_default_device`.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.

    Example:
        >>> parse_device('cpu')
        device(type='cpu')
    """
    if device is None:
        return get_default_device()
    try:
        parsed = torch.device(device)
        # A meta tensor has no numbers.
        if parsed.type != 'meta':
            torch.empty(1, device=parsed)
            return parsed
        reason = 'it computes no numbers'
    except Exception as error:  # torch raises different ones by device, as where it was built without it
        reason = _shorten_reason(str(error), str(device))
    raise ConfigError(f'device {str(device)!r} cannot be used: {reason}; this machine has {", ".join(_list_devices())}')


def _shorten_reason(text: str, device: str) -> str:
    """The first sentence of torch's message; of a missing backend, whose message lists all operators, what it means."""
    if 'Could not run' in text:
        return f'this torch was built without {device.partition(":")[0]}'
    return text.strip().partition('\n')[0]


def _list_devices() -> list[str]:
    """The names of the devices that this machine has."""
    devices = ['cpu', *(f'cuda:{index}' for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append('mps')
    return devices
