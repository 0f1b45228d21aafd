"""The contract of an assigner: which cells of an image learn to predict which instance."""

from __future__ import annotations

__all__ = ['Assigner', 'Assignment', 'GroundTruthInstances', 'compute_keypoint_oks']

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from poseplug.grouping.oks import oks


class GroundTruthInstances(NamedTuple):
    """The annotated instances of an image.

    Attributes:
        keypoints: (N, K, 2), input px.
        labeled: (N, K), whether a keypoint is labeled.
        boxes: (N, 4), xyxy in input px.
        areas: (N,), px².
    """

    keypoints: Tensor
    labeled: Tensor
    boxes: Tensor
    areas: Tensor

    def select_rows(self, indices: Tensor) -> GroundTruthInstances:
        """Return the instances of a mask (N,) or of indices (M,)."""
        return GroundTruthInstances(*(t[indices] for t in self))


class Assignment(NamedTuple):
    """Cells that learn to predict instances.

    Attributes:
        cell_indices: (P,), the cells.
        instance_indices: (P,), the instance of each.
        oks: (P,), OKS of the cell's proxy keypoints with the instance.
    """

    cell_indices: Tensor
    instance_indices: Tensor
    oks: Tensor


class Assigner(ABC):
    """Assigns cells to instances. A cell has one instance at most; an instance may have several cells."""

    @abstractmethod
    def __call__(self, fields: Mapping[str, Tensor], ground_truth: GroundTruthInstances) -> Assignment:
        """Assign the cells of one image.

        Args:
            fields: The fields of a `OneStageHead`, without the dimension of the batch.
            ground_truth: The annotated instances.

        Returns:
            The assignment.
        """


def compute_keypoint_oks(predicted: Tensor, ground_truth: GroundTruthInstances, sigmas: Tensor) -> Tensor:
    """Compute the OKS of predicted keypoints with one annotated instance each.

    Args:
        predicted: (P, K, 2), input px.
        ground_truth: P instances.
        sigmas: (K,), OKS sigmas.

    Returns:
        (P,); 0 for an instance without a labeled keypoint.
    """
    # An area of 0 would divide by 0.
    areas = ground_truth.areas.clamp(min=1)[:, None, None]
    # A batch of P images with one prediction and one annotation each: `oks` compares all with all.
    pairs = (predicted.float()[:, None], ground_truth.keypoints.float()[:, None])
    return oks(*pairs, areas, sigmas, other_visible=ground_truth.labeled[:, None])[:, 0, 0]
