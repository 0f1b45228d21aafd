"""The scale of a person from limb lengths, for data sets without scales (CPM's released code; Wei et al. 2016)."""

from __future__ import annotations

import numpy as np

from poseplug.core.boxes import enclose_keypoints
from poseplug.core.instances import Instances
from poseplug.core.skeleton import Skeleton

_REFERENCE_HEAD_PX = 35.0  # from neck to head top of a person of scale 1
CPM_MAGNIFICATION = 41.0 / 35.0  # of a person of scale 1 in an input of 368 px: CPM's head is 41 px there
_MAX_KEYPOINT_SPAN_PX = 304.0  # that labeled keypoints may cover of the 368 px: a margin of 32 px remains on each side


def estimate_limb_scales(instances: Instances, skeleton: Skeleton) -> np.ndarray:
    """Estimate the scale of every person from the lengths of their limbs.

    Every limb is divided by its usual ratio to the length from neck to head top, which is the median over all people.
    The scale is the 0.75 quantile of these estimates in units of 35 px. It is raised where the labeled keypoints would
    cover more than 304 of 368 px of the input.

    Args:
        instances: N people of any images, in image px.
        skeleton: of their keypoints, with the limb `head`.

    Returns:
        (N,) float32, person height / 200 px.
    """
    if not len(instances):
        return np.zeros(0, dtype=np.float32)
    keypoints, labeled = instances.keypoints, instances.visible > 0
    starts, ends = skeleton.limb_indices.T
    lengths = np.linalg.norm(keypoints[:, starts] - keypoints[:, ends], axis=-1)
    # NaN takes no part in medians and quantiles.
    lengths[~(labeled[:, starts] & labeled[:, ends])] = np.nan
    # The limb may be listed from either end.
    head_limb = [{*limb} == {*(skeleton.head or ())} for limb in skeleton.limbs].index(True)
    head_lengths = lengths[:, head_limb, None]
    with np.errstate(divide='ignore', invalid='ignore'):
        ratios = np.where(head_lengths > 0, lengths / head_lengths, np.nan)
    usual_ratios = _nan_quantile(ratios, 0.5, axis=0)
    # Foreshortening only makes limbs shorter, so a high quantile is closest to the true size.
    scales = _nan_quantile(lengths / usual_ratios, 0.75, axis=1) / _REFERENCE_HEAD_PX
    boxes = enclose_keypoints(keypoints, labeled)
    spans = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    min_scales = CPM_MAGNIFICATION * spans / _MAX_KEYPOINT_SPAN_PX
    # fmax, not maximum: a person without a usable limb has the scale that its extent asks for.
    scales = np.fmax(np.where(scales > 0, scales, np.nan), min_scales)
    # Persons with a single labeled keypoint get the median scale.
    scales = np.where(scales > 0, scales, np.nanmedian(scales[scales > 0]))
    return scales.astype(np.float32)


def _nan_quantile(values: np.ndarray, fraction: float, axis: int) -> np.ndarray:
    """Return a quantile that ignores NaN; NaN, without a warning, where all values are NaN."""
    values = np.where(np.isnan(values).all(axis=axis, keepdims=True), -1.0, values)
    result = np.nanquantile(values, fraction, axis=axis)
    return np.where(result < 0, np.nan, result)
