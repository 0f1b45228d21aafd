"""Annotated or detected instances of one image, and its ignored regions, as arrays of one length.

Every array is always present. What a file leaves out is filled once, where the instances enter, by the rules of
`Instances.from_annotations`; flags say which values are filled, and NaN says that a value does not exist.
"""

from __future__ import annotations

__all__ = ['NO_ANNOTATION_ID', 'NO_STATED_COUNT', 'IgnoredRegions', 'Instances', 'estimate_areas']

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from poseplug.core.boxes import AREA_FRACTION_OF_BOX, box_areas, enclose_keypoints, transform_boxes
from poseplug.core.geometry import scale_of_matrix, transform_points
from poseplug.core.skeleton import Skeleton

NO_ANNOTATION_ID = -1  # of an instance whose file has no ids
NO_STATED_COUNT = -1  # of an instance whose file does not state how many of its keypoints count


class _ArrayRows:
    """Base of dataclasses whose fields are arrays of one length: rows can be selected and concatenated."""

    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Self:
        """Select rows by a mask, a slice or a list of indices."""
        return type(self)(**{name: array[index] for name, array in vars(self).items()})

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of one or more parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


# eq=False: comparing arrays gives an array, which has no single truth value.
@dataclass(frozen=True, eq=False)
class Instances(_ArrayRows):
    """N instances of one image, in px of the image.

    Attributes:
        keypoints: (N, K, 2).
        visible: (N, K), 0 not labeled (the position means nothing), 1 occluded, 2 visible.
        boxes: (N, 4), x and y of two corners.
        has_box: (N,) bool, which boxes are annotated or detected; the others enclose the labeled keypoints, and are 0
            without any.
        areas: (N,) px².
        has_area: (N,) bool, which areas are annotated; the others are estimated from the box.
        centers: (N, 2) annotated positions; NaN where there is none.
        scales: (N,) the height of the person / 200 px, which is MPII's unit; NaN where there is none.
        head_sizes: (N,) the normalizer of PCKh; NaN where there is none.
        annotation_ids: (N,) of the annotations in their file; `NO_ANNOTATION_ID` where the file has none.
        box_scores: (N,) of detected boxes; NaN where the box is not detected.
        segmentations: (N,) objects, see `poseplug.data.masks`; None where there is none.
        stated_counts: (N,) number of keypoints that count in the data set's own evaluation, as its file states it;
            `NO_STATED_COUNT` where it does not.

    Example:
        >>> points = np.array([[[10.0, 20.0], [40.0, 60.0]], [[5.0, 5.0], [0.0, 0.0]]])
        >>> instances = Instances.from_annotations(points, np.array([[2, 2], [1, 0]]))
        >>> instances.boxes.tolist()
        [[10.0, 20.0, 40.0, 60.0], [5.0, 5.0, 5.0, 5.0]]
        >>> instances[[1]].transform(np.diag([2.0, 2.0, 1.0])).keypoints[0, 0].tolist()
        [10.0, 10.0]
    """

    keypoints: np.ndarray
    visible: np.ndarray
    boxes: np.ndarray
    has_box: np.ndarray
    areas: np.ndarray
    has_area: np.ndarray
    centers: np.ndarray
    scales: np.ndarray
    head_sizes: np.ndarray
    annotation_ids: np.ndarray
    box_scores: np.ndarray
    segmentations: np.ndarray
    stated_counts: np.ndarray

    @classmethod
    def from_annotations(
        cls,
        keypoints: np.ndarray,
        visible: np.ndarray,
        *,
        boxes: np.ndarray | None = None,
        areas: np.ndarray | None = None,
        centers: np.ndarray | None = None,
        scales: np.ndarray | None = None,
        head_sizes: np.ndarray | None = None,
        annotation_ids: np.ndarray | None = None,
        box_scores: np.ndarray | None = None,
        segmentations: np.ndarray | None = None,
        stated_counts: np.ndarray | None = None,
    ) -> Instances:
        """Return instances with every array, those that are left out filled by rule.

        Args:
            keypoints: (N, K, 2) px.
            visible: (N, K), 0 not labeled, 1 occluded, 2 visible.
            boxes: (N, 4) px, NaN for an instance without a box; such a box encloses the labeled keypoints.
            areas: (N,) px², NaN, 0 or less where unknown; such an area is `AREA_FRACTION_OF_BOX` of the box's.
            centers: (N, 2) px.
            scales: (N,) person height / 200 px.
            head_sizes: (N,) px.
            annotation_ids: (N,).
            box_scores: (N,).
            segmentations: (N,) objects.
            stated_counts: (N,).
        """
        count = len(keypoints)
        if boxes is None:
            boxes, has_box = enclose_keypoints(keypoints, visible > 0), np.zeros(count, dtype=bool)
        else:
            has_box = ~np.isnan(boxes).any(axis=1)
            if not has_box.all():
                boxes = np.where(has_box[:, None], boxes, enclose_keypoints(keypoints, visible > 0))
        # Not NaN and above 0: OKS divides by the area, and files of some tools state 0.
        has_area = np.zeros(count, dtype=bool) if areas is None else areas > 0
        estimates = estimate_areas(boxes)
        return cls(
            keypoints=keypoints,
            visible=visible,
            boxes=boxes,
            has_box=has_box,
            areas=estimates if areas is None else np.where(has_area, areas, estimates),
            has_area=has_area,
            centers=_fill_missing(centers, (count, 2), np.nan),
            scales=_fill_missing(scales, (count,), np.nan),
            head_sizes=_fill_missing(head_sizes, (count,), np.nan),
            annotation_ids=_fill_missing(annotation_ids, (count,), NO_ANNOTATION_ID),
            box_scores=_fill_missing(box_scores, (count,), np.nan),
            segmentations=_fill_missing(segmentations, (count,), None),
            stated_counts=_fill_missing(stated_counts, (count,), NO_STATED_COUNT),
        )

    @classmethod
    def from_detections(cls, boxes: np.ndarray, box_scores: np.ndarray, num_keypoints: int) -> Instances:
        """Return detected instances, none of whose keypoints is labeled.

        Args:
            boxes: (N, 4) px.
            box_scores: (N,).
            num_keypoints: of each instance.
        """
        keypoints = np.zeros((len(boxes), num_keypoints, 2), dtype=np.float32)
        visible = np.zeros((len(boxes), num_keypoints), dtype=np.uint8)
        return cls.from_annotations(keypoints, visible, boxes=boxes, box_scores=box_scores)

    @classmethod
    def empty(cls, num_keypoints: int) -> Instances:
        """Return no instances."""
        return cls.from_detections(np.zeros((0, 4)), np.zeros(0), num_keypoints)

    @property
    def is_detected(self) -> np.ndarray:
        """(N,) bool, which boxes a detector found."""
        is_detected: np.ndarray = ~np.isnan(self.box_scores)
        return is_detected

    @property
    def has_annotation_id(self) -> np.ndarray:
        """(N,) bool, which instances have an id in their file."""
        has_annotation_id: np.ndarray = self.annotation_ids != NO_ANNOTATION_ID
        return has_annotation_id

    def put_first(self, index: int) -> Instances:
        """Return the same instances with one of them first and the others in their order."""
        return self if index == 0 else self[[index, *(i for i in range(len(self)) if i != index)]]

    def transform(self, matrix: np.ndarray) -> Instances:
        """Apply an affine matrix.

        Args:
            matrix: (3, 3) from image px to other px.

        Returns:
            The instances in other px, positions in float64; a box becomes the one that encloses its transformed
            corners. Segmentations are left out: run lengths hold only in the px of their image.
        """
        factor = scale_of_matrix(matrix)
        return replace(
            self,
            keypoints=transform_points(matrix, np.asarray(self.keypoints, float)),
            boxes=transform_boxes(matrix, self.boxes),
            areas=self.areas * factor**2,
            centers=transform_points(matrix, self.centers),
            scales=self.scales * factor,
            head_sizes=self.head_sizes * factor,
            segmentations=np.full(len(self), None, dtype=object),
        )

    def convert_keypoints(self, source: Skeleton, target: Skeleton) -> Instances:
        """Convert the keypoints to another skeleton, by name.

        Args:
            source: the skeleton of these instances.
            target: the skeleton of the result. A keypoint that `source` lacks is not labeled, unless `target` derives
                it from others.

        Returns:
            The instances; boxes that enclose keypoints enclose those of `target`, as do the areas estimated from them.
        """
        keypoints, visible = target.convert_keypoints(source, self.keypoints, self.visible)
        if self.has_box.all():
            return replace(self, keypoints=keypoints, visible=visible)
        # Enclosing boxes follow the keypoints of the new skeleton, and the areas estimated from them follow the boxes.
        boxes = np.where(self.has_box[:, None], self.boxes, enclose_keypoints(keypoints, visible > 0))
        areas = np.where(self.has_box | self.has_area, self.areas, estimate_areas(boxes))
        return replace(self, keypoints=keypoints, visible=visible, boxes=boxes, areas=areas)


@dataclass(frozen=True, eq=False)
class IgnoredRegions(_ArrayRows):
    """M regions of one image that count neither as instances nor as background, in px of the image.

    Attributes:
        boxes: (M, 4), x and y of two corners.
        areas: (M,) px².
        crowds: (M,) bool, which regions contain several instances.
        segmentations: (M,) objects, see `poseplug.data.masks`; None where there is none.
        keypoints: (M,) objects, (K, 3) x, y and visibility of a crowd with annotated keypoints, by which metrics then
            compare predictions with it; None for all others.
        annotation_ids: (M,) of the annotations in their file; `NO_ANNOTATION_ID` where the file has none.

    Example:
        >>> regions = IgnoredRegions.from_annotations(np.array([[0.0, 0.0, 4.0, 5.0]]))
        >>> regions.areas.tolist(), regions.crowds.tolist()
        ([20.0], [True])
    """

    boxes: np.ndarray
    areas: np.ndarray
    crowds: np.ndarray
    segmentations: np.ndarray
    keypoints: np.ndarray
    annotation_ids: np.ndarray

    @classmethod
    def from_annotations(
        cls,
        boxes: np.ndarray,
        areas: np.ndarray | None = None,
        crowds: np.ndarray | None = None,
        segmentations: np.ndarray | None = None,
        keypoints: np.ndarray | None = None,
        annotation_ids: np.ndarray | None = None,
    ) -> IgnoredRegions:
        """Return regions with every array, those that are left out filled by rule.

        Args:
            boxes: (M, 4) px.
            areas: (M,) px²; by default those of the boxes.
            crowds: (M,) bool; by default every region is a crowd.
            segmentations: (M,) objects; by default none.
            keypoints: (M,) objects; by default none.
            annotation_ids: (M,); by default none.
        """
        return cls(
            boxes=boxes,
            areas=box_areas(boxes) if areas is None else areas,
            crowds=_fill_missing(crowds, (len(boxes),), True),
            segmentations=_fill_missing(segmentations, (len(boxes),), None),
            keypoints=_fill_missing(keypoints, (len(boxes),), None),
            annotation_ids=_fill_missing(annotation_ids, (len(boxes),), NO_ANNOTATION_ID),
        )

    @classmethod
    def empty(cls) -> IgnoredRegions:
        """Return no regions."""
        return cls.from_annotations(np.zeros((0, 4)))

    def transform(self, matrix: np.ndarray) -> IgnoredRegions:
        """Apply an affine matrix (3, 3) as `Instances.transform` does; keypoints are left out, too."""
        return replace(
            self,
            boxes=transform_boxes(matrix, self.boxes),
            areas=self.areas * scale_of_matrix(matrix) ** 2,
            segmentations=np.full(len(self), None, dtype=object),
            keypoints=np.full(len(self), None, dtype=object),
        )

    def convert_keypoints(self, source: Skeleton, target: Skeleton) -> IgnoredRegions:
        """Convert the keypoints of regions that have some to another skeleton, as `Instances.convert_keypoints`."""
        if all(rows is None for rows in self.keypoints):
            return self
        # Filled one by one: from a list of rows of one shape NumPy would make a numeric array of three axes.
        converted = np.full(len(self), None, dtype=object)
        for i, rows in enumerate(self.keypoints):
            if rows is not None:
                # pycocotools compares predictions with these keypoints, so they follow the skeleton like an instance's.
                points, visible = target.convert_keypoints(source, rows[None, :, :2], rows[None, :, 2])
                converted[i] = np.concatenate([points[0], visible[0, :, None]], axis=1)
        return replace(self, keypoints=converted)


def estimate_areas(boxes: np.ndarray) -> np.ndarray:
    """Estimate the areas (N,) in px² of instances from their boxes (N, 4), as a fraction of the boxes' areas."""
    return AREA_FRACTION_OF_BOX * box_areas(np.asarray(boxes, dtype=float))


def _fill_missing(array: np.ndarray | None, shape: tuple[int, ...], value: float | bool | None) -> np.ndarray:
    """The array, or one of this shape and value where there is none."""
    return np.full(shape, value) if array is None else array
