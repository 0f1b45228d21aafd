"""Instances from skeletons, boxes and single keypoints, for tools that label these as objects of their own."""

from __future__ import annotations

__all__ = ['LabeledObject', 'ObjectGrouper']

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages
from poseplug.data.formats.label_collector import LabelCollector

_UNNAMED_CATEGORY = 'object'  # of single keypoints without a box


@dataclass
class LabeledObject:
    """A skeleton, a box or a single keypoint, as a labeling tool has it.

    Attributes:
        position: in the file, as in 'annotation 3'.
        category: of the instance; '' for a single keypoint, which does not say it.
        keypoints: x and y in px, and 0 not labeled, 1 occluded, 2 visible, by name; empty for a box.
        box: x, y, width and height in px; None without one.
        group: what objects of one instance have in common; None if it has none.
    """

    position: str
    category: str
    keypoints: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    box: list[float] | None = None
    group: Any = None

    def contains(self, other: LabeledObject) -> bool:
        """Return whether the labeled keypoints of another object, one at least, lie in this object's box."""
        points = np.array([(x, y) for x, y, flag in other.keypoints.values() if flag]).reshape(-1, 2)
        if self.box is None or not len(points):
            return False
        offsets = points - self.box[:2]
        return bool(((offsets >= 0) & (offsets <= self.box[2:])).all())


class ObjectGrouper:
    """Builds the instances of each image from its objects.

    Objects of one group are one instance. Without a group, a box belongs to the only skeleton of its category that lies
    in it, and a single keypoint to the only box that contains it, or to the only instance of its image.

    Args:
        collector: receives the instances and what is dropped.
        stated_keypoints: names of the keypoints of each category, where the files define them.
        limbs: pairs of indices of these keypoints, counted from 0, by category.
    """

    def __init__(
        self,
        collector: LabelCollector,
        stated_keypoints: Mapping[str, Sequence[str]] | None = None,
        limbs: Mapping[str, Iterable[tuple[int, int]]] | None = None,
    ):
        self.collector = collector
        # dicts, as sets in the order in which names come first
        self._names = {name: dict.fromkeys(keypoints) for name, keypoints in (stated_keypoints or {}).items()}
        self._limbs = dict(limbs or {})
        self._instances: list[tuple[int, LabeledObject]] = []

    def add_objects(self, file: Path, image_id: int, objects: Sequence[LabeledObject]) -> None:
        """Add the instances of one image.

        Args:
            file: of the labels, for the report.
            image_id: of the image.
            objects: all of the image.
        """
        groups: dict[Any, list[LabeledObject]] = defaultdict(list)
        for i, item in enumerate(objects):
            if item.group is not None or item.category:
                groups[('single', i) if item.group is None else item.group].append(item)
        instances = _join_boxes([self._merge_group(file, group) for group in groups.values()])
        self._add_single_keypoints(file, instances, [o for o in objects if o.group is None and not o.category])
        self._instances += [(image_id, instance) for instance in instances]

    def _merge_group(self, file: Path, group: Sequence[LabeledObject]) -> LabeledObject:
        """The instance of a group; what it has already is counted as dropped."""
        # A skeleton has the category that names the keypoints, and a box of the group may be of a part.
        first = next((item for item in group if item.category and item.keypoints), group[0])
        category = next((item.category for item in (first, *group) if item.category), _UNNAMED_CATEGORY)
        merged = LabeledObject(first.position, category)
        for item in group:
            if merged.keypoints.keys() & item.keypoints.keys():
                self.collector.drop_label(file, item.position, 'which repeats a keypoint of its instance')
            elif item.box is not None and merged.box is not None:
                self.collector.drop_label(file, item.position, 'which is a second box of its instance')
            else:
                merged.keypoints |= item.keypoints
                merged.box = merged.box or item.box
        return merged

    def _add_single_keypoints(
        self, file: Path, instances: list[LabeledObject], keypoints: Sequence[LabeledObject]
    ) -> None:
        """Add keypoints without a category or a group to their instance, or count them as dropped."""
        # Decided before any keypoint is added, so that their order does not matter.
        candidates = [[i for i in instances if i.contains(k)] or instances for k in keypoints]
        if keypoints and not instances:
            instances.append(LabeledObject(keypoints[0].position, _UNNAMED_CATEGORY))
        for keypoint, around in zip(keypoints, candidates, strict=True):
            if len(around) != 1:
                self.collector.drop_label(file, keypoint.position, 'without a group, in none or several of the boxes')
            elif keypoint.keypoints.keys() & around[0].keypoints.keys():
                self.collector.drop_label(file, keypoint.position, 'which repeats a keypoint of its instance')
            else:
                around[0].keypoints |= keypoint.keypoints

    def finish_labels(self) -> LabeledImages:
        """Return what was collected, with the categories that have instances or stated keypoints.

        Raises:
            AnnotationError: no object has keypoints.
        """
        for _, instance in self._instances:
            self._names.setdefault(instance.category, {}).update(dict.fromkeys(instance.keypoints))
        if not any(instance.keypoints for _, instance in self._instances) and not self.collector.labels.dropped:
            raise AnnotationError(f'{self.collector.labels.path}: no label has keypoints; a skeleton is needed')
        category_ids = {
            category: self.collector.add_category(category, list(names), self._limbs.get(category, ()))
            for category, names in self._names.items()
        }
        for image_id, instance in self._instances:
            names = self._names[instance.category]
            table = [instance.keypoints.get(name, (0.0, 0.0, 0)) for name in names]
            self.collector.add_instance(image_id, category_ids[instance.category], table, instance.box)
        return self.collector.finish_labels()


def _join_boxes(instances: list[LabeledObject]) -> list[LabeledObject]:
    """Give skeletons without a box the box of their category that lies around them alone."""
    boxes = [instance for instance in instances if instance.box is not None and not instance.keypoints]
    skeletons = [instance for instance in instances if instance.box is None]
    pairs = [(s, b) for s in skeletons for b in boxes if b.category == s.category and b.contains(s)]
    joined_boxes = []
    for skeleton, box in pairs:
        num_choices = sum(other is skeleton for other, _ in pairs) + sum(other is box for _, other in pairs)
        if num_choices == 2:  # each is the only choice of the other
            skeleton.box = box.box
            joined_boxes.append(id(box))
    return [instance for instance in instances if id(instance) not in joined_boxes]
