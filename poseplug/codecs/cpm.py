"""Belief maps of convolutional pose machines (Wei et al. 2016, arXiv:1602.00134, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from poseplug.codecs.base import Targets
from poseplug.codecs.heatmap import Heatmap, labelled
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class CPMHeatmap(Heatmap):
    """One belief map a joint and one for the background, at stride 8, sigma in input pixels.

    With `everyone_first` stage 1 is trained against the joints of all people in the picture, and the later stages
    against those of the subject (person 0) alone: stage 1 sees too little to tell them apart.
    """

    stride: int = 8
    offset: float = 3.5
    sigma: float = 7.0
    cut: float = 0.01
    people: Literal['subject', 'max', 'add'] = 'add'
    background: bool = True
    missing: Literal['empty', 'ignore'] = 'empty'
    outside: Literal['empty', 'ignore'] = 'empty'
    refine: Literal['none', 'quarter', 'dark', 'taylor'] = 'none'
    everyone_first: bool = True

    tolerance: ClassVar[float] = 5.7

    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        drawn = self.drawable(keypoints, labelled(visible, people))
        subject = self.draw(keypoints[:, :1], drawn[:, :1])
        stages = [{'heatmap': subject}]
        if self.everyone_first and self.people != 'subject' and keypoints.shape[1] > 1:
            stages.insert(0, {'heatmap': self.draw(keypoints, drawn)})
        return Targets(tuple(stages), self.weigh(drawn[:, :1]))
