"""The one result type: people with joints and scores, from predictions to metrics, drawings and files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poseplug.errors import AnnotationError, ConfigError
from poseplug.skeleton import Skeleton

Array = Tensor | np.ndarray


@dataclass(frozen=True)
class Poses:
    """N people, of one picture or of a batch.

    `keypoints` (N, K, 2) px and `scores` (N, K) in 0..1; `person_scores` (N,); `images` (N,) which picture of the
    batch; `visibility` (N, K), `boxes` (N, 4; x, y of two corners) and `ids` (N,) where somebody knows them.
    """

    keypoints: Array
    scores: Array
    person_scores: Array
    images: Array | None = None
    visibility: Array | None = None
    boxes: Array | None = None
    ids: Array | None = None

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, which: Any) -> Poses:
        """The people of a mask, a slice or a list of places."""
        return self._each(lambda a: a[which])

    def numpy(self) -> Poses:
        """The same people as NumPy arrays."""
        return self._each(lambda a: a.detach().cpu().numpy() if isinstance(a, Tensor) else a)

    def split(self, count: int) -> list[Poses]:
        """One `Poses` for each of the `count` pictures of a batch."""
        if self.images is None:
            raise ValueError('these poses do not say which picture they belong to')
        return [replace(self[self.images == i], images=None) for i in range(count)]

    def moved(self, matrix: Array) -> Poses:
        """Every position through an affine matrix (3, 3): joints exactly, boxes as the hull of their corners."""
        keypoints = _through(matrix, self.keypoints)
        if self.boxes is None:
            return replace(self, keypoints=keypoints)
        corners = _through(matrix, self.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))
        if isinstance(corners, Tensor):
            return replace(self, keypoints=keypoints, boxes=torch.cat([corners.amin(1), corners.amax(1)], dim=1))
        return replace(self, keypoints=keypoints, boxes=np.concatenate([corners.min(1), corners.max(1)], axis=1))

    def with_joints(self, places: np.ndarray) -> Poses:
        """NumPy people with the joints at `places` (K,) of their own; where a place is -1, at 0, 0 with score 0."""
        keypoints, scores = np.asarray(self.keypoints), np.asarray(self.scores)
        known = places >= 0
        return replace(
            self,
            keypoints=np.where(known[:, None], keypoints[:, places], 0),
            scores=np.where(known, scores[:, places], 0),
            visibility=None if self.visibility is None else np.where(known, np.asarray(self.visibility)[:, places], 0),
        )

    @classmethod
    def nobody(cls, joints: int) -> Poses:
        """No people of so many joints."""
        return cls(np.zeros((0, joints, 2), np.float32), np.zeros((0, joints), np.float32), np.zeros(0, np.float32))

    @classmethod
    def of_record(cls, keypoints: np.ndarray, visible: np.ndarray) -> Poses:
        """Annotated people (N, K, 2) and (N, K) as poses: score 1 where labelled."""
        scores = (visible > 0).astype(np.float32)
        return cls(keypoints, scores, np.ones(len(keypoints), np.float32), visibility=visible)

    def to_coco(self, image_id: int | str, category_id: int = 1) -> list[dict[str, Any]]:
        """COCO's result records: x, y and score of every joint in turn."""
        poses = self.numpy()
        rows = np.concatenate([poses.keypoints, poses.scores[..., None]], axis=-1).reshape(
            len(poses), 3 * poses.keypoints.shape[1]
        )
        return [
            {
                'image_id': image_id,
                'category_id': category_id,
                'keypoints': [round(float(v), 4) for v in row],
                'score': float(score),
            }
            for row, score in zip(rows, poses.person_scores, strict=True)
        ]

    @classmethod
    def from_coco(cls, records: Sequence[dict[str, Any]]) -> Poses:
        """People from COCO's result records of one picture."""
        rows = np.array([r['keypoints'] for r in records], dtype=np.float32)
        rows = rows.reshape(len(records), -1 if records else 0, 3)
        scores = np.array([r.get('score', 1.0) for r in records], dtype=np.float32)
        return cls(rows[..., :2], rows[..., 2], scores)

    def rows(self, image: str, skeleton: Skeleton) -> Iterable[dict[str, Any]]:
        """One row a joint, as a table wants them."""
        poses = self.numpy()
        for n in range(len(poses)):
            for k, joint in enumerate(skeleton.joints):
                x, y = (round(float(v), 3) for v in poses.keypoints[n, k])
                score = round(float(poses.scores[n, k]), 4)
                yield {'image': image, 'person': n, 'joint': joint, 'x': x, 'y': y, 'score': score}

    def to_instance_data(self) -> Any:
        """As mmengine's `InstanceData`, with the same field names."""
        from mmengine.structures import InstanceData

        return InstanceData(**{f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None})

    @classmethod
    def from_instance_data(cls, data: Any) -> Poses:
        """People from an `InstanceData` that carries these field names."""
        return cls(**{f.name: data.get(f.name) for f in fields(cls)})

    def _each(self, change: Any) -> Poses:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {n: None if v is None else change(v) for n, v in values.items()}
        return Poses(**changed)


def _through(matrix: Array, points: Array) -> Any:
    """Points (..., 2) through a matrix (3, 3), with the type and device of the points."""
    if isinstance(points, Tensor):
        m: Any = torch.as_tensor(matrix).to(points)
    else:
        m = np.asarray(matrix)
    return points @ m[:2, :2].T + m[:2, 2]


COLUMNS = ['image', 'person', 'joint', 'x', 'y', 'score']


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Rows of `Poses.rows` as a CSV file with a header."""
    with open(path, 'w', newline='') as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path, skeleton: Skeleton) -> dict[str, Poses]:
    """The people of every picture from a file of `write_csv`; a person's score is the mean of the joints'.

    A joint that the file leaves out gets score 0.
    """
    people: dict[str, dict[str, np.ndarray]] = {}
    try:
        lines = list(csv.DictReader(Path(path).read_text().splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f'{path} is not a readable CSV file: {error}') from error
    for number, row in enumerate(lines, start=2):
        try:
            joint = skeleton.index(row['joint'])
            values = [float(row[name]) for name in ('x', 'y', 'score')]
            person = people.setdefault(row['image'], {}).setdefault(row['person'], np.zeros((len(skeleton), 3)))
        except (KeyError, ValueError, TypeError, ConfigError) as error:
            raise AnnotationError(f'{path}, line {number}: {error}; the columns are {", ".join(COLUMNS)}') from error
        person[joint] = values
    return {image: _of_rows(np.stack(list(rows.values())).astype(np.float32)) for image, rows in people.items()}


def _of_rows(rows: np.ndarray) -> Poses:
    """People from (N, K, 3): x, y, score."""
    return Poses(rows[..., :2], rows[..., 2], rows[..., 2].mean(axis=1))
