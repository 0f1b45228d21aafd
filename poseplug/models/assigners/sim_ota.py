"""SimOTA (Ge et al. 2021, arXiv:2107.08430) with the OKS of keypoints in its cost (RTMO, arXiv:2312.07526)."""

from __future__ import annotations

__all__ = ['SimOTA']

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.core.boxes import aligned_box_iou
from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_counts, check_not_negative, check_positive, check_positive_lists
from poseplug.models.assigners.base import Assigner, Assignment, GroundTruthInstances, compute_keypoint_oks
from poseplug.registry import MODELS

# As released. Single precision has steps of 8 at this size, so that costs hardly order such candidates.
_PARTIAL_CANDIDATE_COST = 1e8  # added to a candidate that is not both in the box and near the center
_MIN_SIMILARITY = 1e-7  # smallest IoU or OKS whose logarithm is taken


@MODELS.register_module()
class SimOTA(Assigner):
    """Assign to every instance as many cells as already predict it well, the cheapest first.

    The candidates of an instance are the cells in its box, and those near its center. A candidate costs -ln IoU of its
    box, -ln OKS of its proxy keypoints and -ln of its score, each times a weight, and much more if it is a candidate by
    only one of the two criteria. The number of cells of an instance is the sum of its largest OKS, rounded down, and at
    least 1. A cell that several instances select is assigned to the one that it costs least; an instance that is left
    without a cell receives its cheapest free candidate.

    Args:
        sigmas: OKS sigma of every keypoint; provided by the skeleton.
        center_radius: Largest distance from the center on either axis, in strides of the cell.
        center_from: Whether the center is the mean of the labeled 'keypoints' or the center of the 'box'.
        candidate_topk: Number of largest OKS whose sum is the number of cells.
        cost_weights: Weights of the box, the keypoints and the score in the cost.

    Raises:
        ConfigError: The skeleton has no sigmas, or a setting is out of its range.
    """

    needs: ClassVar[tuple[str, ...]] = ('sigmas',)

    def __init__(
        self,
        sigmas: Sequence[float] | None,
        center_radius: float = 2.5,
        center_from: Literal['keypoints', 'box'] = 'keypoints',
        candidate_topk: int = 10,
        cost_weights: Sequence[float] = (3.0, 3.0, 1.0),
    ):
        if sigmas is None:
            raise ConfigError('SimOTA compares keypoints by OKS, but the skeleton has no sigmas; add sigmas to it')
        check_positive_lists('SimOTA', sigmas=sigmas)
        cost_weights = tuple(cost_weights)
        if center_from not in ('keypoints', 'box') or len(cost_weights) != 3:
            raise ConfigError(
                f"SimOTA: center_from is 'keypoints' or 'box', and cost_weights has three values; got {center_from=}, "
                f'{cost_weights=}'
            )
        check_positive('SimOTA', center_radius=center_radius)
        check_counts('SimOTA', candidate_topk=candidate_topk)
        for weight in cost_weights:
            check_not_negative('SimOTA', cost_weights=weight)
        self.sigmas = torch.tensor(tuple(sigmas), dtype=torch.float32)
        self.center_radius, self.center_from = center_radius, center_from
        self.candidate_topk, self.cost_weights = candidate_topk, cost_weights

    @torch.no_grad()
    def __call__(self, fields: Mapping[str, Tensor], ground_truth: GroundTruthInstances) -> Assignment:
        in_box, near_center = self.find_candidates(fields['points'], fields['strides'], ground_truth)
        instances, cells = (in_box | near_center).nonzero(as_tuple=True)
        # P pairs of an instance and a candidate.
        proxies, sigmas = fields['proxy'][cells], self.sigmas.to(fields['proxy'])
        oks = compute_keypoint_oks(proxies, ground_truth.select_rows(instances), sigmas)
        ious = aligned_box_iou(fields['box'][cells].float(), ground_truth.boxes[instances].float())
        cost = self._compute_cost(ious, oks, fields['score'][cells].float())
        cost = cost + _PARTIAL_CANDIDATE_COST * ~(in_box & near_center)[instances, cells]
        # From candidates (P,) to tables (N, A).
        costs, similarities = torch.full(in_box.shape, torch.inf).to(cost), torch.zeros(in_box.shape).to(cost)
        costs[instances, cells], similarities[instances, cells] = cost, oks
        assigned = resolve_conflicts(self.select_cells(costs, similarities), costs)
        instances, cells = assigned.nonzero(as_tuple=True)
        return Assignment(cells, instances, similarities[instances, cells])

    def _compute_cost(self, ious: Tensor, oks: Tensor, score_logits: Tensor) -> Tensor:
        """(P,) costs of candidates: the weighted sum of -ln IoU, -ln OKS and -ln score."""
        box_weight, keypoint_weight, score_weight = self.cost_weights
        box_cost = box_weight * -ious.clamp(min=_MIN_SIMILARITY).log()
        keypoint_cost = keypoint_weight * -oks.clamp(min=_MIN_SIMILARITY).log()
        # -ln sigmoid(x) = softplus(-x)
        return box_cost + keypoint_cost + score_weight * F.softplus(-score_logits)

    def find_candidates(
        self, points: Tensor, strides: Tensor, ground_truth: GroundTruthInstances
    ) -> tuple[Tensor, Tensor]:
        """Find the cells in the boxes of instances, and those near their centers.

        Args:
            points: (A, 2), positions of the cells in px.
            strides: (A,), strides of the cells.
            ground_truth: N instances.

        Returns:
            (N, A), whether a cell lies in the box, and (N, A), whether it lies near the center.
        """
        low, high = ground_truth.boxes[:, None, :2], ground_truth.boxes[:, None, 2:]
        in_box = ((points > low) & (points < high)).all(dim=-1)
        centers = (ground_truth.boxes[:, :2] + ground_truth.boxes[:, 2:]) / 2
        if self.center_from == 'keypoints':
            labeled = ground_truth.labeled[..., None]
            means = (ground_truth.keypoints * labeled).sum(dim=1) / labeled.sum(dim=1).clamp(min=1)
            centers = torch.where(labeled.any(dim=1), means, centers)
        distances = (points - centers[:, None]).abs().amax(dim=-1)
        return in_box, distances < self.center_radius * strides

    def select_cells(self, costs: Tensor, similarities: Tensor) -> Tensor:
        """Select the cheapest cells of every instance.

        Args:
            costs: (N, A), infinite for a cell that is no candidate.
            similarities: (N, A), OKS.

        Returns:
            (N, A), whether the instance selects the cell.
        """
        topk = min(self.candidate_topk, costs.shape[1])
        counts = similarities.topk(topk, dim=1).values.sum(dim=1).floor().clamp(min=1)
        # An instance may have fewer candidates than it should have cells: infinite costs are no candidates.
        cheapest = costs.topk(topk, dim=1, largest=False)
        is_selected = torch.arange(topk, device=costs.device) < counts[:, None]
        selected = torch.zeros_like(costs, dtype=torch.bool)
        return selected.scatter(1, cheapest.indices, is_selected & cheapest.values.isfinite())


def resolve_conflicts(selected: Tensor, costs: Tensor) -> Tensor:
    """Assign every selected cell to one instance, and a free candidate to every instance that is left without a cell.

    Args:
        selected: (N, A), whether an instance selects a cell.
        costs: (N, A), infinite for a cell that is no candidate.

    Returns:
        (N, A), whether a cell is assigned to an instance.
    """
    if not len(selected):
        return selected
    selected_costs = torch.where(selected, costs, torch.inf)
    cheapest = torch.zeros_like(selected).scatter(0, selected_costs.argmin(dim=0, keepdim=True), True)
    assigned = selected & cheapest
    unassigned = ~assigned.any(dim=1) & costs.isfinite().any(dim=1)
    for instance in unassigned.nonzero()[:, 0].tolist():
        # Sequential, since each choice takes a cell away from the next instance.
        free_costs = torch.where(assigned.any(dim=0), torch.inf, costs[instance])
        if free_costs.isfinite().any():
            assigned[instance, free_costs.argmin()] = True
    return assigned
