"""SimOTA (Ge et al. 2021, arXiv:2107.08430) with the likeness of joints in its cost (RTMO, arXiv:2312.07526)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.errors import ConfigError
from poseplug.grouping.boxes import iou
from poseplug.models.assigners.base import Assigner, Assignment, Truth, likeness
from poseplug.registry import MODELS

AWKWARD = 1e8  # the cost of a cell that is not both in the box and near the middle
LEAST = 1e-7  # IoU or OKS whose logarithm is taken


@MODELS.register_module()
class SimOTA(Assigner):
    """Everybody gets as many cells as predict them well already, the cheapest first.

    A person's candidates are the cells in their box, and those within `radius` strides of their middle on either axis:
    that of the labelled joints, or of the box. A candidate costs `weights` times (-ln IoU of its box, -ln OKS of its
    proxies, -ln of its score), and much more where it is a candidate by one of the two reasons alone. The sum of the
    `best` largest OKS, rounded down, is how many a person gets, 1 at least. A cell that several want goes to whom it
    costs least; whoever is then without one gets the cheapest candidate that nobody wants.
    """

    def __init__(
        self,
        sigmas: Sequence[float] | None,
        radius: float = 2.5,
        middle: Literal['joints', 'box'] = 'joints',
        best: int = 10,
        weights: Sequence[float] = (3.0, 3.0, 1.0),
    ):
        if sigmas is None:
            raise ConfigError('SimOTA compares joints by OKS, for which the skeleton has no sigmas; give it some')
        if middle not in ('joints', 'box') or best < 1 or len(weights) != 3:
            raise ConfigError(
                f"SimOTA: middle is 'joints' or 'box', best at least 1 and weights are three; got {middle!r}, {best}, "
                f'{tuple(weights)}'
            )
        self.sigmas = torch.tensor(tuple(sigmas), dtype=torch.float32)
        self.radius, self.middle, self.best, self.weights = radius, middle, best, tuple(weights)

    @torch.no_grad()
    def __call__(self, fields: Mapping[str, Tensor], truth: Truth) -> Assignment:
        inside, near = self.where(fields['points'], fields['strides'], truth)
        people, cells = (inside | near).nonzero(as_tuple=True)
        alike = likeness(fields['proxy'][cells], truth.of(people), self.sigmas.to(fields['proxy']))
        overlap = iou(fields['box'][cells].float(), truth.boxes[people].float())
        unsure = F.softplus(-fields['score'][cells].float())
        box, joints, score = self.weights
        cost = box * -overlap.clamp(min=LEAST).log() + joints * -alike.clamp(min=LEAST).log() + score * unsure
        cost = cost + AWKWARD * ~(inside & near)[people, cells]
        costs, likenesses = torch.full(inside.shape, torch.inf).to(cost), torch.zeros(inside.shape).to(cost)
        costs[people, cells], likenesses[people, cells] = cost, alike
        given = settled(self.wanted(costs, likenesses), costs)
        people, cells = given.nonzero(as_tuple=True)
        return Assignment(cells, people, likenesses[people, cells])

    def where(self, points: Tensor, strides: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
        """Which cells (N, A) lie in each person's box, and which near their middle."""
        low, high = truth.boxes[:, None, :2], truth.boxes[:, None, 2:]
        inside = ((points > low) & (points < high)).all(dim=-1)
        middles = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
        if self.middle == 'joints':
            counts = truth.labelled[..., None]
            mean = (truth.keypoints * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
            middles = torch.where(counts.any(dim=1), mean, middles)
        away = (points - middles[:, None]).abs().amax(dim=-1)
        return inside, away < self.radius * strides

    def wanted(self, costs: Tensor, likenesses: Tensor) -> Tensor:
        """Which cells (N, A) each person wants."""
        most = min(self.best, costs.shape[1])
        counts = likenesses.topk(most, dim=1).values.sum(dim=1).floor().clamp(min=1)
        cheapest = costs.topk(most, dim=1, largest=False)
        wants = torch.arange(most, device=costs.device) < counts[:, None]
        chosen = torch.zeros_like(costs, dtype=torch.bool)
        return chosen.scatter(1, cheapest.indices, wants & cheapest.values.isfinite())


def settled(wants: Tensor, costs: Tensor) -> Tensor:
    """Who gets which cell (N, A): each one person at most, and nobody nothing where a candidate is left."""
    if not len(wants):
        return wants
    claims = torch.where(wants, costs, torch.inf)
    cheapest = torch.zeros_like(wants).scatter(0, claims.argmin(dim=0, keepdim=True), True)
    given = wants & cheapest
    without = ~given.any(dim=1) & costs.isfinite().any(dim=1)
    for person in without.nonzero()[:, 0].tolist():
        left = torch.where(given.any(dim=0), torch.inf, costs[person])
        if left.isfinite().any():
            given[person, left.argmin()] = True
    return given
