"""Which of a detector's classes are detected: given by index or name, or people."""

from __future__ import annotations

__all__ = ['ClassChoice', 'choose_classes']

from collections.abc import Mapping, Sequence
from pathlib import Path

from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.files.onnx_file import OnnxGraphInfo
from poseplug.predict.detector_families.base import DetectorFamily, parse_class_names

ClassChoice = int | str | Sequence[int | str] | None  # indices or names; None for people
_PERSON_NAMES = ('person', 'people', 'pedestrian', 'human')


def choose_classes(
    classes: ClassChoice, file: Path, info: OnnxGraphInfo, family: DetectorFamily, num_classes: int | None
) -> tuple[list[int], str]:
    """Choose the classes to detect.

    Args:
        classes: indices or names, or a single one; None for people.
        file: for messages.
        info: the file's inputs, outputs and metadata.
        family: of the file.
        num_classes: of the file; None if its outputs do not say.

    Returns:
        The indices, and their names in words.

    Raises:
        ConfigError: the detector has no such class, or none that is named person.
    """
    names = parse_class_names(info.metadata)
    if classes is None:
        index = _find_person_class(file, names) if names else family.default_class(num_classes)
        return [index], names.get(index, f'person (class {index})')
    several = [classes] if isinstance(classes, int | str) else list(classes)
    indices = [_find_class(file, value, names, num_classes) for value in several]
    if not indices:
        raise ConfigError('classes of a detector are the indices or names of at least one class; got none')
    return indices, ', '.join(names.get(index, f'class {index}') for index in indices)


def _find_person_class(file: Path, names: Mapping[int, str]) -> int:
    """The index of people among named classes; a single class is taken for people whatever its name."""
    person_indices = [index for index, name in names.items() if name.lower() in _PERSON_NAMES]
    if not person_indices and len(names) > 1:
        raise ConfigError(
            f'{file}: none of its classes is named person ({", ".join(names.values())}); name the classes to detect '
            f'(--detector-class)'
        )
    return person_indices[0] if person_indices else next(iter(names))


def _find_class(file: Path, value: int | str, names: Mapping[int, str], num_classes: int | None) -> int:
    """The index of a class that is given by index or name."""
    if isinstance(value, str) and not value.isdecimal():
        indices = {name.lower(): index for index, name in names.items()}
        if value.lower() not in indices:
            known = ', '.join(names.values()) or 'no names in its metadata: give indices'
            hint = suggest_closest(value, names.values())
            raise ConfigError(compose_message(f'{file} has no class {value!r}', hint, f'it has {known}'))
        return indices[value.lower()]
    index = int(value)
    # without names and a known number of classes any index is taken
    last = max(names) if names else (num_classes or index + 1) - 1
    if not 0 <= index <= last:
        raise ConfigError(f'{file}: it has {last + 1} classes, 0 to {last}; got the class {index}')
    return index
