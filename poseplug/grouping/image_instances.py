"""Instances in pixels of a network's input, transformed to pixels of their image."""

from __future__ import annotations

__all__ = ['boxed_poses_to_image', 'poses_to_image']

from dataclasses import replace

import numpy as np

from poseplug.core.geometry import Size, transform_points
from poseplug.core.poses import Poses


def poses_to_image(poses: Poses, input_to_image: np.ndarray) -> Poses:
    """Transform the instances of an image by a matrix (3, 3); the box of each is that of its detected keypoints."""
    keypoints = transform_points(input_to_image, np.asarray(poses.keypoints)).astype(np.float32)
    scores = poses.keypoint_scores if poses.visibility is None else poses.visibility
    detected = np.asarray(scores)[..., None] > 0
    # `initial`, since a skeleton may have no keypoint; without a detected one the box is all 0.
    low = np.where(detected, keypoints, np.inf).min(axis=1, initial=np.inf)
    high = np.where(detected, keypoints, -np.inf).max(axis=1, initial=-np.inf)
    boxes = np.where(detected.any(axis=1), np.concatenate([low, high], axis=1), 0.0).astype(np.float32)
    return replace(poses.scale_sigmas(input_to_image), keypoints=keypoints, boxes=boxes)


def boxed_poses_to_image(poses: Poses, input_to_image: np.ndarray, image_size: Size) -> Poses:
    """Transform instances with boxes by a matrix; those whose boxes lie outside the image are dropped.

    Args:
        poses: the instances of one image, with boxes.
        input_to_image: (3, 3).
        image_size: (width, height) in px.
    """
    poses = poses.transform(input_to_image)
    boxes = np.asarray(poses.boxes, np.float32)
    poses = replace(poses, keypoints=np.asarray(poses.keypoints, np.float32), boxes=boxes)
    # Pixel centers sit on integers, so the image reaches from -0.5 to size - 0.5.
    return poses[(boxes[:, 2:] > -0.5).all(axis=1) & (boxes[:, :2] < np.array(image_size) - 0.5).all(axis=1)]
