"""What the codecs of a single person have in common: whose joints they encode."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.heatmap import labelled


def subject(keypoints: Tensor, visible: Tensor, people: Tensor | None) -> tuple[Tensor, Tensor]:
    """Person 0 of every picture: joints (B, K, 2), and (B, K) which of them are labelled and have a position.

    From joints (B, N, K, 2), visible (B, N, K) and who is real (B, N). A joint without a position is put at 0, and a
    picture without people has none.
    """
    known = labelled(visible, people)
    if not known.shape[1]:
        keypoints, known = F.pad(keypoints, (0, 0, 0, 0, 0, 1)), F.pad(known, (0, 0, 0, 1))
    joints, known = keypoints[:, 0], known[:, 0]
    placed = known & torch.isfinite(joints).all(dim=-1)
    return torch.where(placed[..., None], joints, 0.0), placed
