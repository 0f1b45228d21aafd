"""Which heatmaps of a stage the next stage reads for each keypoint (figure 3 of Wei et al. 2016).

The value at the peak of a keypoint is differentiated with respect to the fields of the stage before. The gradient times
the field, summed over the cells of a channel, is the first-order effect of that channel on the peak: what would be
missing if the channel were 0. The magnitudes of all channels add up to 100 percent per keypoint and image.
"""

from __future__ import annotations

__all__ = ['StageCues', 'measure_stage_cues']

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.keypoint_errors import Interval, bootstrap_ratios, summarize_resamples

_BACKGROUND = 'background'


@dataclass(frozen=True, eq=False)
class StageCues:
    """The cues of the keypoints of every stage but the first.

    Attributes:
        skeleton: its keypoints are the rows.
        cues: names of the channels of the stage before: the keypoints, and the background if there is one.
        percents: (images, stages - 1, K, C) percent of each channel in the effect of all channels.
    """

    skeleton: Skeleton
    cues: tuple[str, ...]
    percents: np.ndarray

    def list_strongest_cues(self, stage: int, keypoint: str, count: int = 3) -> list[tuple[str, float]]:
        """List the strongest cues of a keypoint beside itself, with their mean percent over images.

        Args:
            stage: from 2 on.
            keypoint: its name.
            count: number of cues.
        """
        means = self.percents[:, stage - 2, self.skeleton.index(keypoint)].mean(axis=0)
        order = [i for i in np.argsort(-means, kind='stable') if self.cues[i] != keypoint]
        return [(self.cues[i], float(means[i])) for i in order[:count]]

    def compare_limb_neighbors(self, stage: int) -> Interval | None:
        """Compare the cues that a limb joins to a keypoint with the others.

        Args:
            stage: from 2 on.

        Returns:
            The mean percent of a limb neighbor minus that of another keypoint, in percentage points, with its 95 %
            interval over images; None without limbs, or where every keypoint is a neighbor of every other one.
        """
        joined = np.zeros((len(self.skeleton), len(self.skeleton)), dtype=bool)
        for start, end in self.skeleton.limb_indices:
            joined[start, end] = joined[end, start] = True
        others = ~joined & ~np.eye(len(joined), dtype=bool)
        if not (joined.any() and others.any()):
            return None
        percents = self.percents[:, stage - 2, :, : len(self.skeleton)]
        differences = percents[:, joined].mean(axis=1) - percents[:, others].mean(axis=1)
        (interval,) = summarize_resamples(bootstrap_ratios(differences[:, None], np.ones(len(differences))))
        return interval


def measure_stage_cues(model: Any, batches: Iterable[Batch], num_images: int = 20) -> StageCues:
    """Measure the cues of every keypoint in every stage but the first.

    Args:
        model: an estimator with trained weights and several stages of heatmaps; it is put into evaluation mode.
        batches: real images.
        num_images: number of images.

    Raises:
        ConfigError: there is no image, the network has one stage or no heatmaps, or a stage does not read the one
            before.
    """
    model.eval().requires_grad_(True)
    percents, count = list[np.ndarray](), 0
    for batch in batches:
        percents.append(_measure_batch(model, batch)[: num_images - count])
        count += len(percents[-1])
        if count >= num_images:
            break
    if not count:
        raise ConfigError('cues are measured on images; the data set has none')
    names = model.skeleton.keypoints
    has_background = percents[0].shape[-1] > len(names)
    return StageCues(model.skeleton, (*names, *([_BACKGROUND] if has_background else [])), np.concatenate(percents))


def _measure_batch(model: Any, batch: Batch) -> np.ndarray:
    """The percents (B, stages - 1, K, C) of the first view of every image."""
    network, batch = model.network, batch.to(model.device)
    stages = network(batch.images[:, 0], network.select_centers(batch), network.prediction_source_indices(batch))
    if len(stages) < 2:
        raise ConfigError('cues are those of a stage in the one before; this network has one stage')
    num_keypoints = len(model.skeleton)
    return np.stack([_measure_stage(stages, index, num_keypoints) for index in range(1, len(stages))], axis=1)


def _measure_stage(stages: list[Mapping[str, Tensor]], index: int, num_keypoints: int) -> np.ndarray:
    """The percents (B, K, C) of the stage at an index."""
    for number, stage in ((index, stages[index - 1]), (index + 1, stages[index])):
        if 'heatmap' not in stage:
            raise ConfigError(f'stage {number} of the network predicts no heatmaps, but {", ".join(stage)}')
    source, channels = _find_source(stages[index - 1], 'heatmap')
    effects = []
    for keypoint in range(num_keypoints):
        # images are independent of one another, so that the gradient of a sum is that of each
        peaks = stages[index]['heatmap'][:, keypoint].flatten(1).amax(dim=1).sum()
        (gradient,) = torch.autograd.grad(peaks, source, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise ConfigError(
                f'stage {index + 1} of the network does not read the heatmaps of stage {index}, which so are no cues'
            )
        effects.append((gradient * source)[:, channels].sum(dim=(2, 3)).abs())
    magnitudes = torch.stack(effects, dim=1).double().detach().cpu().numpy()
    totals = magnitudes.sum(axis=2, keepdims=True)
    percents: np.ndarray = 100 * magnitudes / np.where(totals > 0, totals, 1)
    return percents


def _find_source(stage: Mapping[str, Tensor], name: str) -> tuple[Tensor, slice]:
    """The tensor that later stages read, and the channels of a field in it."""
    field = stage[name]
    # Heads that predict all fields by one layer return its channels as views, and pass the whole on.
    whole = field._base if field._is_view() else None
    if whole is None or whole.ndim != 4 or whole.shape[1] != sum(other.shape[1] for other in stage.values()):
        return field, slice(None)
    start = 0
    for other, values in stage.items():
        if other == name:
            break
        start += values.shape[1]
    return whole, slice(start, start + field.shape[1])
