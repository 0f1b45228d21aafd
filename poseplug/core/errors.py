"""The errors that users meet: each message names the file or setting, what was found and what to do."""

from __future__ import annotations

__all__ = [
    'AnnotationError',
    'CheckpointError',
    'ConfigError',
    'ImageError',
    'MismatchError',
    'NonFiniteLossError',
    'PluginError',
    'PoseplugError',
    'UnsafeFileError',
    'VideoError',
    'compose_message',
    'suggest_closest',
]

from collections.abc import Iterable
from difflib import get_close_matches


class PoseplugError(Exception):
    """Base of every error that poseplug raises on purpose.

    Example:
        >>> try:
        ...     raise ConfigError('there is no such codec')
        ... except PoseplugError as error:
        ...     print(f'poseplug: {error}')
        poseplug: there is no such codec
    """


class ConfigError(PoseplugError):
    """A config names something unknown, or a value that does not fit."""


class MismatchError(ConfigError):
    """Two parts of one model disagree about a number."""


class PluginError(PoseplugError):
    """A plugin could not be loaded, or registers a name that is taken."""


class AnnotationError(PoseplugError):
    """An annotation file is missing, has the wrong structure, or contains unusable records."""


class ImageError(PoseplugError):
    """An image file is missing, truncated, or not an image."""


class VideoError(PoseplugError):
    """A video is missing, or its frames cannot be decoded."""


class CheckpointError(PoseplugError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class UnsafeFileError(PoseplugError):
    """A file contains more than data: loading it would run code."""


class NonFiniteLossError(PoseplugError):
    """A loss or a gradient is NaN or infinite; the weights were left as they were."""


def suggest_closest(name: str, known: Iterable[str], count: int = 3, cutoff: float = 0.6) -> str:
    """Compose the part of an error message that suggests similar names.

    Args:
        name: the unknown name.
        known: the names that exist; upper and lower case count as equal.
        count: the maximum number of suggestions.
        cutoff: the minimum similarity, from 0 (anything) to 1 (equal).

    Returns:
        For example `closest: 'Heatmap'`; an empty string if no name is similar.
    """
    names_by_lower = {n.lower(): n for n in known}
    # Compared in lower case, because difflib counts 'HEATMAP' and 'heatmap' as unlike.
    matches = get_close_matches(name.lower(), names_by_lower, n=count, cutoff=cutoff)
    suggestions = ', '.join(repr(names_by_lower[match]) for match in matches)
    return f'closest: {suggestions}' if suggestions else ''


def compose_message(*parts: str) -> str:
    """Concatenate the parts of a message with semicolons; empty parts are skipped."""
    return '; '.join(part for part in parts if part)
