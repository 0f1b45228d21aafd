"""The contract of an assigner: which cells of a picture shall find whom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from poseplug.grouping.oks import oks


class Truth(NamedTuple):
    """The annotated people of a picture, in input px.

    `keypoints` (N, K, 2), `labelled` (N, K) which of them count, `boxes` (N, 4; x, y of two corners), `areas` (N,) px².
    """

    keypoints: Tensor
    labelled: Tensor
    boxes: Tensor
    areas: Tensor

    def of(self, which: Tensor) -> Truth:
        """The people of a mask or a list of places."""
        return Truth(*(t[which] for t in self))


class Assignment(NamedTuple):
    """`cells` (P,) that shall find the `people` (P,), and how `alike` (P,) their proxies are to them already."""

    cells: Tensor
    people: Tensor
    alike: Tensor


class Assigner(ABC):
    """Gives cells to people. A cell is given once at most; a person may get several."""

    @abstractmethod
    def __call__(self, fields: Mapping[str, Tensor], truth: Truth) -> Assignment:
        """The fields of one picture as a `OneStageHead` gives them, without the batch's dimension, to an assignment."""


def likeness(found: Tensor, truth: Truth, sigmas: Tensor) -> Tensor:
    """(P,) the OKS of joints (P, K, 2) with those of as many people; 0 for people without a labelled joint."""
    areas = truth.areas.clamp(min=1)[:, None, None]
    pairs = (found.float()[:, None], truth.keypoints.float()[:, None])
    return oks(*pairs, areas, sigmas, other_visible=truth.labelled[:, None])[:, 0, 0]
