"""The score of an instance from those of its keypoints."""

from __future__ import annotations

__all__ = ['average_confident_scores']

from typing import Any

import numpy as np

_MIN_KEYPOINT_SCORE = 0.2  # keypoints below do not take part in rescoring (HRNet's and MMPose's threshold)


def average_confident_scores(keypoint_scores: Any) -> np.ndarray:
    """Average the keypoint scores above 0.2 of every instance, as HRNet and MMPose do to rescore it.

    Args:
        keypoint_scores: (N, K).

    Returns:
        (N,) means; 0 for an instance without such a score.
    """
    # Anything that NumPy reads: lists of result files, arrays and tensors on the CPU.
    keypoint_scores = np.asarray(keypoint_scores, float)
    confident = keypoint_scores > _MIN_KEYPOINT_SCORE
    # The 1 stands for instances without such a score, whose sum is 0.
    means: np.ndarray = np.where(confident, keypoint_scores, 0).sum(axis=1) / np.maximum(confident.sum(axis=1), 1)
    return means
