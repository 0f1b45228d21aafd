"""Targets of the cascaded pyramid network (Chen et al. 2018, arXiv:1711.07319; numbers of the released code)."""

from __future__ import annotations

__all__ = ['CPNHeatmap']

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from torch import Tensor

from poseplug.codecs.base import Targets
from poseplug.codecs.heatmap import Heatmap, labeled_mask
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.setting_checks import check_counts, check_kernel_sizes
from poseplug.fields.gaussians import draw_blurred_cells, merge_heatmaps
from poseplug.registry import CODECS

# All other codecs have a peak of 1: losses and learning rates of CPN do not fit them, nor theirs CPN.
_PEAK_VALUE = 255.0
_UNUSED_SETTINGS = (  # those of Heatmap that say how a Gaussian is drawn
    'aligned',
    'sigma_px',
    'center',
    'truncate',
    'min_value',
    'instances',
    'background',
    'unlabeled',
    'outside',
)


@CODECS.register_module()
@dataclass(frozen=True)
class CPNHeatmap(Heatmap):
    """A blurred cell of peak 255 per keypoint: a stage for each level of the pyramid, coarsest first, then the refined.

    Levels are trained on keypoints of visibility `coarse_min_visibility` and above, and the others count as empty
    heatmaps. The refined stage is trained on all labeled keypoints inside the input and on no others; it has the
    smallest blur. Without a refined stage, each kernel size is a stage that is trained like it, as for MSPN and RSN. A
    keypoint whose position is not a finite number counts as outside.

    The published score is value / 255 + 0.5. Here it is divided by 1.5, which changes no order and keeps it within 1.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride: input pixels per cell.
        offset: input pixel of cell 0.
        kernel_sizes: odd sizes of the blurs in cells, one per level of the pyramid.
        reverse_kernels: give the finest level the smallest blur, as the paper means it. The released code gives it the
            largest, against its own intention.
        refined_stage: whether a refined stage follows the levels; without it, each kernel size is a stage.
        coarse_min_visibility: lowest visibility of the keypoints on which the levels are trained.
        refine: how a peak is refined between the cells; 'second_peak' moves it a quarter of a cell towards the second
            largest cell.
        blur_kernel_size, modulate: as in `Heatmap`.
        smoothing_kernel_size: odd size in cells of a blur of the heatmaps before peaks are found.

    Raises:
        ConfigError: for a setting that has no meaning, or one of `Heatmap` that has no effect here.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> CPNHeatmap(COCO, input_size=(192, 256)).shapes
        {'heatmap': (17, 64, 48)}
    """

    # The released code reads cell g at 4 g + 2 px.
    offset: float = 2.0
    # For inputs of 256 x 192 px; those of 384 x 288 px have (23, 17, 13, 9).
    kernel_sizes: tuple[int, ...] = (15, 11, 9, 7)
    reverse_kernels: bool = False
    refined_stage: bool = True
    coarse_min_visibility: int = 2
    refine: Literal['none', 'quarter', 'second_peak', 'dark', 'udp', 'taylor'] = 'second_peak'
    # The released test code blurs by 21 x 21 cells before it takes the maximum.
    smoothing_kernel_size: int | None = 21

    matches: ClassVar[tuple[str, ...]] = ('poseplug',)
    unused_settings: ClassVar[tuple[str, ...]] = _UNUSED_SETTINGS
    score_meaning: ClassVar[str] = '(value / 255 + 0.5) / 1.5, clipped to 0..1'

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, 'kernel_sizes', tuple(self.kernel_sizes))
        check_kernel_sizes('CPNHeatmap', kernel_sizes=self.kernel_sizes)
        check_counts('CPNHeatmap', coarse_min_visibility=self.coarse_min_visibility)
        if self.coarse_min_visibility > 2:
            visibility = self.coarse_min_visibility
            raise ConfigError(f'CPNHeatmap: coarse_min_visibility is 1 (occluded) or 2 (visible); got {visibility!r}')
        for setting in fields(self):
            if setting.name in self.unused_settings and getattr(self, setting.name) != setting.default:
                raise ConfigError(
                    f'CPNHeatmap: {setting.name} changes nothing here, where kernel_sizes say what is drawn; leave it '
                    'out'
                )

    def check_stages(self, head_name: str, num_stages: int) -> None:
        num_levels = len(self.kernel_sizes)
        if num_stages == num_levels + self.refined_stage:
            return
        remedy = 'use CPNHead, or another codec'
        if num_stages > self.refined_stage:
            remedy = f'set model.codec.kernel_sizes to {num_stages - self.refined_stage} sizes'
        if not self.refined_stage:
            raise MismatchError(
                f'{head_name} predicts {num_stages} stages but CPNHeatmap draws {num_levels}, one for each of its '
                f'kernel_sizes; {remedy}'
            )
        raise MismatchError(
            f'{head_name} predicts {num_stages} stages but CPNHeatmap draws {num_levels + 1}, one for each of its '
            f'{num_levels} kernel_sizes and the refined one; {remedy}'
        )

    def encode(self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None) -> Targets:
        keypoints, labeled = self.select_instances(keypoints, labeled_mask(visible, valid))
        cells = (keypoints / self.stride).trunc()  # up to a cell before the first one counts as the first
        last = cells.new_tensor(self.grid.size) - 1
        labeled = labeled & ((cells >= 0) & (cells <= last)).all(dim=-1)
        if not self.refined_stage:
            all_stages = tuple({'heatmap': self.draw_stage(cells, size, labeled)} for size in self.kernel_sizes)
            return Targets(all_stages, (self.channel_weights(labeled),) * len(all_stages))
        # The paper's division of labor: levels find the visible keypoints, the refined stage the occluded ones, too.
        coarse_mask = labeled & (visible[:, :1] >= self.coarse_min_visibility)
        # The coarsest level comes first, and has the smallest kernel unless the order is reversed.
        levels = [(size, coarse_mask) for size in sorted(self.kernel_sizes, reverse=self.reverse_kernels)]
        refined = (min(self.kernel_sizes), labeled)
        stages = tuple({'heatmap': self.draw_stage(cells, size, mask)} for size, mask in [*levels, refined])
        return Targets(stages, (*({} for _ in levels), self.channel_weights(labeled)))

    def draw_stage(self, cells: Tensor, kernel_size: int, mask: Tensor) -> Tensor:
        """Draw heatmaps (B, K, H, W) of peak 255, of cells (B, N, K, 2) where `mask` (B, N, K) is True."""
        blurred = draw_blurred_cells(cells, mask, self.grid.size, kernel_size)
        return _PEAK_VALUE * merge_heatmaps(blurred, self.instances)

    def score_peaks(self, values: Tensor) -> Tensor:
        return ((values / _PEAK_VALUE + 0.5) / 1.5).clamp(0, 1)
