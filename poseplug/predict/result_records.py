"""The header of every result file."""

from __future__ import annotations

from typing import Any


def build_result_header(predictor: Any) -> dict[str, Any]:
    """Describe what a predictor's results mean.

    Args:
        predictor: a `Predictor`.

    Returns:
        A dict with the names of the model and the skeleton, `centric` (whose left is meant: the 'person' or the
        'observer'), `keypoint_names` in the order of the keypoints, and `score_meaning`.
    """
    skeleton = predictor.skeleton
    return {
        'model': predictor.name,
        'skeleton': skeleton.name,
        'centric': skeleton.centric,
        'keypoint_names': list(skeleton.keypoints),
        'score_meaning': predictor.model.codec.score_meaning,
    }
