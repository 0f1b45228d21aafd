"""Each joint as two classifications, one of its column and one of its row (SimCC: Li et al. 2022, arXiv:2107.03332)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from poseplug.codecs.base import Codec, Fields, Targets
from poseplug.codecs.drawing import bell
from poseplug.codecs.heatmap import one_person
from poseplug.codecs.integral import peak_of_sum_1
from poseplug.codecs.refine import blur_line, dark_kernel
from poseplug.codecs.subject import subject
from poseplug.errors import ConfigError
from poseplug.poses import Poses
from poseplug.registry import CODECS

CHOICES = {'target': ('gaussian', 'one_hot'), 'center': ('bin', 'exact'), 'refine': ('none', 'dark')}


@CODECS.register_module()
@dataclass(frozen=True)
class SimCC(Codec):
    """The subject's joints in `split` bins a pixel: bin b stands at input pixel b / split, on either axis.

    'gaussian' targets have a spread of `sigma` bins, one number or one for x and one for y, and a sum of 1 with
    `normalize`, else a peak of 1; their `center` is the nearest 'bin', as published, or 'exact'. 'one_hot' targets have
    `label_smoothing` of their mass in the other bins. A joint further outside than 3 sigma (with 'one_hot', outside) on
    either axis counts as little as one without label.

    `refine` 'dark' places the maximum between bins. With `logits` the fields are read through a softmax, as
    `KLDivergence` trains them: the scores are then shares of the best probability there can be.
    """

    split: int = 2
    target: Literal['gaussian', 'one_hot'] = 'gaussian'
    sigma: float | tuple[float, float] = 6.0
    normalize: bool = True
    label_smoothing: float = 0.0
    center: Literal['bin', 'exact'] = 'bin'
    refine: Literal['none', 'dark'] = 'none'
    logits: bool = False

    score: ClassVar[str] = 'the smaller of the maxima in x and y, clipped to 0..1'
    tolerance: ClassVar[float] = 0.71  # half a pixel on both axes with split 1; the more bins a pixel, the less
    kind: ClassVar[str] = 'bins'

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.sigma, (int, float)):
            object.__setattr__(self, 'sigma', tuple(self.sigma))
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f'SimCC: {name} is one of {allowed}; got {getattr(self, name)!r}')
        if not isinstance(self.split, int) or self.split < 1:
            raise ConfigError(f'SimCC: split is a whole number of bins a pixel, at least 1; got {self.split}')
        if len(self.sigmas) != 2 or min(self.sigmas) <= 0:
            raise ConfigError(f'SimCC: sigma is positive, one number or one for x and one for y; got {self.sigma}')
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f'SimCC: label_smoothing is from 0 to below 1; got {self.label_smoothing}')
        if self.label_smoothing and self.target != 'one_hot':
            raise ConfigError("SimCC: label_smoothing changes nothing here; leave it out, or set target='one_hot'")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: (len(self.skeleton), n * self.split) for name, n in zip('xy', self.input_size, strict=True)}

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The spread in bins in x and in y."""
        return self.sigma if isinstance(self.sigma, tuple) else (self.sigma, self.sigma)

    @property
    def mirror_shift(self) -> int:
        """Bins by which a mirrored line moves right so that it lies on the unmirrored one: none with one bin a pixel.

        There are `split - 1` bins beyond the last pixel, and none before the first.
        """
        return 1 - self.split

    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        joints, placed = subject(keypoints, visible, people)
        bins = joints * self.split
        if self.center == 'bin' or self.target == 'one_hot':
            bins = bins.round()
        sides = list(zip(bins.unbind(-1), self.sizes, self.sigmas, strict=True))
        for place, count, sigma in sides:
            before, beyond = (3 * sigma + 1, 3 * sigma) if self.target == 'gaussian' else (0.0, 0.0)
            placed = placed & (place + before >= 0) & (place - beyond < count)
        fields = {name: self.line(*side) * placed[..., None] for name, side in zip('xy', sides, strict=True)}
        weight = placed.float()
        return Targets((fields,), {'x': weight, 'y': weight})

    @property
    def sizes(self) -> tuple[int, int]:
        """How many bins there are in x and in y."""
        return self.input_size[0] * self.split, self.input_size[1] * self.split

    def line(self, places: Tensor, count: int, sigma: float) -> Tensor:
        """Positions (B, K) in bins to the distributions (B, K, count) around them."""
        away = torch.arange(count, dtype=places.dtype, device=places.device) - places[..., None]
        if self.target == 'one_hot':
            return torch.where(away == 0, 1 - self.label_smoothing, self.label_smoothing / max(count - 1, 1))
        gaussian = bell(away, sigma)
        return gaussian / (sigma * (2 * np.pi) ** 0.5) if self.normalize else gaussian

    def decode(self, fields: Fields) -> Poses:
        places, values = [], []
        for name, sigma in zip('xy', self.sigmas, strict=True):
            line = fields[name].softmax(dim=-1) if self.logits else fields[name]
            value, place = line.max(dim=-1)
            step = line_step(line, place, dark_kernel(sigma)) if self.refine == 'dark' else 0
            places.append((place + step) / self.split)
            values.append(value / self.best(sigma) if self.logits else value)
        return one_person(torch.stack(places, dim=-1), torch.minimum(*values).clamp(0, 1))

    def best(self, sigma: float) -> float:
        """The probability of the joint's own bin in a target."""
        return 1 - self.label_smoothing if self.target == 'one_hot' else peak_of_sum_1(sigma)

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        x, y = (fields[name][:, self.mirror_channels[name]] for name in 'xy')
        x, spare = x.flip(-1), self.split - 1  # the bins beyond the last pixel keep their values
        return {'x': torch.cat([x[..., spare:], x[..., x.shape[-1] - spare :]], dim=-1), 'y': y}

    @cached_property
    def mirror_channels(self) -> dict[str, list[int]]:
        return dict.fromkeys('xy', self.skeleton.mirror.tolist())


def line_step(lines: Tensor, places: Tensor, kernel: int) -> Tensor:
    """DARK's offset (B, K) in bins: smoothing by a Gaussian of odd size `kernel`, then -f'/f'' of the logarithm.

    Of lines (B, K, n) and their maxima (B, K). The second difference takes steps of two bins. Beyond the ends the
    smoothed line goes on as it ends. A step beyond the reach of the smoothing, where no summit is, is not taken.
    """
    smooth = smoothed(lines, places, kernel)
    top = lines.gather(-1, places[..., None])
    f = (smooth * (top / smooth.amax(dim=-1, keepdim=True).clamp(min=1e-10))).clamp(1e-3, 50.0).log()
    steps = torch.arange(-2, 3, device=places.device)
    kept = 2 + (places[..., None] + steps).clamp(0, lines.shape[-1] - 1) - places[..., None]
    before_2, before, middle, after, after_2 = f.gather(-1, kept).unbind(-1)
    curve = (after_2 - 2 * middle + before_2) / 4
    step = (before - after) / (2 * torch.where(curve == 0, 1.0, curve))
    return torch.where((curve != 0) & (step.abs() <= kernel // 2), step, 0.0).float()


def smoothed(lines: Tensor, places: Tensor, kernel: int) -> Tensor:
    """The five blurred bins around each place (B, K) of lines (B, K, n): (B, K, 5), in double precision."""
    reach = kernel // 2 + 2
    near = places[..., None] + torch.arange(-reach, reach + 1, device=places.device)
    values = lines.gather(-1, near.clamp(0, lines.shape[-1] - 1))
    there = torch.where((near >= 0) & (near < lines.shape[-1]), values, 0.0)
    return there.double() @ torch.from_numpy(five_blurs(kernel)).to(lines.device)


@lru_cache(maxsize=16)
def five_blurs(kernel: int) -> np.ndarray:
    """(kernel + 4, 5) that blurs a piece of a line and keeps its five middle bins."""
    return np.stack([np.pad(blur_line(kernel), (i, 4 - i)) for i in range(5)], axis=1)
