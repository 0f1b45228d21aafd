"""The result type of arrays: instances with keypoints and scores, from decoders to metrics, drawings and files."""

from __future__ import annotations

__all__ = ['POSES_CSV_COLUMNS', 'POSE_ARRAYS', 'Poses', 'read_poses_csv', 'write_poses_csv']

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poseplug.core.boxes import transform_boxes
from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.core.geometry import scale_of_matrix, transform_points
from poseplug.core.skeleton import Skeleton

if TYPE_CHECKING:
    from torch import Tensor

    _Array = Tensor | np.ndarray


@dataclass(frozen=True, eq=False)
class Poses:
    """N instances of one image or of a batch, as NumPy arrays or as torch tensors.

    Attributes:
        keypoints: (N, K, 2), x and y in px.
        keypoint_scores: (N, K) from 0 to 1; the codec's `score_meaning` says what they mean.
        instance_scores: (N,).
        image_indices: (N,) the position of the instance's image in the batch; None for the poses of one image.
        visibility: (N, K), 0 not labeled, 1 occluded, 2 visible; None if unknown.
        boxes: (N, 4), x and y of two corners in px; None if unknown.
        ids: (N,) the same number for the same instance in every frame; None if not tracked.
        keypoint_sigmas_px: (N, K) how uncertain the model is of each position, in px along an axis: the scale of the
            error that it predicts, or the width of the heatmap's peak; None if it predicts neither.

    Example:
        >>> poses = Poses(np.array([[[10.0, 20.0]], [[30.0, 40.0]]]), np.array([[0.9], [0.4]]), np.array([0.9, 0.4]))
        >>> len(poses)
        2
        >>> poses[poses.instance_scores > 0.5].keypoints.tolist()
        [[[10.0, 20.0]]]
    """

    keypoints: _Array
    keypoint_scores: _Array
    instance_scores: _Array
    image_indices: _Array | None = None
    visibility: _Array | None = None
    boxes: _Array | None = None
    ids: _Array | None = None
    keypoint_sigmas_px: _Array | None = None

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, index: Any) -> Poses:
        """Select instances by a mask, a slice or a list of indices."""
        return self._map_arrays(lambda array: array[index])

    def numpy(self) -> Poses:
        """Return the same instances as NumPy arrays."""
        arrays = {name: getattr(self, name) for name in POSE_ARRAYS}
        tensors: dict[str, Any] = {name: array for name, array in arrays.items() if hasattr(array, 'detach')}
        return replace(self, **{name: t.detach().cpu().numpy() for name, t in tensors.items()}) if tensors else self

    def split_by_image(self, num_images: int) -> list[Poses]:
        """Split the poses of a batch by image.

        Args:
            num_images: the number of images in the batch.

        Returns:
            The poses of each image, without `image_indices`.

        Raises:
            ValueError: the poses have no `image_indices`.
        """
        if self.image_indices is None:
            raise ValueError('poses without image_indices cannot be split by image')
        without_indices, indices = replace(self, image_indices=None), self.image_indices
        if num_images == 1:
            return [without_indices]
        if isinstance(indices, np.ndarray) and np.all(indices[1:] >= indices[:-1]):
            starts = np.searchsorted(indices, np.arange(num_images + 1))
            return [without_indices[start:end] for start, end in pairwise(starts)]
        return [without_indices[indices == i] for i in range(num_images)]

    def transform(self, matrix: _Array) -> Poses:
        """Apply an affine matrix to keypoints and boxes.

        Args:
            matrix: (3, 3).

        Returns:
            The poses with transformed keypoints; a box becomes the one that encloses its transformed corners, and
            uncertainties are scaled by the mean of both axes.
        """
        boxes: Any = self.boxes
        if boxes is not None:
            boxes = transform_boxes(matrix, boxes)
        keypoints = transform_points(matrix, self.keypoints)
        return replace(self.scale_sigmas(matrix), keypoints=keypoints, boxes=boxes)

    def scale_sigmas(self, matrix: _Array) -> Poses:
        """Scale `keypoint_sigmas_px`, where they are known, as an affine matrix (3, 3) scales lengths."""
        if self.keypoint_sigmas_px is None:
            return self
        return replace(self, keypoint_sigmas_px=self.keypoint_sigmas_px * scale_of_matrix(np.asarray(matrix)))

    def select_keypoints(self, indices: np.ndarray) -> Poses:
        """Select and reorder the keypoints of NumPy poses.

        Args:
            indices: (K,) for each new keypoint its index in these poses; -1 for one that they do not have, which
                gets the position 0, 0, the score 0, the visibility 0 and no uncertainty (NaN).
        """
        # The index -1 reads the last keypoint below; each `np.where` replaces what it read.
        keypoints, scores = np.asarray(self.keypoints), np.asarray(self.keypoint_scores)
        is_known = indices >= 0
        visibility = self.visibility
        if visibility is not None:
            visibility = np.where(is_known, np.asarray(visibility)[:, indices], 0)
        sigmas = self.keypoint_sigmas_px
        if sigmas is not None:
            sigmas = np.where(is_known, np.asarray(sigmas)[:, indices], np.nan)
        return replace(
            self,
            keypoint_sigmas_px=sigmas,
            keypoints=np.where(is_known[:, None], keypoints[:, indices], 0),
            keypoint_scores=np.where(is_known, scores[:, indices], 0),
            visibility=visibility,
        )

    @classmethod
    def empty(cls, num_keypoints: int) -> Poses:
        """Return poses without instances."""
        return cls(
            np.zeros((0, num_keypoints, 2), np.float32),
            np.zeros((0, num_keypoints), np.float32),
            np.zeros(0, np.float32),
        )

    @classmethod
    def from_annotations(cls, keypoints: np.ndarray, visible: np.ndarray) -> Poses:
        """Return annotated instances as poses: a labeled keypoint has the score 1, another one 0.

        Args:
            keypoints: (N, K, 2) px.
            visible: (N, K), 0 not labeled, 1 occluded, 2 visible.
        """
        scores = (visible > 0).astype(np.float32)
        return cls(keypoints, scores, np.ones(len(keypoints), np.float32), visibility=visible)

    def to_coco(self, image_id: int | str, category_id: int = 1, digits: int | None = 4) -> list[dict[str, Any]]:
        """Convert the instances of one image to COCO's result format.

        Args:
            image_id: of the image.
            category_id: of the instances.
            digits: after the decimal point of coordinates and keypoint scores; None does not round.

        Returns:
            One dict per instance with `keypoints`: x, y and score of every keypoint in one list.
        """
        poses = self.numpy()
        num_keypoints = poses.keypoints.shape[1]
        keypoints_and_scores = np.concatenate([poses.keypoints, poses.keypoint_scores[..., None]], axis=-1)
        rows = keypoints_and_scores.reshape(len(poses), 3 * num_keypoints).tolist()
        if digits is not None:
            rows = [[round(value, digits) for value in row] for row in rows]
        return [
            {'image_id': image_id, 'category_id': category_id, 'keypoints': row, 'score': float(score)}
            for row, score in zip(rows, poses.instance_scores, strict=True)
        ]

    @classmethod
    def from_coco(cls, results: Sequence[dict[str, Any]]) -> Poses:
        """Return the instances of one image from results in COCO's format."""
        # Without results nothing follows from -1: an array of no elements has any number of keypoints.
        rows = np.array([r['keypoints'] for r in results], dtype=np.float32)
        rows = rows.reshape(len(results), -1 if results else 0, 3)
        scores = np.array([r.get('score', 1.0) for r in results], dtype=np.float32)
        return cls(rows[..., :2], rows[..., 2], scores)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Convert the instances of one image to the dicts of result files.

        Returns:
            A dict for each instance: `id` where known, `score`, `keypoints` as [x, y, score] each, `box_xyxy` where
            known, and `keypoint_sigmas_px` where the model predicts them. Pixels are rounded to 2 digits, scores to 4.

        Example:
            >>> Poses(np.array([[[10.0, 20.123]]]), np.array([[0.9]]), np.array([0.8])).to_dicts()
            [{'score': 0.8, 'keypoints': [[10.0, 20.12, 0.9]]}]
        """
        poses = self.numpy()
        instances = []
        for n in range(len(poses)):
            keypoints = np.column_stack([poses.keypoints[n], poses.keypoint_scores[n]]).tolist()
            instance: dict[str, Any] = {} if poses.ids is None else {'id': int(poses.ids[n])}
            instance['score'] = round(float(poses.instance_scores[n]), 4)
            instance['keypoints'] = [[round(x, 2), round(y, 2), round(score, 4)] for x, y, score in keypoints]
            if poses.boxes is not None:
                instance['box_xyxy'] = [round(float(value), 2) for value in poses.boxes[n]]
            if poses.keypoint_sigmas_px is not None:
                sigmas = (float(value) for value in poses.keypoint_sigmas_px[n])
                # JSON has no NaN.
                instance['keypoint_sigmas_px'] = [None if math.isnan(value) else round(value, 2) for value in sigmas]
            instances.append(instance)
        return instances

    @classmethod
    def from_dicts(cls, instances: Sequence[Mapping[str, Any]], num_keypoints: int) -> Poses:
        """Convert the dicts of result files back.

        Args:
            instances: as `to_dicts` returns them.
            num_keypoints: K, for poses without instances.

        Example:
            >>> Poses.from_dicts([{'score': 0.8, 'keypoints': [[10.0, 20.12, 0.9]]}], 1).keypoints.tolist()
            [[[10.0, 20.12]]]
        """
        if not instances:
            return cls.empty(num_keypoints)
        table = np.array([instance['keypoints'] for instance in instances], dtype=float)
        scores = np.array([instance['score'] for instance in instances], dtype=float)
        # A file may lack them for some instances; an array needs a value for each, so it is all or none.
        boxes, ids, sigmas = (
            [each.get(name) for each in instances] for name in ('box_xyxy', 'id', 'keypoint_sigmas_px')
        )
        return cls(
            table[..., :2],
            table[..., 2],
            scores,
            boxes=None if None in boxes else np.array(boxes, dtype=float),
            ids=None if None in ids else np.array(ids),
            keypoint_sigmas_px=None if None in sigmas else np.array(sigmas, dtype=float),
        )

    def to_rows(self, image_name: str, skeleton: Skeleton) -> Iterable[dict[str, Any]]:
        """Yield one table row per keypoint: image, instance, keypoint, x, y and score.

        Args:
            image_name: the value of the column `image`.
            skeleton: of the poses.
        """
        poses = self.numpy()
        for n in range(len(poses)):
            for k, keypoint_name in enumerate(skeleton.keypoints):
                x, y = (round(float(v), 3) for v in poses.keypoints[n, k])
                score = round(float(poses.keypoint_scores[n, k]), 4)
                values = (image_name, n, keypoint_name, x, y, score)
                yield dict(zip(POSES_CSV_COLUMNS, values, strict=True))

    def to_instance_data(self) -> Any:
        """Convert to mmengine's `InstanceData`, with the same field names."""
        from mmengine.structures import InstanceData

        return InstanceData(**{n: v for n in POSE_ARRAYS if (v := getattr(self, n)) is not None})

    @classmethod
    def from_instance_data(cls, data: Any) -> Poses:
        """Return the instances of an `InstanceData` that has fields of these names."""
        return cls(**{name: data.get(name) for name in POSE_ARRAYS})

    def _map_arrays(self, function: Callable[[Any], Any]) -> Poses:
        arrays = {name: getattr(self, name) for name in POSE_ARRAYS}
        results: dict[str, Any] = {name: function(array) for name, array in arrays.items() if array is not None}
        return replace(self, **results)  # of the same class, with what else that has


POSE_ARRAYS = tuple(field.name for field in fields(Poses))  # the arrays of poses, by name


POSES_CSV_COLUMNS = ['image', 'instance', 'keypoint', 'x', 'y', 'score']


def write_poses_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write the rows of `Poses.to_rows` as a CSV file with a header."""
    # Names that are no UTF-8 are written with escapes, so that the file can be read everywhere.
    with open(path, 'w', newline='', encoding='utf-8', errors='backslashreplace') as file:
        writer = csv.DictWriter(file, POSES_CSV_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def read_poses_csv(path: Path, skeleton: Skeleton) -> dict[str, Poses]:
    """Read a file of `write_poses_csv`.

    Args:
        path: of the CSV file.
        skeleton: whose keypoints the file names; one that the file omits gets the score 0.

    Returns:
        The poses by image name; an instance's score is the mean of its keypoints' scores.

    Raises:
        AnnotationError: the file cannot be read, or a line has an unknown keypoint or a value that is no number.
    """
    instances_by_image: dict[str, dict[str, np.ndarray]] = {}
    try:
        # utf-8-sig: spreadsheets write a byte order mark, which would become part of the first column's name.
        with open(path, newline='', encoding='utf-8-sig') as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f'{path} is not a readable CSV file: {error}') from error
    # From 2: line 1 is the header.
    for line_number, row in enumerate(lines, start=2):
        try:
            index = skeleton.index(row['keypoint'])
            values = [float(row[name]) for name in ('x', 'y', 'score')]
            instances = instances_by_image.setdefault(row['image'], {})
            keypoints = instances.setdefault(row['instance'], np.zeros((len(skeleton), 3)))
        except (KeyError, ValueError, TypeError, ConfigError) as error:
            raise AnnotationError(
                f'{path}, line {line_number}: {error}; the columns are {", ".join(POSES_CSV_COLUMNS)}'
            ) from error
        keypoints[index] = values
    return {name: _poses_from_rows(list(instances.values())) for name, instances in instances_by_image.items()}


def _poses_from_rows(instances: Sequence[np.ndarray]) -> Poses:
    """Poses from the (K, 3) of each instance: x, y and score."""
    rows = np.stack(instances).astype(np.float32)
    return Poses(rows[..., :2], rows[..., 2], rows[..., 2].mean(axis=1))
