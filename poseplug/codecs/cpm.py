"""Belief maps of convolutional pose machines, which are heatmaps (Wei et al. 2016, arXiv:1602.00134, section 3.2)."""

from __future__ import annotations

__all__ = ['CPMHeatmap']

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from poseplug.codecs.base import Targets
from poseplug.codecs.heatmap import Heatmap, labeled_mask
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class CPMHeatmap(Heatmap):
    """One heatmap per keypoint and one for the background, at stride 8.

    With `all_instances_first` stage 1 is trained on the keypoints of all instances in the image, and the later stages
    on those of the subject alone: stage 1 sees too little of the image to separate instances.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride, offset, aligned, sigma_px, center, truncate, min_value, background, unlabeled, outside, refine,
            blur_kernel_size, modulate, smoothing_kernel_size: as in `Heatmap`.
        instances: how all instances share the heatmaps of stage 1, by 'max' or 'add'; with 'subject' stage 1 is
            trained on the subject, too.
        all_instances_first: whether stage 1 is trained on all instances.

    Example:
        >>> from poseplug.skeletons.lsp import LSP
        >>> codec = CPMHeatmap(LSP, input_size=(368, 368))
        >>> codec.shapes
        {'heatmap': (15, 46, 46)}
    """

    stride: int = 8
    # The numbers are those of the released code. Cell g covers pixels 8 g to 8 g + 7, whose middle is 8 g + 3.5.
    offset: float = 3.5
    sigma_px: float = 7.0
    # It ends a Gaussian where the exponent falls below -4.6052, which is 1 %.
    min_value: float = 0.01
    # It adds instances and caps the sum at 1.
    instances: Literal['subject', 'max', 'add'] = 'add'
    background: bool = True
    # It has no mask of the loss: a missing keypoint is trained as an empty heatmap.
    unlabeled: Literal['empty', 'ignore'] = 'empty'
    outside: Literal['empty', 'ignore'] = 'empty'
    # It reads the largest pixel of enlarged heatmaps, without a sub-pixel step.
    refine: Literal['none', 'quarter', 'second_peak', 'dark', 'udp', 'taylor'] = 'none'
    all_instances_first: bool = True

    matches: ClassVar[tuple[str, ...]] = ('poseplug',)
    tolerance: ClassVar[float] = 5.7  # half of 8 px on both axes

    def encode(self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None) -> Targets:
        mask = self.mask_drawable(keypoints, labeled_mask(visible, valid))
        subject = self.draw_heatmaps(keypoints[:, :1], mask[:, :1])
        stages = [{'heatmap': subject}]
        if self.all_instances_first and self.instances != 'subject' and keypoints.shape[1] > 1:
            stages.insert(0, {'heatmap': self.draw_heatmaps(keypoints, mask)})
        return Targets(tuple(stages), self.channel_weights(mask[:, :1]))
