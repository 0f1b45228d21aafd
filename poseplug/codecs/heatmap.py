"""Gaussian heatmaps, one per keypoint (Tompson et al. 2014; sub-pixel centers: Zhang et al. 2020, arXiv:1910.06278)."""

from __future__ import annotations

__all__ = ['Heatmap']

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Fields, MapCodec, Targets
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import CropRule
from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_kernel_sizes, check_number
from poseplug.fields.blur import blur_heatmaps, dark_kernel_size
from poseplug.fields.gaussians import (
    draw_gaussians,
    draw_thresholded_gaussians,
    fill_background,
    merge_heatmaps,
    reaches_grid,
    round_to_cells,
)
from poseplug.fields.grid import Grid
from poseplug.fields.peak_widths import measure_peak_widths
from poseplug.fields.refine import get_heatmap_maximum, refine_keypoints
from poseplug.registry import CODECS

_EMPTY_HEATMAP_CELLS = {'mmpose': -1.0, 'official': 0.0}  # x and y where no cell of a heatmap is positive
_MMPOSE_KERNEL_SIZE = 11  # of MMPose's codecs, whatever their sigma


@CODECS.register_module()
@dataclass(frozen=True)
class Heatmap(MapCodec):
    """Draw each keypoint as a Gaussian of peak 1 and read it back as the refined peak.

    The field 'heatmap' has one channel per keypoint, and a last one for the background if there is one. A keypoint
    whose position is not a finite number counts as far outside the input.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride: input pixels per cell.
        offset: input pixel of cell 0; cell g stands at `stride * g + offset`.
        aligned: whether the cells reach from the first pixel to the last instead; then there is no offset.
        sigma_px: standard deviation of the Gaussian in input pixels.
        center: where the Gaussian stands: at the 'exact' position, at its nearest 'cell', or at the cell of the
            position rounded down ('floor') or up ('ceil'), the quantizations that Zhang et al. (2020) compare.
        truncate: draw 0 more than 3 sigma beside the nearest cell, in x or in y.
        min_value: draw 0 instead of values up to this.
        instances: which instances of an image are drawn: the 'subject' alone, that is instance 0, the one a crop is
            about; or all, which share a heatmap by their 'max', or 'add' up, capped at 1.
        background: whether a last channel is 1 minus the largest of the others.
        unlabeled: whether a keypoint that is not labeled counts as an 'empty' heatmap, or the loss is to 'ignore' it.
        outside: the same for a labeled keypoint too far outside the input to reach any cell.
        refine: how a peak is refined between the cells: 'none', 'quarter', 'second_peak', 'taylor', 'dark' or 'udp'.
        blur_kernel_size: odd size in cells of the smoothing of 'dark' and 'udp'; by default the one for `sigma_px`.
        modulate: whether 'dark' and 'udp' smooth a heatmap before they expand it; Zhang et al. (2020) compare both.
        rescale: how 'dark' scales a smoothed heatmap of the subject: back to its 'peak', as released, or stretched over
            its 'range', from the smallest value of the whole heatmap to the largest (Zhang et al. 2020, eq. 11).
        smoothing_kernel_size: odd size in cells of a blur of the heatmaps before peaks are found; none by default.
        match: 'mmpose' and 'official' (HRNet) crop as these do, refine peaks near the border by their rules, keep
            scores as they are (they may exceed 1, or be negative), and put a keypoint without a positive cell in cell
            -1 ('mmpose') or 0 ('official'). Kernels of 'mmpose' have 11 cells.

    Raises:
        ConfigError: for a setting that has no meaning, or that another one makes meaningless.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> codec = Heatmap(COCO, input_size=(192, 256))
        >>> targets = codec.encode(torch.full((1, 1, 17, 2), 50.0), torch.ones(1, 1, 17))
        >>> targets.stage_fields(0)['heatmap'].shape
        torch.Size([1, 17, 64, 48])
        >>> codec.decode(targets.stage_fields(0)).keypoints[0, 0].tolist()
        [49.0, 49.0]
    """

    offset: float = 0.0
    aligned: bool = False
    # 2 cells of 4 px, for inputs of 256 x 192 px; of 128 x 96 px it is 1 cell, of 384 x 288 px 3 (Xiao et al. 2018).
    sigma_px: float = 8.0
    center: Literal['exact', 'cell', 'floor', 'ceil'] = 'exact'
    truncate: bool = False
    min_value: float = 0.0
    instances: Literal['subject', 'max', 'add'] = 'subject'
    background: bool = False
    unlabeled: Literal['empty', 'ignore'] = 'ignore'
    outside: Literal['empty', 'ignore'] = 'ignore'
    refine: Literal['none', 'quarter', 'second_peak', 'dark', 'udp', 'taylor'] = 'quarter'
    blur_kernel_size: int | None = None
    modulate: bool = True
    rescale: Literal['peak', 'range'] = 'peak'
    smoothing_kernel_size: int | None = None

    matches: ClassVar[tuple[str, ...]] = ('poseplug', 'mmpose', 'official')
    # As the codec of the keypoints in PAF and Tags, it has their input and stride; elsewhere these are settings.
    needs: ClassVar[tuple[str, ...]] = ('skeleton', 'input_size', 'stride', 'instances')
    gives: ClassVar[tuple[str, ...]] = (*MapCodec.gives, 'aligned')
    tolerance: ClassVar[float] = 4.25  # 3 px on both axes: the corner beyond the last cell

    def __post_init__(self) -> None:
        super().__post_init__()
        codec_name = type(self).__name__
        longer_side = max(self.input_size)
        check_number(codec_name, 'sigma_px', self.sigma_px, 0, longer_side, above=True)
        check_number(codec_name, 'offset', self.offset, -longer_side, longer_side)
        check_number(codec_name, 'min_value', self.min_value, 0, 1, below=True)
        for name in ('blur_kernel_size', 'smoothing_kernel_size'):
            if getattr(self, name) is not None:
                check_kernel_sizes(codec_name, **{name: getattr(self, name)})
        if self.aligned and self.offset:
            raise ConfigError(
                f'{codec_name}: an aligned grid starts at pixel 0, which leaves offset={self.offset:g} without effect. '
                'Leave one of them out'
            )
        if not self.modulate and (self.blur_kernel_size or self.refine not in ('dark', 'udp')):
            raise ConfigError(
                f"{codec_name}: modulate=False leaves out the smoothing of refine 'dark' and 'udp'; got "
                f'refine={self.refine!r} and blur_kernel_size={self.blur_kernel_size}'
            )
        if self.rescale == 'range' and (self.refine != 'dark' or self.instances != 'subject'):
            raise ConfigError(
                f"{codec_name}: rescale='range' is for refine 'dark' of one subject per heatmap; got "
                f'refine={self.refine!r} and instances={self.instances!r}'
            )
        if self.truncate and self.min_value:
            raise ConfigError(f'{codec_name}: truncate and min_value both end the Gaussian; leave one of them out')
        self.grid  # noqa: B018 - fails here for an input of a single cell

    @property
    def fields(self) -> dict[str, int]:
        return {'heatmap': len(self.skeleton) + self.background}

    @property
    def grid(self) -> Grid:
        if self.aligned:
            return Grid.from_corners(self.input_size, self.stride)
        return Grid.from_stride(self.input_size, self.stride, self.offset)

    @property
    def crop_rule(self) -> CropRule:
        return choose_map_crop_rule(self.match, self.aligned)

    @property
    def sigma_cells(self) -> float:
        """Standard deviation of the Gaussian in cells."""
        return self.sigma_px / self.stride

    def encode(self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None) -> Targets:
        keypoints, labeled = self.select_instances(keypoints, labeled_mask(visible, valid))
        mask = self.mask_drawable(keypoints, labeled)
        return Targets(({'heatmap': self.draw_heatmaps(keypoints, mask)},), self.channel_weights(mask))

    def select_instances(self, keypoints: Tensor, labeled: Tensor) -> tuple[Tensor, Tensor]:
        """Select the instances that are drawn, from keypoints (B, N, K, 2) and which are labeled (B, N, K)."""
        return (keypoints[:, :1], labeled[:, :1]) if self.instances == 'subject' else (keypoints, labeled)

    def mask_drawable(self, keypoints: Tensor, labeled: Tensor) -> Tensor:
        """Return which keypoints (B, N, K) are drawn and count, of keypoints (B, N, K, 2) px that are labeled."""
        if self.outside == 'empty':
            return labeled & torch.isfinite(keypoints).all(dim=-1)
        cells = self.grid.to_cells(keypoints)
        # By the cell about which the Gaussian ends, which decides whether it reaches the grid at all.
        centers = self.quantize_cells(cells)[1] if self.truncate else cells
        return labeled & reaches_grid(centers, self.grid.size, self.sigma_cells)

    def draw_heatmaps(self, keypoints: Tensor, mask: Tensor) -> Tensor:
        """Draw heatmaps, with the background if there is one.

        Args:
            keypoints: (B, N, K, 2) x, y in input pixels.
            mask: (B, N, K) bool, which keypoints to draw.

        Returns:
            (B, C, H, W).
        """
        cells, size = self.grid.to_cells(keypoints), self.grid.size
        centers, quantized_cells = self.quantize_cells(cells)
        # A Gaussian that ends reaches few cells, and only these are computed.
        if self.min_value:
            return draw_thresholded_gaussians(
                centers, mask, size, self.sigma_cells, self.min_value, self.instances, self.background
            )
        truncation_center = quantized_cells if self.truncate else None
        instance_heatmaps = draw_gaussians(centers, mask, size, self.sigma_cells, truncation_center)
        heatmaps = merge_heatmaps(instance_heatmaps, self.instances)
        return fill_background(F.pad(heatmaps, (0, 0, 0, 0, 0, 1))) if self.background else heatmaps

    def quantize_cells(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return where Gaussians stand, and the whole cells about which they are truncated, of positions (..., 2)."""
        if self.center in ('floor', 'ceil'):
            rounded = cells.floor() if self.center == 'floor' else cells.ceil()
            return rounded, rounded
        nearest_cells = round_to_cells(cells)
        return (nearest_cells if self.center == 'cell' else cells), nearest_cells

    def channel_weights(self, mask: Tensor) -> dict[str, Tensor]:
        """Return the weight of every channel: 0 for a keypoint that no instance has, if those are ignored.

        Args:
            mask: (B, N, K) bool, which keypoints are drawn.
        """
        if self.unlabeled == 'empty':
            return {}
        weights = mask.any(dim=1).float()
        return {'heatmap': F.pad(weights, (0, int(self.background)), value=1.0)}

    def decode(self, fields: Fields) -> Poses:
        """Decode heatmaps (B, C, H, W) to one instance per image, in input pixels, with the widths of their peaks."""
        # Contiguous: without the background the batch has gaps, and the search for maxima cuts it into strips.
        raw = self.check_grid_size(fields['heatmap'])[:, : len(self.skeleton)].contiguous()
        heatmaps = blur_heatmaps(raw, self.smoothing_kernel_size) if self.smoothing_kernel_size else raw
        cells, values = get_heatmap_maximum(heatmaps)
        kernel_size = self.refinement_kernel_size
        refined = refine_keypoints(heatmaps, cells, self.refine, kernel_size, self.match, self.rescale)
        if self.match != 'poseplug':
            refined = torch.where((values > 0)[..., None], refined, _EMPTY_HEATMAP_CELLS[self.match])
        if self.smoothing_kernel_size:
            # Smoothing lowers peaks, the narrow ones more than the wide ones: the raw value is the confidence.
            values = gather_at_cells(raw, cells)
        sigmas_px = measure_peak_widths(raw, cells, self.grid.strides)
        return keypoints_to_poses(self.grid.to_pixels(refined), self.score_peaks(values), sigmas_px)

    @property
    def refinement_kernel_size(self) -> int:
        """Odd size in cells of the smoothing of 'dark' and 'udp'; a kernel of 1 cell smooths nothing."""
        if self.match == 'mmpose' and self.modulate:
            return self.blur_kernel_size or _MMPOSE_KERNEL_SIZE
        return self.peak_kernel_size

    @property
    def peak_kernel_size(self) -> int:
        """The same for the peaks of several instances, whatever `match` says."""
        if not self.modulate:
            return 1
        return self.blur_kernel_size or dark_kernel_size(self.sigma_cells)

    def score_peaks(self, values: Tensor) -> Tensor:
        """Convert the values of the heatmaps at their peaks to scores, between 0 and 1 unless `match` keeps them."""
        return values.clamp(0, 1) if self.match == 'poseplug' else values


def choose_map_crop_rule(match: str, aligned: bool) -> CropRule:
    """Return how a box meets the input of a codec of maps, whose cells stand on its first and last pixels or do not."""
    if match == 'poseplug':
        return 'corners' if aligned else 'pixels'
    return 'released_udp' if aligned else 'released_hrnet'


def keypoints_to_poses(keypoints: Tensor, keypoint_scores: Tensor, sigmas_px: Tensor | None = None) -> Poses:
    """Return one instance per image, whose score is the mean of its keypoints'.

    Args:
        keypoints: (B, K, 2) x, y in input pixels.
        keypoint_scores: (B, K).
        sigmas_px: (B, K) how uncertain the positions are; None if the codec does not know.
    """
    # Not `len`, whose whole number would fix the length of the batch in an exported graph.
    image_indices = torch.arange(keypoint_scores.shape[0], device=keypoint_scores.device)
    instance_scores = keypoint_scores.mean(dim=1)
    return Poses(keypoints, keypoint_scores, instance_scores, image_indices, keypoint_sigmas_px=sigmas_px)


def gather_at_cells(heatmaps: Tensor, cells: Tensor) -> Tensor:
    """Return the values (B, K) of heatmaps (B, K, H, W) at one cell each (B, K, 2; x, y)."""
    indices = cells[..., 1] * heatmaps.shape[-1] + cells[..., 0]
    return heatmaps.flatten(2).gather(2, indices[..., None])[..., 0]


def labeled_mask(visible: Tensor, valid: Tensor | None) -> Tensor:
    """Return which keypoints (B, N, K) are labeled, of instances that are no padding."""
    return visible > 0 if valid is None else (visible > 0) & valid[..., None]
