"""The predictions of a test run as a file: JSON lines, one per image, with what is annotated there.

The first line describes the keypoints. Every other line is an image: its `annotated` instances (keypoints as x, y and
visibility, box, area) and its `predicted` ones (keypoints as x, y and score, score, and `subject`, the index of the
annotated instance whose box was given; absent where the model found the instances itself).
"""

from __future__ import annotations

__all__ = ['ImagePredictions', 'PredictionFile', 'group_predictions', 'read_predictions', 'write_predictions']

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.core.instances import Instances
from poseplug.core.poses import Poses
from poseplug.core.sample import ImageKey, Record
from poseplug.core.skeleton import Skeleton
from poseplug.files.atomic import write_atomically
from poseplug.files.jsonable import to_json_text

_FORMAT = 'poseplug predictions'
_VERSION = 1
NO_SUBJECT = -1


@dataclass(eq=False)
class ImagePredictions:
    """One image of a test: N annotated and M predicted instances, in px of the image.

    Attributes:
        image: of the file, with the id in its source.
        annotated: (N, K, 2).
        visible: (N, K) 0 not labeled, 1 occluded, 2 visible.
        areas: (N,) px².
        predicted: (M, K, 2).
        keypoint_scores: (M, K).
        scores: (M,).
        subjects: (M,) index of the annotated instance whose box was given; `NO_SUBJECT` for others.
    """

    image: str
    annotated: np.ndarray
    visible: np.ndarray
    areas: np.ndarray
    predicted: np.ndarray
    keypoint_scores: np.ndarray
    scores: np.ndarray
    subjects: np.ndarray


@dataclass
class PredictionFile:
    """The predictions of a test run.

    Attributes:
        name: of the run, for tables.
        skeleton: the keypoints.
        images: one entry per image.
    """

    name: str
    skeleton: Skeleton
    images: list[ImagePredictions] = field(default_factory=list)


def write_predictions(
    path: Path, predictions: Iterable[tuple[Record, Poses]], skeleton: Skeleton, name: str = ''
) -> None:
    """Write the predictions of a test run.

    Args:
        path: the file.
        predictions: every record with its predicted instances (`EvaluationResult.predictions`).
        skeleton: the keypoints.
        name: of the run, for tables.
    """
    header = dict(
        format=_FORMAT,
        version=_VERSION,
        name=name,
        skeleton=skeleton.name,
        keypoints=skeleton.keypoints,
        limbs=skeleton.limbs,
        flip_pairs=skeleton.flip_pairs,
        sigmas=skeleton.sigmas,
        centric=skeleton.centric,
    )
    lines = [header, *(_to_row(annotations, image) for annotations, _, image in group_predictions(predictions))]
    # As a whole, so that an interrupted run leaves no half file.
    text = ''.join(f'{to_json_text(line)}\n' for line in lines)
    write_atomically(path, text.encode())


def group_predictions(predictions: Iterable[tuple[Record, Poses]]) -> Iterator[tuple[Record, Poses, ImagePredictions]]:
    """Group the predictions of a test by image; a top-down test has a record for every instance.

    Args:
        predictions: every record with its predicted instances.

    Returns:
        For every image its annotations, all its predicted instances, and both as arrays.
    """
    # In the order of the first record of each image.
    images: dict[ImageKey, list[tuple[Record, Poses]]] = {}
    for record, poses in predictions:
        images.setdefault(record.key, []).append((record, poses))
    for records in images.values():
        yield _merge_records(records)


def _merge_records(records: list[tuple[Record, Poses]]) -> tuple[Record, Poses, ImagePredictions]:
    """The records of one image as one."""
    first = records[0][0]
    annotations = first.ground_truth or first
    subjects = []
    for record, poses in records:
        # Only a top-down test on annotated boxes has several records of one image.
        is_subject = len(records) > 1 and record.ground_truth is None and len(poses) == 1
        subject = _find_instance(annotations.instances, record.instances) if is_subject else NO_SUBJECT
        subjects += [subject] * len(poses)
    merged = _concatenate_poses([poses.numpy() for _, poses in records])
    instances = annotations.instances
    image = ImagePredictions(
        image=_name_image(first),
        annotated=_as_floats(instances.keypoints),
        visible=np.asarray(instances.visible),
        areas=_as_floats(instances.areas),
        predicted=_as_floats(merged.keypoints),
        keypoint_scores=_as_floats(merged.keypoint_scores),
        scores=_as_floats(merged.instance_scores),
        subjects=np.array(subjects, dtype=int),
    )
    return annotations, merged, image


def _name_image(record: Record) -> str:
    """The name of an image, by which files of predictions are compared."""
    name = f'{record.path.name} ({record.source} {record.id})'
    # ids of several sources may be equal
    return f'{name} of source {record.source_index + 1}' if record.source_index else name


def _as_floats(array: Any) -> np.ndarray:
    return np.asarray(array, dtype=float)


def _concatenate_poses(parts: list[Any]) -> Poses:
    """The instances of several predictions of one image, as arrays."""
    keypoints = np.concatenate([part.keypoints for part in parts])
    keypoint_scores = np.concatenate([part.keypoint_scores for part in parts])
    instance_scores = np.concatenate([part.instance_scores for part in parts])
    return Poses(keypoints, keypoint_scores, instance_scores, np.zeros(len(keypoints), dtype=int))


def _to_row(annotations: Record, image: ImagePredictions) -> dict[str, Any]:
    """The line of one image."""
    instances = annotations.instances
    annotated = []
    for i in range(len(instances)):
        keypoints = np.column_stack([instances.keypoints[i], instances.visible[i]])
        box, area = instances.boxes[i], instances.areas[i]
        annotated.append(dict(keypoints=keypoints, box=box, area=area, annotation_id=instances.annotation_ids[i]))
    predicted = []
    for i, subject in enumerate(image.subjects.tolist()):
        keypoints = np.column_stack([image.predicted[i], image.keypoint_scores[i]])
        row = dict(keypoints=keypoints, score=image.scores[i])
        predicted.append(row if subject == NO_SUBJECT else {**row, 'subject': subject})
    return dict(image=image.image, annotated=annotated, predicted=predicted)


def _find_instance(instances: Instances, others: Instances) -> int:
    """The index among `instances` of the first of `others`, which are the same instances in another order."""
    # A crop's record has the subject first. Equal annotations are told apart by their ids, which some formats lack.
    if others.has_annotation_id[0]:
        is_same = instances.annotation_ids == others.annotation_ids[0]
    else:
        is_same = (instances.boxes == others.boxes[0]).all(axis=1)
        is_same &= (instances.keypoints == others.keypoints[0]).all(axis=(1, 2))
    return int(np.argmax(is_same)) if is_same.any() else NO_SUBJECT


def read_predictions(path: Path) -> PredictionFile:
    """Read the predictions of a test run.

    Args:
        path: a file that `poseplug test --predictions` wrote.

    Raises:
        AnnotationError: the file cannot be read, or is another file.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
        header = lines[0]
        if header['format'] != _FORMAT or header['version'] != _VERSION:
            raise ValueError(f'format {header["format"]!r}, version {header["version"]!r}')
        skeleton = Skeleton(
            name=header['skeleton'],
            keypoints=tuple(header['keypoints']),
            # files of earlier versions have no limbs
            limbs=tuple((a, b) for a, b in header.get('limbs', ())),
            flip_pairs=tuple((a, b) for a, b in header['flip_pairs']),
            sigmas=tuple(header['sigmas']) if header['sigmas'] else None,
            centric=header['centric'],
        )
        images = [_parse_row(line, len(skeleton)) for line in lines[1:]]
    except OSError as error:
        reason = error.strerror or error
        raise AnnotationError(f'{path}: {reason}; write it by poseplug test --predictions FILE') from error
    # JSON of another program fails anywhere in between: all of it means the same to the user.
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise AnnotationError(
            f'{path} has no predictions of poseplug ({error}); write it by poseplug test --predictions FILE'
        ) from error
    return PredictionFile(header['name'] or path.stem, skeleton, images)


def _parse_row(row: dict[str, Any], num_keypoints: int) -> ImagePredictions:
    """One image of a file."""
    annotated = _stack_tables([item['keypoints'] for item in row['annotated']], num_keypoints)
    predicted = _stack_tables([item['keypoints'] for item in row['predicted']], num_keypoints)
    return ImagePredictions(
        image=row['image'],
        annotated=annotated[..., :2],
        visible=annotated[..., 2],
        areas=np.array([item['area'] for item in row['annotated']], dtype=float),
        predicted=predicted[..., :2],
        keypoint_scores=predicted[..., 2],
        scores=np.array([item['score'] for item in row['predicted']], dtype=float),
        subjects=np.array([item.get('subject', NO_SUBJECT) for item in row['predicted']], dtype=int),
    )


def _stack_tables(tables: list[Any], num_keypoints: int) -> np.ndarray:
    """Tables (K, 3) as one array (N, K, 3); a missing number is NaN."""
    return np.array(tables, dtype=float).reshape(-1, num_keypoints, 3)
