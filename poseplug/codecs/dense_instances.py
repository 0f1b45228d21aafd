"""An instance in every cell of a network: its score, box and keypoints (YOLOX, RTMO)."""

from __future__ import annotations

__all__ = ['DenseInstances']

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poseplug.codecs.base import Codec, Fields, Targets
from poseplug.codecs.heatmap import labeled_mask
from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_counts, check_number, check_probabilities
from poseplug.grouping.nms_mask import nms_mask
from poseplug.registry import CODECS

_CONFIDENT_LOGIT = 10.0  # of targets: a probability of 1 but for 5e-5
_LOGGER = logging.getLogger(__name__)


@CODECS.register_module()
@dataclass(frozen=True)
class DenseInstances(Codec):
    """The instances of all cells, without those whose box a higher-scoring one overlaps.

    Fields, of A cells in any arrangement: 'score' (B, A) and 'visible' (B, A, K) are logits; 'box' (B, A, 4; xyxy) and
    'keypoints' (B, A, K, 2) are in input pixels. An instance has the score of its cell. What `nms_pre` and
    `max_instances` drop is counted in the log.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        score_threshold: an instance's score is above this.
        nms_threshold: a box is suppressed if its IoU with a kept one of higher score is above this.
        nms_pre: the highest-scoring cells of each image that are candidates.
        max_instances: the highest-scoring instances kept of each image.
        match: 'mmpose' fits images into the input as MMPose does.

    Raises:
        ConfigError: if a threshold is not within 0 and 1, or a number is below 1.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> codec = DenseInstances(COCO, input_size=(640, 640))
        >>> fields = {'score': torch.tensor([[2.0, -9.0]]), 'visible': torch.zeros(1, 2, 17),
        ...           'box': torch.zeros(1, 2, 4), 'keypoints': torch.zeros(1, 2, 17, 2)}
        >>> len(codec.decode(fields))
        1
    """

    # RTMO's test settings.
    score_threshold: float = 0.1
    nms_threshold: float = 0.65
    nms_pre: int = 1000
    max_instances: int = 300

    matches: ClassVar[tuple[str, ...]] = ('poseplug', 'mmpose')
    score_meaning: ClassVar[str] = 'probability that the keypoint is visible, predicted by the network, 0..1'
    tolerance: ClassVar[float] = 0.01
    field_kind: ClassVar[str] = 'instances'

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number('DenseInstances', 'score_threshold', self.score_threshold, 0, 1, below=True)
        check_probabilities('DenseInstances', nms_threshold=self.nms_threshold)
        check_counts('DenseInstances', nms_pre=self.nms_pre, max_instances=self.max_instances)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {'keypoints': (len(self.skeleton), 2)}

    def encode(self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None) -> Targets:
        """Encode what a cell should predict for each instance.

        An instance with a labeled keypoint gets the highest score; its box is the smallest around those keypoints.

        Args:
            keypoints: (B, N, K, 2) x, y in input pixels.
            visible: (B, N, K) 0 for a keypoint that is not labeled.
            valid: (B, N) bool, False for padding; all are instances by default.
        """
        labeled = labeled_mask(visible, valid)
        mask, is_instance = labeled[..., None], labeled.any(dim=-1)
        low = torch.where(mask, keypoints, torch.inf).amin(dim=-2)
        high = torch.where(mask, keypoints, -torch.inf).amax(dim=-2)
        fields = {
            'score': torch.where(is_instance, _CONFIDENT_LOGIT, -_CONFIDENT_LOGIT),
            'visible': torch.where(labeled, _CONFIDENT_LOGIT, -_CONFIDENT_LOGIT),
            'box': torch.where(is_instance[..., None], torch.cat([low, high], dim=-1), 0.0),
            'keypoints': torch.where(mask, keypoints, 0.0),
        }
        return Targets((fields,), {'keypoints': labeled.float(), 'box': is_instance.float()})

    def decode(self, fields: Fields) -> Poses:
        """Decode the fields to the instances of every image, highest score first, in input pixels."""
        image_indices, cells = self.select_cells(fields)
        return self.to_poses(gather_cell_fields(fields, image_indices, cells), image_indices)

    def select_cells(self, fields: Fields) -> tuple[Tensor, Tensor]:
        """Select the cells that are instances, by 'score' and 'box' alone.

        Returns:
            The image (N,) and the cell (N,) of each instance, image by image, highest score first.
        """
        # topk orders NaN before every number: a damaged cell would come out as the best instance.
        scores = fields['score'].float().sigmoid().nan_to_num(0.0)
        top_scores, cells = scores.topk(min(self.nms_pre, scores.shape[1]), dim=1)
        is_candidate = top_scores > self.score_threshold
        # Candidates come first: the columns behind those of the fullest image need no suppression.
        max_candidates = int(is_candidate.sum(dim=1).max()) if is_candidate.numel() else 0
        is_candidate, cells = is_candidate[:, :max_candidates], cells[:, :max_candidates]
        boxes = fields['box'].float().gather(1, cells[..., None].expand(-1, -1, 4))
        is_instance = nms_mask(boxes, is_candidate, self.nms_threshold)
        self._log_dropped((scores > self.score_threshold).sum(dim=1), is_instance.sum(dim=1))
        # Candidates are in order of their scores, so that counting along them keeps the highest.
        is_instance = is_instance & (is_instance.cumsum(dim=1) <= self.max_instances)
        image_indices, ranks = is_instance.nonzero(as_tuple=True)
        return image_indices, cells[image_indices, ranks]

    def _log_dropped(self, num_above_threshold: Tensor, num_instances: Tensor) -> None:
        """Log what the limits drop, by image: cells above the threshold (B,) and instances after suppression (B,)."""
        counts = torch.stack([num_above_threshold, num_instances], dim=1).tolist()
        for i, (num_cells, count) in enumerate(counts):
            dropped_cells, dropped_instances = max(num_cells - self.nms_pre, 0), max(count - self.max_instances, 0)
            if dropped_cells or dropped_instances:
                _LOGGER.info(
                    'image %d: nms_pre=%d dropped %d of %d cells above score_threshold, max_instances=%d dropped %d of '
                    '%d instances',
                    *(i, self.nms_pre, dropped_cells, num_cells, self.max_instances, dropped_instances, count),
                )

    def to_poses(self, cell_fields: Mapping[str, Tensor], image_indices: Tensor) -> Poses:
        """Return instances from the fields of their cells.

        Args:
            cell_fields: every field (N, ...).
            image_indices: (N,) image of each instance.
        """
        return Poses(
            keypoints=cell_fields['keypoints'].float(),
            keypoint_scores=cell_fields['visible'].float().sigmoid(),
            instance_scores=cell_fields['score'].float().sigmoid(),
            image_indices=image_indices,
            boxes=cell_fields['box'].float(),
        )

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Convert the fields of a flipped input to those of the input.

        Cells keep their order, so that a cell's fields are those of another position than in the input's fields.
        """
        order, last = self.skeleton.flip_indices.tolist(), self.input_size[0] - 1
        left, top, right, bottom = fields['box'].unbind(-1)
        box = torch.stack([last - right, top, last - left, bottom], dim=-1)
        x, y = fields['keypoints'][..., order, :].unbind(-1)
        keypoints = torch.stack([last - x, y], dim=-1)
        return {**fields, 'visible': fields['visible'][..., order], 'box': box, 'keypoints': keypoints}


def gather_cell_fields(fields: Fields, image_indices: Tensor, cells: Tensor) -> dict[str, Tensor]:
    """Gather every field (N, ...) of cells.

    Args:
        fields: each (B, A, ...), and those that all images share, 'points' and 'strides', (A, ...).
        image_indices, cells: (N,) image and cell of each instance.
    """
    shared = ('points', 'strides')
    return {name: f[cells] if name in shared else f[image_indices, cells] for name, f in fields.items()}
