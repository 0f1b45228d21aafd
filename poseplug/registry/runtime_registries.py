"""The registries of the kinds of parts that mmengine does not have; they are loaded without it."""

from __future__ import annotations

__all__ = [
    'CODECS',
    'DETECTOR_FAMILIES',
    'IMAGE_INPUTS',
    'LABEL_FORMATS',
    'SKELETONS',
    'SMOOTHERS',
    'SOURCES',
    'TRACKERS',
    'SkeletonRegistry',
]

from poseplug.core.skeleton import Skeleton
from poseplug.registry.part_registry import PartRegistry, add_registries
from poseplug.registry.wiring import PartType


class SkeletonRegistry(PartRegistry):
    """Registry of functions that return a skeleton; the object of an entry point may be a skeleton itself."""

    def as_part(self, value: object, module: str) -> PartType:
        """Convert a skeleton to a function that returns it; a function is returned as it is."""
        if not isinstance(value, Skeleton):
            return super().as_part(value, module)

        # Every part is built by a call, and a skeleton is built already.
        def get_skeleton_of_module() -> Skeleton:
            return value

        # Error messages and `list_part_origins` show these as the origin of the skeleton.
        get_skeleton_of_module.__module__, get_skeleton_of_module.__qualname__ = module, value.name
        return get_skeleton_of_module


CODECS = PartRegistry('codec')
SOURCES = PartRegistry('source')
LABEL_FORMATS = PartRegistry('label format')
TRACKERS = PartRegistry('tracker')
SMOOTHERS = PartRegistry('smoother')
SKELETONS = SkeletonRegistry('skeleton')
DETECTOR_FAMILIES = PartRegistry('detector family')
IMAGE_INPUTS = PartRegistry('image input')
add_registries(CODECS, SOURCES, LABEL_FORMATS, TRACKERS, SMOOTHERS, SKELETONS, DETECTOR_FAMILIES, IMAGE_INPUTS)
