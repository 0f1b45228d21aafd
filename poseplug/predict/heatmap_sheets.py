"""Drawings of a model's heatmaps and limb fields; torch is loaded when one is drawn."""

from __future__ import annotations

__all__ = ['check_drawable_heatmaps', 'draw_heatmap_sheets']

from typing import Any

import numpy as np

from poseplug.core.boxes import BoxFormat
from poseplug.core.errors import ConfigError


def check_drawable_heatmaps(predictor: Any) -> None:
    """Check that a predictor returns heatmaps.

    Args:
        predictor: a `Predictor`, or one of an exported file.

    Raises:
        ConfigError: the model has none, or is an exported file, whose decoding is inside.
    """
    # `ExportedPredictor` runs without torch and is no class that this module may import
    if not hasattr(predictor, 'check_heatmaps'):
        raise ConfigError(f'{predictor.name} is an exported file, which returns no heatmaps; draw those of the model')
    predictor.check_heatmaps()


def draw_heatmap_sheets(predictor: Any, image: np.ndarray, box: Any, box_format: BoxFormat) -> dict[str, np.ndarray]:
    """Draw the heatmaps of one instance, and the limb fields of a model that has them.

    Args:
        predictor: as `check_drawable_heatmaps` accepts it.
        image: (H, W, 3) BGR.
        box: (4,) of the instance; None for the whole image.
        box_format: 'xywh' or 'xyxy'.

    Returns:
        The drawings: `heatmaps`, and `limbs` if there are limb fields.
    """
    from poseplug.report.heatmaps import draw_heatmap_strips
    from poseplug.report.limb_fields import draw_grouping_sheet

    heatmap_stages = predictor.predict_heatmaps(image, box, box_format)
    sheets = {'heatmaps': draw_heatmap_strips(heatmap_stages)}
    if heatmap_stages.limb_fields:
        sheets['limbs'] = draw_grouping_sheet(heatmap_stages, predictor.model.codec)
    return sheets
