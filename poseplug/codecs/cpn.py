"""Targets of the cascaded pyramid network (Chen et al. 2018, arXiv:1711.07319; numbers of the released code)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from torch import Tensor

from poseplug.codecs.base import Targets
from poseplug.codecs.drawing import merge, spots
from poseplug.codecs.heatmap import Heatmap, check_kernel, labelled
from poseplug.errors import ConfigError, MismatchError
from poseplug.registry import CODECS

PEAK = 255.0
IDLE = ('aligned', 'sigma', 'center', 'patch', 'cut', 'people', 'background', 'missing', 'outside')  # of Heatmap


@CODECS.register_module()
@dataclass(frozen=True)
class CPNHeatmap(Heatmap):
    """A blurred cell of peak 255 a joint: a stage for each level of the pyramid, coarsest first, then the refined one.

    `kernels` are the sizes of the blurs, one a level. The released code gives the finest level the largest, against
    its own intention; `reverse` gives it the smallest, as the paper means it. The refined stage has the smallest.
    Levels learn from joints of visibility `coarse_from` and above, and the others count as empty maps; the refined
    stage learns from all labelled joints inside the input and from no others. A position that is no number is outside.

    Of maps blurred by `smooth` cells, the peak moves a quarter of a cell towards the second largest cell. Cell g stands
    at input pixel 4g + 2. The published score is value / 255 + 0.5; here it is divided by 1.5, which changes no order
    and keeps it within 1.
    """

    offset: float = 2.0
    kernels: tuple[int, ...] = (15, 11, 9, 7)
    reverse: bool = False
    coarse_from: int = 2
    refine: Literal['none', 'quarter', 'second', 'dark', 'udp', 'taylor'] = 'second'
    smooth: int | None = 21

    idle: ClassVar[tuple[str, ...]] = IDLE
    score: ClassVar[str] = '(value / 255 + 0.5) / 1.5, clipped to 0..1'

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, 'kernels', tuple(self.kernels))
        if not self.kernels:
            raise ConfigError('CPNHeatmap: kernels has one size a level of the pyramid; got none')
        for kernel in self.kernels:
            check_kernel(self, 'kernels', kernel)
        strange = [f.name for f in fields(self) if f.name in self.idle and getattr(self, f.name) != f.default]
        if strange:
            raise ConfigError(
                f'CPNHeatmap: {strange[0]} changes nothing here, where kernels say what is drawn; leave it out'
            )

    def check_stages(self, head: str, stages: int) -> None:
        levels = len(self.kernels)
        if stages == levels + 1:
            return
        remedy = f'give model.codec.kernels {stages - 1} sizes' if stages > 1 else 'take CPNHead, or another codec'
        raise MismatchError(
            f'{head} predicts {stages} stages but CPNHeatmap draws {levels + 1}, one for each of its {levels} kernels '
            f'and the refined one; {remedy}'
        )

    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        keypoints, known = self.shown(keypoints, labelled(visible, people))
        cells = (keypoints / self.stride).trunc()  # up to a cell before the first one counts as the first
        last = cells.new_tensor(self.grid.size) - 1
        known = known & ((cells >= 0) & (cells <= last)).all(dim=-1)
        sure = known & (visible[:, :1] >= self.coarse_from)
        levels = [(k, sure) for k in sorted(self.kernels, reverse=self.reverse)]
        stages = tuple({'heatmap': self.spots(cells, *level)} for level in [*levels, (min(self.kernels), known)])
        return Targets(stages, (*({} for _ in levels), self.weigh(known)))

    def spots(self, cells: Tensor, kernel: int, drawn: Tensor) -> Tensor:
        """Cells (B, N, K, 2) and which to draw (B, N, K) to maps (B, K, H, W) of peak 255."""
        return PEAK * merge(spots(cells, drawn, self.grid.size, kernel), self.people)

    def rate(self, values: Tensor) -> Tensor:
        return ((values / PEAK + 0.5) / 1.5).clamp(0, 1)
