"""Labels that a model disagrees with, ranked: likely exchanges of left and right, misplaced and missing ones."""

from __future__ import annotations

__all__ = ['LabelSuspect', 'find_label_suspects', 'write_suspect_list', 'write_suspect_page']

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poseplug.core.errors import ImageError
from poseplug.core.geometry import bounding_corners, translation_matrix
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.keypoint_errors import get_error_sigmas, match_predictions, measure_similarities
from poseplug.evaluation.prediction_file import NO_SUBJECT, ImagePredictions, group_predictions
from poseplug.files.atomic import write_atomically
from poseplug.files.images import read_image
from poseplug.report.draw import draw_poses
from poseplug.report.html_parts import render_html_page, render_image_grid, render_section

EXCHANGED, MISPLACED, MISSING = 'left and right exchanged', 'keypoint at another position', 'instance without a label'
_MIN_EXCHANGE_GAIN = 0.5  # of the similarities of a pair together: one of the two must fit far better exchanged
_MIN_MISSING_SCORE = 0.5  # of a predicted instance that no annotated one is similar to
_CROP_PADDING = 0.25  # fraction of an instance's size that is drawn around it
_COLUMNS = ('rank', 'image', 'annotation_id', 'instance', 'finding', 'keypoints', 'strength')


@dataclass(frozen=True)
class LabelSuspect:
    """A label that a model disagrees with.

    Attributes:
        record: the annotations of the image.
        poses: what the model predicts for it.
        instance_index: of the annotated instance in the record; that of the predicted one if a label is missing.
        predicted_index: of the predicted instance.
        finding: what is likely wrong.
        keypoints: the names of the keypoints concerned.
        strength: how sure the model is and how far it disagrees; among equal findings, larger is more likely a wrong
            label.
    """

    record: Record
    poses: Poses
    instance_index: int
    predicted_index: int
    finding: str
    keypoints: tuple[str, ...]
    strength: float

    @property
    def label(self) -> str:
        """The image, and the annotation's id or number."""
        if self.finding == MISSING:
            return self.record.path.name
        instances = self.record.instances
        if instances.has_annotation_id[self.instance_index]:
            return f'{self.record.path.name} (annotation {instances.annotation_ids[self.instance_index]})'
        return f'{self.record.path.name} (instance {self.instance_index + 1})'


def find_label_suspects(predictions: Sequence[tuple[Record, Poses]], skeleton: Skeleton) -> list[LabelSuspect]:
    """Rank the labels that a model disagrees with.

    A pair of left and right is likely exchanged if the predicted keypoints fit it far better the other way around. A
    keypoint is likely misplaced if the model has a high score for another position. Both are weighted by the model's
    scores, so that keypoints that it is unsure of come last.

    Args:
        predictions: of a test on annotated instances (`EvaluationResult.predictions`).
        skeleton: the keypoints.

    Returns:
        One entry per instance with a finding: the strongest of every kind of finding, then the second of every kind,
        and so on, since the strengths of two kinds do not compare.
    """
    sigmas = get_error_sigmas(skeleton)
    suspects: list[LabelSuspect] = []
    for record, poses, image in group_predictions(predictions):
        suspects += _check_image(record, poses, image, skeleton, sigmas)
    return _take_kinds_in_turn(sorted(suspects, key=lambda suspect: -suspect.strength))


def _take_kinds_in_turn(suspects: Sequence[LabelSuspect]) -> list[LabelSuspect]:
    """Order suspects by their rank among those of the same finding, and those of one rank by strength."""
    counts: Counter[str] = Counter()
    ranks = []
    for suspect in suspects:
        ranks.append(counts[suspect.finding])
        counts[suspect.finding] += 1
    order = sorted(range(len(suspects)), key=lambda i: (ranks[i], -suspects[i].strength))
    return [suspects[i] for i in order]


def _check_image(
    record: Record, poses: Poses, image: ImagePredictions, skeleton: Skeleton, sigmas: np.ndarray
) -> Iterator[LabelSuspect]:
    """The suspects of one image, at most one per instance."""
    matches = match_predictions(image, sigmas)
    if len(image.annotated) == len(image.predicted) == 1:
        matches = {0: 0}  # an instance whose label is far off is still the only one
    for n, m in matches.items():
        labeled = image.visible[n] > 0
        scores = np.clip(np.nan_to_num(image.keypoint_scores[m]), 0, 1)
        fits = _compare_keypoints(image, n, m, sigmas)
        exchanged, strength = _find_exchanges(fits, labeled, scores, skeleton)
        if exchanged:
            yield LabelSuspect(record, poses, n, m, EXCHANGED, exchanged, strength)
            # an exchanged pair is also misplaced; one finding is enough
            continue
        doubts = np.where(labeled, scores * (1 - np.diag(fits)), 0.0)
        k = int(np.argmax(doubts))
        if doubts[k] > 0:
            yield LabelSuspect(record, poses, n, m, MISPLACED, (skeleton.keypoints[k],), float(doubts[k]))
    for m in range(len(image.predicted)):
        # NO_SUBJECT: top-down predictions belong to annotated boxes, and are no new instances
        is_unmatched = m not in matches.values() and image.subjects[m] == NO_SUBJECT
        if is_unmatched and image.scores[m] >= _MIN_MISSING_SCORE:
            # half of the score: crowds and ignored regions make these findings less certain
            yield LabelSuspect(record, poses, m, m, MISSING, (), float(image.scores[m]) / 2)


def _compare_keypoints(image: ImagePredictions, index: int, predicted_index: int, sigmas: np.ndarray) -> np.ndarray:
    """Similarity (K, K) of every predicted keypoint to every annotated one of an instance."""
    points = image.predicted[predicted_index]
    # `measure_similarities` compares keypoint k with k, so that each point is tried at every position
    everywhere = np.tile(points[:, None], (1, len(sigmas), 1))
    return measure_similarities(image, everywhere, sigmas)[:, index]


def _find_exchanges(
    fits: np.ndarray, labeled: np.ndarray, scores: np.ndarray, skeleton: Skeleton
) -> tuple[tuple[str, ...], float]:
    """The keypoints that fit better with left and right exchanged, and how much better."""
    names: list[str] = []
    strength = 0.0
    for left, right in skeleton.flip_pairs:
        i, j = skeleton.index(left), skeleton.index(right)
        if labeled[i] and labeled[j]:
            # from -2 to 2, since each similarity is from 0 to 1
            gain = fits[i, j] + fits[j, i] - fits[i, i] - fits[j, j]
            if gain >= _MIN_EXCHANGE_GAIN:
                names += [left, right]
                # the lower score: both keypoints have to be certain
                strength += float(gain * min(scores[i], scores[j]))
    return tuple(names), strength


def write_suspect_list(suspects: Sequence[LabelSuspect], path: Path) -> None:
    """Write the suspects as a CSV file, to work through in a labeling tool.

    Args:
        suspects: in the order of the file.
        path: the file.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(_COLUMNS)
    for rank, suspect in enumerate(suspects, 1):
        is_missing = suspect.finding == MISSING
        instances = suspect.record.instances
        has_id = not is_missing and instances.has_annotation_id[suspect.instance_index]
        annotation_id = instances.annotation_ids[suspect.instance_index] if has_id else ''
        instance = '' if is_missing else suspect.instance_index + 1
        names = ' '.join(suspect.keypoints)
        row = [rank, suspect.record.path, annotation_id, instance, suspect.finding, names, f'{suspect.strength:.4f}']
        writer.writerow(row)
    write_atomically(path, text.getvalue().encode())


def write_suspect_page(suspects: Sequence[LabelSuspect], skeleton: Skeleton, path: Path, max_drawn: int = 50) -> None:
    """Write a page with the strongest suspects drawn: the label on the left, the prediction on the right.

    Args:
        suspects: the strongest first.
        skeleton: the keypoints.
        path: the HTML file.
        max_drawn: number of suspects that are drawn.
    """
    images = []
    for rank, suspect in enumerate(suspects[:max_drawn], 1):
        names = ', '.join(suspect.keypoints)
        caption = f'{rank}. {suspect.label}: {suspect.finding} {names}'.strip()
        try:
            images.append((caption, _draw_suspect(suspect, skeleton)))
        except ImageError as error:
            images.append((f'{caption}: {error}', np.zeros((64, 64, 3), np.uint8)))
    title = 'Labels that the model disagrees with'
    legend = 'Left: the label. Right: the prediction.'
    body = f'<h1>{title}</h1><p>{legend}</p>' + render_section('Strongest first', render_image_grid(images))
    write_atomically(path, render_html_page(title, body).encode())


def _draw_suspect(suspect: LabelSuspect, skeleton: Skeleton) -> np.ndarray:
    """The label and the prediction side by side, (H, W, 3) BGR, cropped to both."""
    record = suspect.record  # labels mean pixels as stored
    image = read_image(record.path, apply_exif=False, byte_range=record.byte_range)
    predicted = suspect.poses.numpy()
    points = [np.asarray(predicted.keypoints[suspect.predicted_index])]
    instances = record.instances
    labels = Poses.empty(len(skeleton))
    if suspect.finding != MISSING:
        visible = instances.visible[suspect.instance_index] > 0
        keypoints = np.asarray(instances.keypoints[suspect.instance_index], dtype=np.float32)
        points.append(keypoints[visible])
        labels = Poses(keypoints[None], visible[None].astype(np.float32), np.ones(1), np.zeros(1, dtype=int))
    prediction = predicted[[suspect.predicted_index]]
    left, top, right, bottom = _find_crop(np.concatenate(points), image.shape[:2])
    crop, image_to_crop = image[top:bottom, left:right], translation_matrix(-left, -top)
    drawn = [draw_poses(crop, poses.transform(image_to_crop), skeleton) for poses in (labels, prediction)]
    return np.concatenate(drawn, axis=1)


def _find_crop(points: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the crop around points, with a margin, within an image of (height, width)."""
    low, high = bounding_corners(points)
    padding = _CROP_PADDING * float(np.max(high - low)) + 4
    left, top = (int(max(value - padding, 0)) for value in low)
    right, bottom = int(min(high[0] + padding, size[1])), int(min(high[1] + padding, size[0]))
    return left, top, max(right, left + 1), max(bottom, top + 1)
