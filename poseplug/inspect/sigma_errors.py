"""The sigmas that RTMO predicts against its true errors (Lu et al. 2023, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from poseplug.codecs.dense_instances import gather_cell_fields
from poseplug.core.batch import Batch
from poseplug.core.boxes import box_iou
from poseplug.core.errors import ConfigError
from poseplug.engine.dataloaders import build_dataloader
from poseplug.models.estimators.one_stage_criterion import extract_ground_truths

_MIN_IOU = 0.5  # of the boxes of a predicted instance and the annotated one that it is compared with


@dataclass(frozen=True)
class SigmaErrors:
    """Labeled keypoints of predicted instances.

    Attributes:
        expected_px: (M,) mean absolute error per axis that the predicted sigma stands for, 2 sigma size.
        errors_px: (M,) absolute error, the mean of both axes.
    """

    expected_px: np.ndarray
    errors_px: np.ndarray

    @property
    def rank_correlation(self) -> float:
        """Spearman's correlation of the expected and the true errors; NaN where one of them is constant."""
        if len(self.errors_px) < 2 or np.ptp(self.expected_px) == 0 or np.ptp(self.errors_px) == 0:
            return float('nan')
        # the argsort of an argsort is the rank
        expected, errors = (np.argsort(np.argsort(values)) for values in (self.expected_px, self.errors_px))
        return float(np.corrcoef(expected, errors)[0, 1])

    def summarize(self, num_groups: int = 5) -> list[dict[str, Any]]:
        """Summarize groups of equal size, by ascending expected error.

        Args:
            num_groups: their number; fewer if there are fewer keypoints.

        Returns:
            For each the number of keypoints, the mean expected error and the mean true error in px.
        """
        order = np.argsort(self.expected_px, kind='stable')
        groups = [group for group in np.array_split(order, num_groups) if len(group)]
        return [
            dict(
                group=i + 1,
                keypoints=len(group),
                expected_px=float(self.expected_px[group].mean()),
                error_px=float(self.errors_px[group].mean()),
            )
            for i, group in enumerate(groups)
        ]


@torch.inference_mode()
def collect_sigma_errors(cfg: Any, model: Any, seed: int = 0) -> SigmaErrors:
    """Predict the test set and compare predicted sigmas with true errors, in input pixels.

    Args:
        cfg: the config, whose test set is used.
        model: its estimator, `OneStage` with a head that predicts distributions.
        seed: of the loader.

    Raises:
        ConfigError: the model predicts no distributions, or no predicted instance is an annotated one.
    """
    head = model.network.active_parts()['head']
    if not hasattr(head, 'predict_distributions'):
        raise ConfigError(f'sigmas are predicted by OneStage with RTMOHead; got {type(head).__name__}')
    expected: list[np.ndarray] = []
    errors: list[np.ndarray] = []
    batches: Iterable[Batch] = build_dataloader(cfg, 'test_dataloader', seed)
    for batch in batches:
        _collect_batch(model, head, batch.to(model.device), expected, errors)
    if not expected:
        raise ConfigError('no predicted instance overlaps an annotated one by half; train the weights longer')
    return SigmaErrors(np.concatenate(expected), np.concatenate(errors))


def _collect_batch(model: Any, head: Any, batch: Batch, expected: list[np.ndarray], errors: list[np.ndarray]) -> None:
    """Add the keypoints of one batch."""
    # of the first view and the last stage
    fields = model.predict_fields(batch)[0][-1]
    images, cells = model.postprocess.codec.select_cells(fields)
    instances = gather_cell_fields(fields, images, cells)
    distributions = head.predict_distributions(instances)
    keypoints, sigmas = distributions.expected_keypoints(), distributions.relative_sigmas
    for image, truth in enumerate(extract_ground_truths(batch)):
        rows = (images == image).nonzero()[:, 0]
        for row, annotated in _match_boxes(instances['box'][rows], truth.boxes):
            labeled = truth.labeled[annotated]
            distances = (keypoints[rows[row]] - truth.keypoints[annotated]).abs().mean(dim=-1)
            # RTMO's likelihood is a Laplace distribution: its mean absolute error is its scale
            scale = 2 * sigmas[rows[row]] * truth.areas[annotated].clamp(min=1).sqrt()
            expected.append(scale[labeled].cpu().numpy())
            errors.append(distances[labeled].cpu().numpy())


def _match_boxes(boxes: torch.Tensor, annotated_boxes: torch.Tensor) -> Sequence[tuple[int, int]]:
    """The pairs of predicted and annotated boxes that overlap, each annotated one with the highest-scoring."""
    if not len(boxes) or not len(annotated_boxes):
        return []
    ious = box_iou(boxes.float(), annotated_boxes.float())
    pairs: dict[int, int] = {}
    for row in range(len(boxes)):
        best = int(ious[row].argmax())
        if ious[row, best] >= _MIN_IOU:
            # rows are sorted by score, so that the first one stays
            pairs.setdefault(best, row)
    return [(row, annotated) for annotated, row in pairs.items()]
