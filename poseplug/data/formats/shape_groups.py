"""Instances from loose points and boxes, for tools without skeletons: by groups, or by the box around a point."""

from __future__ import annotations

__all__ = ['LabeledShape', 'ShapeGrouper']

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.data.formats.label_collector import LabelCollector

_UNNAMED_CATEGORY = 'object'  # of points without a box


@dataclass(frozen=True)
class LabeledShape:
    """A point, or a box or polygon, as a labeling tool has it.

    Attributes:
        position: in the file, as in 'shape 3'.
        label: what the labeler called it: the name of a keypoint, or the category of a box.
        kind: 'point' for a keypoint; anything else counts as the box around its points.
        group: what shapes of one instance have in common; None if it has none.
        points: (N, 2) px.
        is_occluded: whether the labeler says so.
    """

    position: str
    label: str
    kind: str
    group: Any
    points: np.ndarray
    is_occluded: bool

    @property
    def xywh(self) -> list[float]:
        """The box around the points: x, y, width and height in px."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        return [*low.tolist(), *(high - low).tolist()]

    def contains(self, point: np.ndarray) -> bool:
        """Return whether a point (2,) lies in the box around this shape's points."""
        return bool(((self.points.min(axis=0) <= point) & (point <= self.points.max(axis=0))).all())


class ShapeGrouper:
    """Builds the instances of each image from its shapes.

    Shapes of one group are one instance. A point without a group belongs to the only box that contains it, or to the
    only instance of its image; a box without a group is an instance.

    Args:
        collector: receives the instances and what is dropped.
        keypoint_names: of all categories.
    """

    def __init__(self, collector: LabelCollector, keypoint_names: Sequence[str]):
        self.collector, self.keypoint_names = collector, list(keypoint_names)
        self._category_ids: dict[str, int] = {}

    def add_shapes(self, file: Path, image_id: int, shapes: Sequence[LabeledShape]) -> None:
        """Add the instances of one image.

        Args:
            file: of the labels, for the report.
            image_id: of the image.
            shapes: all of the image.
        """
        for group in self._group_shapes(file, shapes):
            self._add_group(file, image_id, group)

    def _group_shapes(self, file: Path, shapes: Sequence[LabeledShape]) -> Iterator[list[LabeledShape]]:
        """Group the shapes of one image to instances."""
        groups: dict[Any, list[LabeledShape]] = defaultdict(list)
        for i, shape in enumerate(shapes):
            if shape.group is not None:
                groups[_normalize_group(shape.group)].append(shape)
            elif shape.kind != 'point':
                groups[('box', i)].append(shape)
        # Decided before any loose point joins, so that the order of the shapes does not matter.
        boxes = {key: [s for s in group if s.kind != 'point'] for key, group in groups.items()}
        loose = [shape for shape in shapes if shape.kind == 'point' and shape.group is None]
        if not groups:
            groups['image'] = []
        for shape in loose:
            around = [key for key, group in boxes.items() if any(box.contains(shape.points[0]) for box in group)]
            # Outside of all boxes, a point can belong to the one instance alone.
            candidates = around or list(groups)
            if len(candidates) == 1:
                groups[candidates[0]].append(shape)
            else:
                self.collector.drop_label(file, shape.position, 'without a group_id, in none or several of the boxes')
        yield from groups.values()

    def _add_group(self, file: Path, image_id: int, group: list[LabeledShape]) -> None:
        """Add one instance."""
        boxes = [shape for shape in group if shape.kind != 'point']
        # A second shape of a group mostly is a part that was outlined separately.
        for extra in boxes[1:]:
            self.collector.drop_label(file, extra.position, 'which is a second box of its instance')
        table = np.zeros((len(self.keypoint_names), 3))
        for shape in group:
            if shape.kind != 'point':
                continue
            k = self.keypoint_names.index(shape.label)
            if table[k, 2]:
                self.collector.drop_label(file, shape.position, 'which is a second keypoint of its name')
                continue
            table[k] = [*shape.points[0], 1 if shape.is_occluded else 2]
        if boxes or table[:, 2].any():
            category = boxes[0].label if boxes else _UNNAMED_CATEGORY
            box = boxes[0].xywh if boxes else None
            self.collector.add_instance(image_id, self._get_category(category), table, box)

    def _get_category(self, name: str) -> int:
        """The id of a category, which is added when it comes first."""
        if name not in self._category_ids:
            self._category_ids[name] = self.collector.add_category(name, self.keypoint_names)
        return self._category_ids[name]


def _normalize_group(group: Any) -> str:
    """A group as text: tools write the number 3 also as 3.0 or '3'."""
    text = str(group).strip()
    return text.removesuffix('.0')
