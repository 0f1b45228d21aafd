"""The effective receptive field: how far from a cell the pixels lie that its prediction depends on, in real images.

The gradient of the prediction with respect to the pixels is large near the cell and falls off (Luo et al. 2016,
arXiv:1701.04128). Its magnitudes are averaged over images, and the side of the square around the cell that holds a
fraction of them is the effective width.
"""

from __future__ import annotations

__all__ = ['EffectiveField', 'measure_effective_fields']

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError

MASS_FRACTIONS = (0.5, 0.95)


@dataclass(frozen=True)
class EffectiveField:
    """The effective receptive field of one stage.

    Attributes:
        half_width_px: side of the square around the middle of the input with half of the gradient.
        width_px: side of the square with 95 % of it.
        profile: (W,) gradient by column, whose sum is 1.
    """

    half_width_px: float
    width_px: float
    profile: np.ndarray


def measure_effective_fields(model: Any, batches: Iterable[Batch], num_images: int = 20) -> list[EffectiveField]:
    """Measure the effective receptive field of the middle cell of every stage.

    Args:
        model: an estimator with trained weights, whose heads predict maps; it is put into evaluation mode.
        batches: real images.
        num_images: number of images that are averaged.

    Returns:
        One field per stage.

    Raises:
        ConfigError: there is no image, or the network predicts no maps.
    """
    model.eval()
    totals: list[np.ndarray] = []
    count = 0
    for batch in batches:
        for index in range(len(batch.images)):
            gradients = _measure_image(model, batch, index)
            totals = [total + g for total, g in zip(totals, gradients, strict=True)] if totals else gradients
            count += 1
            if count == num_images:
                return [_summarize_field(total) for total in totals]
    if not totals:
        raise ConfigError('the effective receptive field is measured on images; the data set has none')
    return [_summarize_field(total) for total in totals]


def _measure_image(model: Any, batch: Batch, index: int) -> list[np.ndarray]:
    """Magnitudes of the gradient (H, W) of the middle cell of every stage, of one image; they sum to 1."""
    network = model.network
    images = batch.to(model.device).images[index : index + 1, 0]
    # the gradient is that of the normalized input, whose channels have one scale
    pixels = network.normalize_images(images).detach().requires_grad_(True)
    parts = network.active_parts()
    features = network.backbone(pixels)
    features = parts['neck'](features) if 'neck' in parts else features
    maps = []
    for number, stage in enumerate(parts['head'](features), start=1):
        fields = [field for field in stage.values() if field.ndim == 4]
        if not fields:
            raise ConfigError(f'stage {number} of the network predicts no maps, so that it has no cell to measure')
        # the middle cell, farthest from the border, where padding would cut the field off
        maps.append(torch.cat([field[0, :, field.shape[2] // 2, field.shape[3] // 2] for field in fields]))
    results = []
    for values in maps:
        # every channel for itself: their gradients would cancel in a sum
        squares = torch.zeros_like(pixels[0, 0])
        for value in values:
            (gradient,) = torch.autograd.grad(value, pixels, retain_graph=True)
            squares += gradient[0].square().sum(dim=0)
        magnitudes = squares.sqrt().double().cpu().numpy()
        # each image counts alike, whatever the size of its gradients
        results.append(magnitudes / max(float(magnitudes.sum()), 1e-300))
    return results


def _summarize_field(total: np.ndarray) -> EffectiveField:
    magnitudes = total / max(float(total.sum()), 1e-300)
    half_width, width = (_find_width(magnitudes, fraction) for fraction in MASS_FRACTIONS)
    return EffectiveField(half_width, width, magnitudes.sum(axis=0))


def _find_width(magnitudes: np.ndarray, fraction: float) -> float:
    """The side of the square around the center of mass that holds a fraction of the magnitudes, in px."""
    height, width = magnitudes.shape
    rows, columns = np.arange(height), np.arange(width)
    center_y, center_x = (magnitudes.sum(axis=1) * rows).sum(), (magnitudes.sum(axis=0) * columns).sum()
    # the distance of a square's sides (the larger of both axes), not that of a circle
    distances = np.maximum(np.abs(rows - center_y)[:, None], np.abs(columns - center_x)[None, :])
    order = np.argsort(distances, axis=None)
    mass = np.cumsum(magnitudes.ravel()[order])
    last = min(int(np.searchsorted(mass, fraction)), len(mass) - 1)
    # the pixel in the middle and as many on both sides
    return float(2 * distances.ravel()[order[last]] + 1)
