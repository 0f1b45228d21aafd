"""The header of every result file."""

from __future__ import annotations

from typing import Any

from poseplug.predict.pose_predictor import PosePredictor


def build_result_header(predictor: PosePredictor) -> dict[str, Any]:
    """Describe what a predictor's results mean.

    Args:
        predictor: of the results.

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
        'score_meaning': predictor.score_meaning,
    }
