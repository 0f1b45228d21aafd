"""The modules that are exported: from the bytes of images to keypoints, or to fields and their peaks."""

from __future__ import annotations

__all__ = ['FieldsWithPeaks', 'KeypointsOfCrops', 'find_field_peaks']

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.codecs.base import Codec
from poseplug.core.geometry import fit_matrix, transform_points
from poseplug.deploy.exported_model import OUTPUT_NAMES, SIGMAS_NAME
from poseplug.fields.blur import blur_heatmaps
from poseplug.fields.peaks import CENTROID, refine_by_centroid
from poseplug.fields.refine import refine_keypoints
from poseplug.grouping.tags import split_tags_by_keypoint
from poseplug.models.estimators.augmentation import predict_with_flip_test

MAX_PEAKS = 127  # of each keypoint in an exported file, whatever the rules allow


class _FieldPredictor(nn.Module):
    """The last stage's fields of images (B, H, W, 3), in single precision; with a flip test averaged.

    The subject stands where the crop puts the center of its box: half a pixel beside the center under some crop rules.
    """

    center: Tensor

    def __init__(self, model: Any, flip_test: bool):
        super().__init__()
        self.network, self.codec, self.flip_test = model.network, model.codec, flip_test
        self.register_buffer('center', _find_crop_center(model.codec)[None], persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        centers = self.center.expand(images.shape[0], -1)
        if self.flip_test:
            stages = predict_with_flip_test(self.network, self.codec, images, centers)
        else:
            stages = self.network(images, centers)
        # decoding is in single precision, as in `Predictor`
        return {name: values.float() for name, values in stages[-1].items()}


def _find_crop_center(codec: Codec) -> Tensor:
    """The position (2,) in input px at which a crop puts the center of its box."""
    origin, size = torch.zeros(2).numpy(), torch.tensor(codec.input_size).numpy()
    matrix = fit_matrix(origin, size.astype(float), codec.input_size, codec.crop_rule)
    return torch.from_numpy(transform_points(matrix, origin)).float()


class KeypointsOfCrops(nn.Module):
    """Images of one instance each to its keypoints (B, K, 2) in input px, their scores (B, K) and its score (B,).

    Of codecs that know it, how uncertain each keypoint is, in input px (B, K), is an output, too.

    Args:
        model: the estimator, whose codec decodes one instance per image.
        flip_test: average the fields with those of the flipped images.
    """

    def __init__(self, model: Any, flip_test: bool = False):
        super().__init__()
        self.fields, self.codec = _FieldPredictor(model, flip_test), model.codec
        indices = getattr(model.postprocess, 'keypoint_indices', None)
        self.keypoint_indices = None if indices is None else torch.as_tensor(indices)
        self.output_names = OUTPUT_NAMES['top_down']
        # one decoding of zeros tells whether the codec returns uncertainties
        empty_fields = {name: torch.zeros(1, *shape) for name, shape in self.codec.shapes.items()}
        if self.codec.decode(empty_fields).keypoint_sigmas_px is not None:
            self.output_names = (*self.output_names, SIGMAS_NAME)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        poses: Any = self.codec.decode(self.fields(images))
        keypoints, scores, sigmas = poses.keypoints, poses.keypoint_scores, poses.keypoint_sigmas_px
        if self.keypoint_indices is not None:
            # -1 is a keypoint of the skeleton that this decoder does not predict
            is_known, indices = self.keypoint_indices >= 0, self.keypoint_indices.clamp(min=0)
            keypoints = torch.where(is_known[:, None], keypoints[:, indices], 0.0)
            scores = torch.where(is_known, scores[:, indices], 0.0)
            sigmas = None if sigmas is None else torch.where(is_known, sigmas[:, indices], torch.nan)
        outputs = (keypoints, scores, poses.instance_scores)
        return outputs if sigmas is None else (*outputs, sigmas)


class FieldsWithPeaks(nn.Module):
    """Whole images to their fields and to the highest peaks of every heatmap, which are grouped outside of the graph.

    Outputs: the fields by name, each (B, C, H, W), of the heatmaps those of the keypoints; `peak_indices` (B, K, M),
    the cells of the peaks, row by row; `peak_values` (B, K, M), highest first, of which those that exceed a threshold
    count, and -inf where there are no more; `peak_scores` (B, K, M); `peak_cells` (B, K, M, 2), x and y in cells,
    refined; and of tags `peak_tags` (B, K, M, D).

    Args:
        model: the estimator with the codec `PAF` or `Tags`.
        flip_test: average the fields with those of the flipped images.
    """

    def __init__(self, model: Any, flip_test: bool = False):
        super().__init__()
        self.fields, codec = _FieldPredictor(model, flip_test), model.codec
        heatmap_codec, rules = codec.built_heatmap_codec, codec.rules
        self.has_tags = 'tags' in codec.fields
        self.num_keypoints = len(codec.skeleton)
        self.refine = heatmap_codec.refine if self.has_tags else codec.peak_refinement
        self.kernel_size = heatmap_codec.peak_kernel_size
        self.smoothing_kernel_size = heatmap_codec.smoothing_kernel_size
        self.num_peaks = min(rules.top_k if self.has_tags else rules.max_peaks, MAX_PEAKS)
        self.num_neighbors = 8 if self.has_tags else rules.peak_neighbors
        self.window_size = rules.nms_kernel_size if self.has_tags else 3
        peak_names = ['peak_indices', 'peak_values', 'peak_scores', 'peak_cells']
        self.output_names = ('heatmap', 'tags' if self.has_tags else 'paf', *peak_names)
        if self.has_tags:
            self.output_names = (*self.output_names, 'peak_tags')

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        fields = self.fields(images)
        raw = fields['heatmap'][:, : self.num_keypoints].contiguous()
        smoothing = self.smoothing_kernel_size
        heatmaps = blur_heatmaps(raw, smoothing) if smoothing else raw
        indices, values = find_field_peaks(heatmaps, self.num_peaks, self.num_neighbors, self.window_size)
        cells = _refine_peak_table(heatmaps, indices, self.refine, self.kernel_size)
        # peaks are found on smoothed heatmaps, and scored by the raw ones
        scores = raw.flatten(2).gather(2, indices) if smoothing else values
        outputs = (raw, fields['tags' if self.has_tags else 'paf'], indices, values, scores, cells)
        if not self.has_tags:
            return outputs
        tags = split_tags_by_keypoint(fields['tags'], raw)  # (B K, D, H W)
        table = indices.flatten(0, 1)[:, None].expand(-1, tags.shape[1], -1)
        peak_tags = tags.gather(2, table).movedim(1, 2).unflatten(0, indices.shape[:2])
        return (*outputs, peak_tags)


def find_field_peaks(
    heatmaps: Tensor, num_peaks: int, num_neighbors: int = 8, window_size: int = 3
) -> tuple[Tensor, Tensor]:
    """Find the highest peaks of every heatmap by operations whose shapes do not depend on values.

    The peaks are those of `poseplug.fields.peaks.find_local_maxima` at the same threshold.

    Args:
        heatmaps: (B, K, H, W).
        num_peaks: M, of each heatmap.
        num_neighbors: 8, of which equal ones are one peak, the first row by row; or 4, of which equal ones are none.
        window_size: a peak is the largest of the square of this many cells around it; odd.

    Returns:
        The cells (B, K, M) of the peaks, row by row, and their values (B, K, M), highest first; 0 and -inf behind the
        last peak.
    """
    height, width = heatmaps.shape[-2:]
    # a border that no cell is below, so that cells at the edge can be peaks
    padded = F.pad(heatmaps, (1, 1, 1, 1), value=-torch.inf)

    def shift_heatmaps(down: int, right: int) -> Tensor:
        return padded[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    earlier = [(-1, 0), (0, -1)] if num_neighbors == 4 else [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
    is_peak = heatmaps > -torch.inf
    for down, right in earlier:
        later = shift_heatmaps(-down, -right)
        # Strictly above the earlier of two opposite neighbors and at least as high as the later: of equal ones the
        # first counts.
        is_peak = is_peak & (heatmaps > shift_heatmaps(down, right))
        is_peak = is_peak & ((heatmaps > later) if num_neighbors == 4 else (heatmaps >= later))
    if window_size > 3:
        # the window of Tags may be larger than these neighbors
        is_peak = is_peak & (heatmaps >= F.max_pool2d(heatmaps, window_size, 1, window_size // 2))
    candidates = torch.where(is_peak, heatmaps, -torch.inf).flatten(2)
    # A grid may have fewer cells than there are peaks to return.
    values, indices = F.pad(candidates, (0, num_peaks), value=-torch.inf).topk(num_peaks, dim=2)
    return torch.where(values > -torch.inf, indices, 0), values


def _refine_peak_table(heatmaps: Tensor, indices: Tensor, refine: str, kernel_size: int) -> Tensor:
    """The refined positions (B, K, M, 2) in cells of peaks (B, K, M) of heatmaps (B, K, H, W)."""
    height, width = heatmaps.shape[-2:]
    # Read from a table, since the exporter has no division by a side that may have any length.
    columns = torch.arange(width, device=heatmaps.device).expand(height, width).flatten()
    rows = torch.arange(height, device=heatmaps.device)[:, None].expand(height, width).flatten()
    cells = torch.stack([columns[indices], rows[indices]], dim=-1)
    if refine == 'none':
        return cells.to(heatmaps)
    num_peaks = indices.shape[2]
    # every peak gets its own view of the heatmap (B K, M, H, W), without a copy
    expanded = heatmaps.flatten(0, 1)[:, None].expand(-1, num_peaks, -1, -1)
    table = cells.flatten(0, 1)
    if refine == CENTROID:
        refined = refine_by_centroid(expanded, table)
    else:
        refined = refine_keypoints(expanded, table, refine, kernel_size)
    return refined.unflatten(0, indices.shape[:2])
