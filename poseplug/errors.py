"""The errors that users meet: each says which file or setting, which record, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PoseplugError(Exception):
    """Base of every error that poseplug raises on purpose."""


class ConfigError(PoseplugError):
    """A config names something unknown, or a value that does not fit."""


class MismatchError(ConfigError):
    """Two parts of one model disagree about a number."""


class PluginError(PoseplugError):
    """A plugin could not be loaded, or claims a name that is taken."""


class AnnotationError(PoseplugError):
    """An annotation file is absent, of the wrong shape, or holds unusable records."""


class ImageError(PoseplugError):
    """An image is absent, cut or not an image."""


class VideoError(PoseplugError):
    """A video is absent, or its frames do not decode."""


class CheckpointError(PoseplugError):
    """A checkpoint is absent, damaged, or of another model."""


class UnsafeFileError(PoseplugError):
    """A file asks for more than data: loading it would run code."""


class NonFiniteLossError(PoseplugError):
    """A loss or a gradient is not a number; the weights were left as they were."""


def closest(name: str, known: Iterable[str], count: int = 3, cutoff: float = 0.6) -> str:
    """`closest: 'Heatmap'` for an error message, or an empty string when nothing is near (1 is equal, 0 anything)."""
    lowered = {n.lower(): n for n in known}
    near = [lowered[n] for n in get_close_matches(name.lower(), lowered, n=count, cutoff=cutoff)]
    return f'closest: {", ".join(map(repr, near))}' if near else ''


def clauses(*parts: str) -> str:
    """The parts of a message that have something to say, with semicolons."""
    return '; '.join(part for part in parts if part)
