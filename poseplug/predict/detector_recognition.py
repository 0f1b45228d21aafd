"""Which family an ONNX file is of: named by the user, or recognized by its inputs, outputs and metadata."""

from __future__ import annotations

__all__ = ['describe_shapes', 'find_detector_family', 'format_shape', 'list_detector_families', 'recognize_family']

from collections.abc import Mapping, Sequence
from pathlib import Path

from poseplug.core.errors import CheckpointError
from poseplug.core.geometry import Size
from poseplug.files.onnx_file import OnnxGraphInfo
from poseplug.predict.detector_families.base import DetectorFamily
from poseplug.registry import DETECTOR_FAMILIES
from poseplug.registry.plugins import list_plugin_parts


def list_detector_families() -> list[str]:
    """List the names of all families, those of installed packages included."""
    offered = [part.name for part in list_plugin_parts(DETECTOR_FAMILIES.name)]
    return sorted({*DETECTOR_FAMILIES.list_names(), *offered})


def find_detector_family(name: str) -> tuple[str, DetectorFamily]:
    """Find a family by name, whatever its case, hyphens and underscores.

    Args:
        name: of the family, or of a detector of the same kind, such as 'rf-detr' or 'yolo26'.

    Returns:
        The registered name and the family.

    Raises:
        ConfigError: there is no such family; the message lists them.

    Example:
        >>> [find_detector_family(name)[0] for name in ('rf-detr', 'yolo26', 'D-FINE')]
        ['RFDETR', 'Ultralytics', 'RTDETR']
    """
    known = list_detector_families()
    spellings = {_normalize_name(registered): registered for registered in known}
    # aliases come second: reading them imports the families of all installed packages
    if _normalize_name(name) not in spellings:
        for registered in known:
            aliases = getattr(DETECTOR_FAMILIES.get(registered), 'aliases', ())
            spellings.update({_normalize_name(alias): registered for alias in aliases})
    resolved = spellings.get(_normalize_name(name), name)
    return resolved, DETECTOR_FAMILIES.build(dict(type=resolved))


def _normalize_name(name: str) -> str:
    return name.lower().replace('-', '').replace('_', '')


def recognize_family(
    file: Path, info: OnnxGraphInfo, shapes: Mapping[str, tuple[int, ...]], input_size: Size
) -> tuple[str, DetectorFamily]:
    """Find the one family that a file can be of.

    Args:
        file: for messages.
        info: its inputs, outputs and metadata.
        shapes: of the outputs by name, without the batch axis.
        input_size: (width, height) of the input in px.

    Returns:
        The registered name and the family.

    Raises:
        CheckpointError: it is of no family, or may be of several.
    """
    families = {name: DETECTOR_FAMILIES.build(dict(type=name)) for name in list_detector_families()}
    # All families are asked, and not the first that fits: of two that fit, one would read wrong boxes without an error.
    matches = [name for name, family in families.items() if shapes and family.recognizes(info, shapes, input_size)]
    if len(matches) == 1:
        return matches[0], families[matches[0]]
    outputs = f'{file}: its outputs are {describe_shapes(shapes)}'
    if matches:
        raise CheckpointError(
            f'{outputs}, which may be those of {" or ".join(matches)}; name the family (--detector-family)'
        )
    listed = '\n'.join(f'  {name}: {family.outputs_text}' for name, family in families.items())
    raise CheckpointError(
        f'{outputs}, which are those of no known detector family; export it as one of these, or name its family '
        f'(--detector-family):\n{listed}'
    )


def describe_shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Compose names and shapes of outputs as text."""
    return ', '.join(f'{name} ({format_shape(shape)})' for name, shape in shapes.items()) or 'none'


def format_shape(shape: Sequence[int]) -> str:
    """Compose a shape as text, with ? for a length that may be any (0)."""
    return ' x '.join(str(length or '?') for length in shape)
