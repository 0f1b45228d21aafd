"""Person scale from limb lengths, for data sets that give none (CPM's rule for LSP: Wei et al. 2016, released code)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from poseplug.sample import Record
from poseplug.skeleton import Skeleton

HEAD_AT_REFERENCE = 35.0  # px from neck to head top of a person of scale 1
REFERENCE = 41.0 / 35.0  # enlargement that CPM gives a person of scale 1, at an input of 368 px
ROOM = 304.0  # px of the 368 that the labelled joints may fill: 368 less a margin of 32 on either side


def limb_scales(records: list[Record], skeleton: Skeleton) -> list[Record]:
    """The records, one person each, with `scales`.

    Every limb is divided by its usual ratio to the neck-head length (the data set's median); the 0.75 quantile of
    these estimates, in units of 35 px, is the scale, raised where the labelled joints would not fit in 304 px.
    """
    if not records:
        return []
    keypoints = np.concatenate([r.keypoints for r in records])
    labelled = np.concatenate([r.visible for r in records]) > 0
    a, b = skeleton.limb_indices.T
    lengths = np.linalg.norm(keypoints[:, a] - keypoints[:, b], axis=-1)
    lengths[~(labelled[:, a] & labelled[:, b])] = np.nan
    head = lengths[:, [{*limb} == {*(skeleton.head or ())} for limb in skeleton.limbs].index(True), None]
    with np.errstate(divide='ignore', invalid='ignore'):
        ratios = np.where(head > 0, lengths / head, np.nan)
    usual = _quantile(ratios, 0.5, axis=0)
    scales = _quantile(lengths / usual, 0.75, axis=1) / HEAD_AT_REFERENCE
    spans = [np.ptp(k[v], axis=0).max() if v.any() else 0.0 for k, v in zip(keypoints, labelled, strict=True)]
    least = REFERENCE * np.array(spans) / ROOM
    scales = np.fmax(np.where(scales > 0, scales, np.nan), least)
    scales = np.where(scales > 0, scales, np.nanmedian(scales[scales > 0]))
    return [replace(r, scales=np.array([s], dtype=np.float32)) for r, s in zip(records, scales, strict=True)]


def _quantile(values: np.ndarray, share: float, axis: int) -> np.ndarray:
    """A quantile without the NaNs; NaN, silently, where nothing else is there."""
    values = np.where(np.isnan(values).all(axis=axis, keepdims=True), -1.0, values)
    result = np.nanquantile(values, share, axis=axis)
    return np.where(result < 0, np.nan, result)
