"""Joints as plain numbers (Toshev and Szegedy 2014, arXiv:1312.4659), alone or with how far they may be off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Codec, Fields, Targets
from poseplug.codecs.heatmap import one_person
from poseplug.codecs.subject import subject
from poseplug.geometry import Size
from poseplug.poses import Poses
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class Regression(Codec):
    """x and y of every joint of the subject, as shares of the input's width and height.

    A joint outside the input, where a share is not within 0 and 1, counts as little as one without label.
    """

    score: ClassVar[str] = '1, since a point does not tell how sure it is'
    tolerance: ClassVar[float] = 0.01
    kind: ClassVar[str] = 'points'

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {'keypoints': (len(self.skeleton), 2)}

    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        points, inside = shares(*subject(keypoints, visible, people), self.input_size)
        return Targets(({'keypoints': points},), {'keypoints': inside.float()})

    def decode(self, fields: Fields) -> Poses:
        points = fields['keypoints']
        return one_person(pixels(points, self.input_size), torch.ones_like(points[..., 0]))

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        return {'keypoints': mirrored(fields['keypoints'][:, self.mirror_channels['keypoints']], self.input_size)}


@CODECS.register_module()
@dataclass(frozen=True)
class RLERegression(Regression):
    """x and y of every joint, and the spread of each, all as shares of the input (Li et al. 2021, arXiv:2107.11291).

    A joint's four numbers are x, y, and the scales of the distributions of their errors, which should be 0.
    """

    score: ClassVar[str] = '1 minus the mean spread of x and y, clipped to 0..1'

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {'keypoints': (len(self.skeleton), 4)}

    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        targets = super().encode(keypoints, visible, people)
        return Targets(({'keypoints': F.pad(targets.at(0)['keypoints'], (0, 2))},), targets.weights)

    def decode(self, fields: Fields) -> Poses:
        points, spreads = fields['keypoints'].split(2, dim=-1)
        return one_person(pixels(points, self.input_size), (1 - spreads.mean(dim=-1)).clamp(0, 1))


def shares(joints: Tensor, placed: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Joints (B, K, 2) in px as shares of the input, and (B, K) which of the placed lie inside; others are at 0."""
    points = joints / joints.new_tensor(size)
    inside = placed & ((points >= 0) & (points <= 1)).all(dim=-1)
    return torch.where(inside[..., None], points, 0.0), inside


def pixels(points: Tensor, size: Size) -> Tensor:
    """Shares (..., 2) of the input as positions in input pixels."""
    return points * torch.tensor(size, dtype=torch.promote_types(points.dtype, torch.float32), device=points.device)


def mirrored(points: Tensor, size: Size) -> Tensor:
    """Shares (..., 2 or more; x first) of a mirrored input as those of the input: x px to width - 1 - x."""
    return torch.cat([(size[0] - 1) / size[0] - points[..., :1], points[..., 1:]], dim=-1)
