"""The heatmaps of one instance at every stage."""

from __future__ import annotations

__all__ = ['HeatmapStages']

from dataclasses import dataclass

import numpy as np

from poseplug.fields.grid import Grid


@dataclass(frozen=True)
class HeatmapStages:
    """The fields that a model predicts for one instance, stage by stage.

    Attributes:
        image: (H, W, 3) the image, BGR.
        input_image: (h, w, 3) the network's input, BGR.
        image_to_input: (3, 3) takes pixels of the image to pixels of the input.
        heatmaps: one array (C, rows, columns) per stage, with a channel per keypoint and then the background where
            the codec has one.
        keypoints: names of the keypoints, in the order of the channels.
        grid: where the cells lie in the input.
        limb_fields: x and y of each limb in turn, (2 L, rows, columns) per stage; empty where the codec has none.

    Example:
        >>> image, grid = np.zeros((64, 48, 3), np.uint8), Grid.from_stride((48, 64), stride=8)
        >>> heatmaps = np.eye(8)[None, :, :6]  # of one keypoint
        >>> stages = HeatmapStages(image, image, np.eye(3), (heatmaps, heatmaps), ('nose',), grid)
        >>> len(stages.heatmaps), stages.heatmaps[-1].shape, stages.grid.size
        (2, (1, 8, 6), (6, 8))
    """

    image: np.ndarray
    input_image: np.ndarray
    image_to_input: np.ndarray
    heatmaps: tuple[np.ndarray, ...]
    keypoints: tuple[str, ...]
    grid: Grid
    limb_fields: tuple[np.ndarray, ...] = ()
