"""How far the predictions of an exported model are from those of its estimator, on images."""

from __future__ import annotations

__all__ = [
    'ExportedEstimator',
    'ParityReport',
    'ParityTolerance',
    'check_parity',
    'compare_results',
    'limit_batches',
    'max_output_differences',
    'render_parity_images',
]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from poseplug.core.batch import Batch
from poseplug.core.errors import MismatchError
from poseplug.core.geometry import transform_points
from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_not_negative, check_probabilities
from poseplug.data.synthetic import render_coco_scene, render_lsp_scene
from poseplug.deploy.exported_model import ExportedModel
from poseplug.grouping.image_instances import boxed_poses_to_image, poses_to_image

_SCENE_SEED, _NUM_SCENES = 5, 4
_MAX_MATCH_SCORE_DIFFERENCE = 0.05  # of two instances that are the same one


@dataclass(frozen=True)
class ParityTolerance:
    """The largest differences that an exported model may have.

    Attributes:
        px: largest distance of a keypoint, in px of the image.
        score: largest difference of the score of a keypoint or an instance.
        min_score: keypoints that the estimator scores lower do not count for `px`: their positions mean nothing, and
            rounding can move them from one peak to another.
        quantile: which of the distances is compared with `px`, from the smallest (0) to the largest (1).

    Example:
        >>> ParityTolerance.for_precision('int8').quantile
        0.95
    """

    px: float = 0.05
    score: float = 1e-3
    min_score: float = 0.05
    quantile: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative('ParityTolerance', px=self.px, score=self.score)
        check_probabilities('ParityTolerance', min_score=self.min_score, quantile=self.quantile)

    @classmethod
    def for_precision(cls, precision: str) -> ParityTolerance:
        """Return the defaults of 'float32', 'float16' or 'int8'."""
        if precision == 'float16':
            return cls(px=1.0, score=0.02, min_score=0.2)
        if precision == 'int8':
            return cls(px=3.0, score=0.2, min_score=0.3, quantile=0.95)
        return cls()


@dataclass(frozen=True)
class ParityReport:
    """The differences of two sets of results.

    Attributes:
        num_images, num_instances: that were compared.
        distances_px: (M,) of the keypoints that count, in ascending order.
        max_score_difference: over keypoints and instances.
        unmatched: the number of instances that only one of both found.
    """

    num_images: int
    num_instances: int
    distances_px: np.ndarray
    max_score_difference: float
    unmatched: int

    def quantile_px(self, quantile: float) -> float:
        """Return the distance that a fraction of the keypoints do not exceed; 0 without any."""
        return float(np.quantile(self.distances_px, quantile)) if len(self.distances_px) else 0.0

    def __str__(self) -> str:
        numbers = f'{self.num_instances} instances in {self.num_images} images, {len(self.distances_px)} keypoints'
        median, worst = self.quantile_px(0.5), self.quantile_px(1.0)
        message = f'{numbers}: median {median:.2g} px, worst {worst:.2g} px, score {self.max_score_difference:.2g}'
        return f'{message}; {self.unmatched} instances found by one alone' if self.unmatched else message

    def check_tolerance(self, tolerance: ParityTolerance, name: str) -> None:
        """Check the differences.

        Args:
            tolerance: what is allowed.
            name: of the exported file, for the message.

        Raises:
            MismatchError: they are larger, or there was nothing to compare.
        """
        distance = self.quantile_px(tolerance.quantile)
        limits = f'{tolerance.px:g} px (--tolerance-px) and {tolerance.score:g} (--tolerance-score)'
        is_near = distance <= tolerance.px and self.max_score_difference <= tolerance.score
        # an instance that one of both lacks is a difference of any size
        if not is_near or self.unmatched:
            raise MismatchError(f'{name} differs from the model by more than {limits}: {self}; no file was left')
        if not self.num_instances:
            raise MismatchError(
                f'{name}: no instance was found in the images, so that nothing is compared; name others'
            )
        if not len(self.distances_px):
            raise MismatchError(
                f'{name}: no keypoint scores {tolerance.min_score:g} or more in the images, so that nothing is '
                f'compared; name others with --images'
            )


def check_parity(
    predictor: Any, exported: Any, images: Sequence[Any], boxes: Sequence[Any] | None, tolerance: ParityTolerance
) -> ParityReport:
    """Predict images by a model and by its exported file, and compare.

    Args:
        predictor: of the model.
        exported: of the file.
        images: as for a predictor.
        boxes: for each image (N, 4; x, y, width, height) or None; None for no boxes.
        tolerance: says which keypoints count.

    Returns:
        The differences.
    """
    expected, actual = (each(list(images), boxes) for each in (predictor, exported))
    return compare_results(expected, actual, tolerance.min_score)


def compare_results(expected: Sequence[Poses], actual: Sequence[Poses], min_score: float = 0.05) -> ParityReport:
    """Compare the instances of several images.

    Args:
        expected: the poses of each image.
        actual: those of another model.
        min_score: keypoints that `expected` scores lower do not count for the distances.
    """
    distances, score_differences = [np.zeros(0)], [0.0]
    unmatched = num_instances = 0
    for expected_poses, actual_poses in zip(expected, actual, strict=True):
        poses, other = expected_poses.numpy(), actual_poses.numpy()
        rows, columns = _match_instances(poses, other)
        num_instances += len(poses)
        unmatched += len(poses) + len(other) - 2 * len(rows)
        counts = np.asarray(poses.keypoint_scores)[rows] >= min_score
        offsets = np.asarray(poses.keypoints)[rows] - np.asarray(other.keypoints)[columns]
        distances.append(np.linalg.norm(offsets, axis=-1)[counts])
        for name in ('keypoint_scores', 'instance_scores'):
            differences = np.abs(np.asarray(getattr(poses, name))[rows] - np.asarray(getattr(other, name))[columns])
            score_differences.append(float(differences.max(initial=0)))
    return ParityReport(
        num_images=len(expected),
        num_instances=num_instances,
        distances_px=np.sort(np.concatenate(distances)),
        max_score_difference=max(score_differences),
        unmatched=unmatched,
    )


def _match_instances(poses: Poses, other: Poses) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the instances of two sets that belong together, nearest first.

    Instances of equal number are paired in their order where each is nearest to its counterpart.
    """
    offsets = np.asarray(poses.keypoints)[:, None] - np.asarray(other.keypoints)[None]
    distances = np.linalg.norm(offsets, axis=-1).mean(axis=-1)
    scores = np.abs(np.asarray(poses.instance_scores)[:, None] - np.asarray(other.instance_scores)[None])
    # one instance of a crop is the same one, however far apart
    if distances.shape == (1, 1):
        return np.zeros(1, int), np.zeros(1, int)
    rows, columns = [], []
    # pairs of other scores come last: where people overlap, the nearest one may be of another person
    costs = distances + np.where(scores > _MAX_MATCH_SCORE_DIFFERENCE, 1e6, 0.0)
    for _ in range(min(costs.shape)):
        row, column = np.unravel_index(np.argmin(costs), costs.shape)
        rows.append(int(row))
        columns.append(int(column))
        # both are matched now
        costs[row], costs[:, column] = np.inf, np.inf
    return np.array(rows, int), np.array(columns, int)


def render_parity_images(finds_instances: bool) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Draw images of the embedded data set.

    Args:
        finds_instances: whether the model finds instances, in images of several people.

    Returns:
        The images (H, W, 3), BGR, and for a model of crops a box (1, 4; x, y, width, height) for each.
    """
    if finds_instances:
        return [render_coco_scene(_SCENE_SEED, 1, index)[0].image for index in range(_NUM_SCENES)], None
    scenes = [render_lsp_scene(_SCENE_SEED, index) for index in range(2 * _NUM_SCENES)]
    return [scene.image for scene, _ in scenes], [np.array([[0, 0, *s.image.shape[1::-1]]]) for s, _ in scenes]


def max_output_differences(model: Any, exported: ExportedModel, images: np.ndarray) -> dict[str, float]:
    """Compare an exported one-stage model with its estimator, before anything is transformed to an image.

    Args:
        model: the estimator, in evaluation mode on the CPU.
        exported: its exported file.
        images: (B, H, W, 3) uint8, BGR, of the input size.

    Returns:
        The largest absolute difference of `keypoints`, `keypoint_scores`, `instance_scores` and `boxes`; positions in
        px of the input.

    Raises:
        MismatchError: they do not find the same number of instances in every image.
    """
    with torch.inference_mode():
        expected = model.postprocess.decode_to_input(model.network(torch.from_numpy(images))[-1]).numpy()
    actual = exported(images)
    if len(actual) != len(expected) or (actual.image_indices != expected.image_indices).any():
        threshold = exported.settings['score_threshold']
        raise MismatchError(
            f'the exported model finds {len(actual)} instances and the estimator {len(expected)}; scores within '
            f'rounding of the threshold ({threshold}) can do that: try another image'
        )
    names = ('keypoints', 'keypoint_scores', 'instance_scores', 'boxes')
    return {name: float(np.abs(getattr(actual, name) - getattr(expected, name)).max(initial=0)) for name in names}


class ExportedEstimator:
    """An exported model in place of its estimator, for an evaluation on the data of a config.

    Args:
        exported: the model.
    """

    def __init__(self, exported: ExportedModel):
        self.exported = exported

    def predict(self, batch: Batch) -> list[Poses]:
        """Predict the instances of every image of a batch, NumPy arrays in image px."""
        # the first view; the loader's pipeline has one (`remove_views`)
        images = batch.images[:, 0].numpy()
        if batch.view_sizes:
            width, height = batch.view_sizes[0]
            # batches of inputs of several sizes are padded to the largest
            images = images[:, :height, :width]
        poses = self.exported(np.ascontiguousarray(images)).split_by_image(len(images))
        matrices = batch.input_to_image().numpy()
        return [self._to_image(image_poses, matrices[n], batch, n) for n, image_poses in enumerate(poses)]

    def _to_image(self, poses: Poses, input_to_image: np.ndarray, batch: Batch, index: int) -> Poses:
        kind = self.exported.settings['kind']
        if kind == 'one_stage':
            return boxed_poses_to_image(poses, input_to_image, batch.image_sizes[index])
        if kind in ('paf', 'tags'):
            return poses_to_image(poses, input_to_image)
        keypoints = transform_points(input_to_image, np.asarray(poses.keypoints)).astype(np.float32)
        subject = batch.records[index].instances[:1]
        return replace(
            poses,
            keypoints=keypoints,
            boxes=np.asarray(subject.boxes, np.float32) if subject.has_box.any() else None,
            ids=subject.annotation_ids if subject.has_annotation_id.any() else None,
        )


def limit_batches(loader: Iterable[Batch], max_images: int) -> Iterable[Batch]:
    """Yield the batches of a loader until they hold enough images."""
    count = 0
    for batch in loader:
        yield batch
        count += len(batch)
        if count >= max_images:
            return
