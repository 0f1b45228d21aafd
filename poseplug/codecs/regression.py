"""Keypoints as plain numbers (Toshev and Szegedy 2014, arXiv:1312.4659), alone or with the scale of their errors."""

from __future__ import annotations

__all__ = ['RLERegression', 'Regression']

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Codec, Fields, Targets
from poseplug.codecs.heatmap import keypoints_to_poses
from poseplug.codecs.subject import select_subject
from poseplug.core.geometry import Size
from poseplug.core.poses import Poses
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class Regression(Codec):
    """x and y of every keypoint of the subject, as fractions of the input's width and height.

    A keypoint outside the input, where a fraction is not within 0 and 1, does not count in the loss.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        match: 'mmpose' crops as MMPose does.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> codec = Regression(COCO, input_size=(192, 256))
        >>> codec.decode({'keypoints': torch.full((1, 17, 2), 0.5)}).keypoints[0, 0].tolist()
        [96.0, 128.0]
    """

    matches: ClassVar[tuple[str, ...]] = ('poseplug', 'mmpose')
    score_meaning: ClassVar[str] = '1, because a point carries no confidence'
    tolerance: ClassVar[float] = 0.01
    field_kind: ClassVar[str] = 'points'

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {'keypoints': (len(self.skeleton), 2)}

    def encode(self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None) -> Targets:
        points, inside = normalize_keypoints(*select_subject(keypoints, visible, valid), self.input_size)
        return Targets(({'keypoints': points},), {'keypoints': inside.float()})

    def decode(self, fields: Fields) -> Poses:
        """Decode fractions (B, K, 2) to one instance per image, in input pixels."""
        points = fields['keypoints']
        return keypoints_to_poses(denormalize_keypoints(points, self.input_size), torch.ones_like(points[..., 0]))

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Convert the fractions of a flipped input to those of the input."""
        exchanged = fields['keypoints'][:, self.flip_channels['keypoints']]
        return {'keypoints': flip_normalized_keypoints(exchanged, self.input_size)}


@CODECS.register_module()
@dataclass(frozen=True)
class RLERegression(Regression):
    """x and y of every keypoint, and the scale of each error, as fractions (Li et al. 2021, arXiv:2107.11291).

    The four numbers of a keypoint are x, y, and the scales of the distributions of their errors, whose target is 0.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> RLERegression(COCO, input_size=(192, 256)).shapes
        {'keypoints': (17, 4)}
    """

    score_meaning: ClassVar[str] = '1 minus the mean error scale of x and y, clipped to 0..1'

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {'keypoints': (len(self.skeleton), 4)}

    def encode(self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None) -> Targets:
        targets = super().encode(keypoints, visible, valid)
        return Targets(({'keypoints': F.pad(targets.stage_fields(0)['keypoints'], (0, 2))},), targets.weights)

    def decode(self, fields: Fields) -> Poses:
        """Decode fractions and error scales (B, K, 4) to one instance per image, in input pixels, with their sigmas."""
        points, error_scales = fields['keypoints'].split(2, dim=-1)
        # The score of the authors' code.
        scores = (1 - error_scales.mean(dim=-1)).clamp(0, 1)
        # The root of the mean square in px of x and y, for one number of both axes.
        sigmas_px = denormalize_keypoints(error_scales, self.input_size).square().mean(dim=-1).sqrt()
        return keypoints_to_poses(denormalize_keypoints(points, self.input_size), scores, sigmas_px)


def normalize_keypoints(keypoints: Tensor, labeled: Tensor, input_size: Size) -> tuple[Tensor, Tensor]:
    """Convert input pixels to fractions of the input.

    Args:
        keypoints: (B, K, 2) x, y in input pixels.
        labeled: (B, K) bool.
        input_size: (width, height) in pixels.

    Returns:
        (B, K, 2), and which of the labeled keypoints (B, K) lie inside the input; the others are at 0.
    """
    # By the size, not by size - 1: converted weights of MMPose predict fractions of the size.
    points = keypoints / keypoints.new_tensor(input_size)
    inside = labeled & ((points >= 0) & (points <= 1)).all(dim=-1)
    return torch.where(inside[..., None], points, 0.0), inside


def denormalize_keypoints(normalized_keypoints: Tensor, input_size: Size) -> Tensor:
    """Convert fractions (..., 2) of the input to input pixels, in single precision or better."""
    dtype = torch.promote_types(normalized_keypoints.dtype, torch.float32)
    return normalized_keypoints * torch.tensor(input_size, dtype=dtype, device=normalized_keypoints.device)


def flip_normalized_keypoints(normalized_keypoints: Tensor, input_size: Size) -> Tensor:
    """Convert fractions (..., 2 or more; x first) of a flipped input to those of the input: x px to width - 1 - x."""
    x, rest = normalized_keypoints[..., :1], normalized_keypoints[..., 1:]
    return torch.cat([(input_size[0] - 1) / input_size[0] - x, rest], dim=-1)
