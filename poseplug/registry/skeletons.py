"""Looks up skeletons by name, and registers them."""

from __future__ import annotations

__all__ = ['get_skeleton', 'register_skeleton']

from collections.abc import Mapping
from typing import Any

from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton, merge_skeletons
from poseplug.registry import SKELETONS
from poseplug.registry.wiring import freeze_lists, merge_arguments


def get_skeleton(spec: Skeleton | str | Mapping[str, Any]) -> Skeleton:
    """Return a skeleton.

    Args:
        spec: a registered name such as 'lsp', names to merge such as 'lsp+coco', a dict of the fields of `Skeleton`,
            or a skeleton, which is returned as it is.

    Returns:
        The skeleton; of merged names one with the keypoints of all, each once.

    Raises:
        ConfigError: the name is not registered, or the fields do not make a skeleton.

    Example:
        >>> get_skeleton('lsp').keypoints[:2]
        ('right_ankle', 'right_knee')
        >>> len(get_skeleton(dict(name='pair', keypoints=['left', 'right'], flip_pairs=[['left', 'right']])))
        2
    """
    if isinstance(spec, Skeleton):
        return spec
    if isinstance(spec, str):
        names = [name.strip() for name in spec.split('+')]
        for name in names:
            # Names may come from data files, which must not import modules.
            if '.' in name:
                raise ConfigError(SKELETONS.describe_unknown(name))
        return merge_skeletons(*(SKELETONS.get(name)() for name in names))
    if not isinstance(spec, Mapping):
        raise ConfigError(f'a skeleton is a name, a dict of its fields or a Skeleton; got {type(spec).__name__}')
    fields = {key: freeze_lists(value) for key, value in spec.items()}
    return Skeleton(**merge_arguments(Skeleton, 'a skeleton', fields, {}))


def register_skeleton(skeleton: Skeleton, module: str = '__main__') -> Skeleton:
    """Register a skeleton by its own name.

    Args:
        skeleton: is found by its `name` from then on.
        module: to which it belongs, `__name__` where this is called; a script or notebook may leave it out.

    Returns:
        The skeleton, so that a module can register and keep it in one statement.

    Raises:
        PluginError: the name is taken by a skeleton of another module.

    Example:
        >>> HAND = register_skeleton(Skeleton('hand_example', ('wrist', 'thumb_tip', 'index_tip')))
        >>> get_skeleton('hand_example').index('thumb_tip')
        1
    """
    SKELETONS.register_module(name=skeleton.name, module=SKELETONS.as_part(skeleton, module))
    return skeleton
