"""Names of weights that were saved inside of a wrapper: DataParallel, torch.compile, FSDP, averaging or a trainer."""

from __future__ import annotations

__all__ = ['extract_weights', 'holds_weights', 'remove_wrapper_names']

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from poseplug.core.errors import CheckpointError

# What wrappers of single layers put between the dots, behind any name.
_INNER_WRAPPERS = ('_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module')
# What averaging keeps beside the weights, as `torch.optim.swa_utils.AveragedModel` and mmengine name it.
_AVERAGING_COUNTERS = ('n_averaged', 'steps')


def remove_wrapper_names(state_dict: Mapping[str, Any], part_names: Iterable[str]) -> dict[str, Any]:
    """Remove what wrappers put in front of all names, or between the dots.

    A file in which every name begins with the same part, such as `module.` of DataParallel, `_orig_mod.` of
    torch.compile or `model.` of a trainer, is of a wrapped model if the model has no such part.

    Args:
        state_dict: weights by name.
        part_names: first parts of the names in the model, such as 'backbone', which are no wrappers.

    Returns:
        The weights by the names of the model inside; as they are if two names became one.

    Example:
        >>> remove_wrapper_names({'module._orig_mod.head.bias': 1, 'module._orig_mod.head.weight': 2}, ['head'])
        {'head.bias': 1, 'head.weight': 2}
    """
    if not all(isinstance(name, str) for name in state_dict):  # what these are is reported by who compares names
        return dict(state_dict)
    parts = set(part_names)
    names = {name: '.'.join(p for p in name.split('.') if p not in _INNER_WRAPPERS) for name in state_dict}
    counters = [name for name in names if name in _AVERAGING_COUNTERS]
    # Without its prefix a name must still have a dot: `weight` alone says nothing.
    while prefix := _find_common_part([name for name in names.values() if name not in counters], parts):
        names = {name: new_name.removeprefix(prefix) for name, new_name in names.items() if name not in counters}
    if len(set(names.values())) < len(names):
        return dict(state_dict)
    return {new_name: state_dict[name] for name, new_name in names.items()}


def _find_common_part(names: list[str], parts: set[str]) -> str:
    """The first part of all names with its dot; '' if they differ or the model has it."""
    first = {name.partition('.')[0] for name in names}
    is_wrapper = len(first) == 1 and first.isdisjoint(parts) and any(name.count('.') > 1 for name in names)
    return f'{first.pop()}.' if is_wrapper else ''


def extract_weights(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Put the weights of a checkpoint that does not call them so under 'state_dict'.

    Args:
        content: of the file: weights by name, or several entries, one of which holds them.
        path: the file, for the messages.

    Returns:
        The entries, with the weights by name under 'state_dict'.

    Raises:
        CheckpointError: no entry holds weights, or several do.
    """
    if any(isinstance(value, Tensor) for value in content.values()):
        return {'state_dict': content}
    sets = [key for key, value in content.items() if holds_weights(value)]
    if len(sets) == 1:
        return {'state_dict' if key == sets[0] else key: value for key, value in content.items()}
    entries = ', '.join(map(str, [*content][:5])) or 'nothing'
    if not sets:
        raise CheckpointError(f'{path} has no weights; it holds {entries}. Use the checkpoint that has the model')
    raise CheckpointError(
        f'{path} has several sets of weights: {", ".join(sets)}. Save one of them alone: '
        f"content = torch.load('{path.name}'); torch.save(content['{sets[0]}'], 'weights.pth')"
    )


def holds_weights(value: Any) -> bool:
    """Whether a value is tensors by dotted name, which the states of optimizers and generators are not.

    Args:
        value: an entry of a checkpoint.
    """
    is_mapping = isinstance(value, Mapping) and bool(value)
    return is_mapping and all(isinstance(v, Tensor) for v in value.values()) and any('.' in str(k) for k in value)
