"""Part affinity fields beside heatmaps: people from limbs (Cao et al. 2017, arXiv:1611.08050)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poseplug.codecs.base import Fields, Grid, MapCodec, Targets
from poseplug.codecs.crowds import peak_codec, subjects, together
from poseplug.codecs.heatmap import Heatmap, labelled
from poseplug.codecs.limbs import limb_fields
from poseplug.codecs.refine import blurred, dark_kernel
from poseplug.errors import ConfigError
from poseplug.grouping.paf import Parsed, checked, parse_maps
from poseplug.grouping.peaks import PLACES
from poseplug.grouping.presets import Rules, get_rules
from poseplug.poses import Poses
from poseplug.registry import CODECS

DRAWN = dict(background=True, missing='empty', outside='empty')  # what every peak codec is told, unless a config does


@CODECS.register_module()
@dataclass(frozen=True)
class PAF(MapCodec):
    """A heatmap a joint and a field of unit vectors a limb, of all people in the picture at once.

    `peaks` is the codec that draws the joints and refines their peaks, a config or built: any of one Gaussian a joint
    (`CPMHeatmap`, `Heatmap`, `DARKHeatmap`, `MSRAHeatmap`, `UDPHeatmap`). It is given this one's skeleton, input size
    and stride, and `people`: how several people share a map, 'max' (as the paper says) or 'add', capped at 1 (as the
    released code does). Unless its config says otherwise it draws a background, and a joint that nobody has is an
    empty map that counts. By default it cuts its Gaussians at 1e-4, since 'taylor' needs at the border what the
    released code, which cuts at 0.01, leaves out.

    'paf' holds x and y of each of `skeleton.limbs` in turn, on the cells at most `width` cells beside the limb, drawn
    if both of its ends lie in the input. Where several people cover a cell it is their 'mean' (the paper), or the
    vector of the 'last' of them (the released code): `merge`.

    `refine` places the peaks otherwise than `peaks` says; it knows 'centroid' too, the released library's.
    `parser` says how people are put together: the name of a preset, or a dict of what differs from its `preset`
    (`poseplug.grouping.presets.Rules`). A missing joint has score and visibility 0. With `subject` decoding gives one
    person a picture, for crops of a single one: who is nearest to the middle, with the largest peak of every joint
    that nobody found for them.

    Fields may be of any size; `encode` draws those of `input_size`.
    """

    stride: int = 8
    peaks: Any = field(default_factory=lambda: dict(type='CPMHeatmap', cut=1e-4, refine='taylor'))
    width: float = 1.0
    merge: Literal['mean', 'last'] = 'mean'
    people: Literal['max', 'add'] = 'max'
    refine: Literal['none', 'quarter', 'dark', 'udp', 'taylor', 'centroid'] | None = None
    parser: Any = 'cpp'
    subject: bool = False

    tolerance: ClassVar[float] = 5.7
    assembles: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.merge not in ('mean', 'last'):
            raise ConfigError(f"PAF: merge is one of ('mean', 'last'); got {self.merge!r}")
        if not self.width > 0:
            raise ConfigError(f'PAF: width is positive, in cells; got {self.width}')
        if self.places not in PLACES:
            raise ConfigError(f'PAF: peaks are placed by one of {PLACES}; got {self.places!r}. Set refine')
        self.heatmaps, self.rules, self.mirrored_limbs  # noqa: B018 - each fails here, if it does

    @cached_property
    def heatmaps(self) -> Heatmap:
        """The codec of the joints."""
        return peak_codec(self, self.peaks, self.people, DRAWN)

    @property
    def places(self) -> str:
        """How peaks are placed between the cells."""
        return self.refine or self.heatmaps.refine

    @cached_property
    def rules(self) -> Rules:
        """What counts as a peak, as a limb and as a person."""
        return get_rules(self.parser)

    @property
    def fields(self) -> dict[str, int]:
        return {'paf': 2 * len(self.skeleton.limbs), **self.heatmaps.fields}

    @property
    def grid(self) -> Grid:
        return self.heatmaps.grid

    def resized(self, input_size: tuple[int, int]) -> PAF:
        """The same codec of pictures of another size (width, height)."""
        return self if tuple(input_size) == self.input_size else replace(self, input_size=input_size)

    def encode(
        self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None, defined: Tensor | None = None
    ) -> Targets:
        """Joints (B, N, K, 2) in input pixels, visible (B, N, K), people (B, N; who is real) to targets.

        `defined` (B, K) says which joints the data set of each picture annotates at all (`Skeleton.defined`): the
        others, and the limbs that end in one, have no weight.
        """
        known = labelled(visible, people)
        drawn = self.heatmaps.drawable(keypoints, known)
        targets = {'paf': self.draw(keypoints, known), 'heatmap': self.heatmaps.draw(keypoints, drawn)}
        weights = self.heatmaps.weigh(drawn)
        return Targets((targets,), weights if defined is None else self.weigh(weights, defined))

    def draw(self, keypoints: Tensor, known: Tensor) -> Tensor:
        """Joints (B, N, K, 2) and which are labelled (B, N, K) to fields (B, 2 L, H, W)."""
        extent = keypoints.new_tensor(self.input_size)
        known = known & ((keypoints >= -0.5) & (keypoints < extent - 0.5)).all(dim=-1)
        cells = self.grid.cells(torch.where(known[..., None], keypoints, 0.0))
        starts, ends = self.skeleton.limb_indices.T.tolist()
        drawn = known[:, :, starts] & known[:, :, ends]
        return limb_fields(cells[:, :, starts], cells[:, :, ends], drawn, self.grid.size, self.width, self.merge)

    def weigh(self, weights: Mapping[str, Tensor], defined: Tensor) -> dict[str, Tensor]:
        """The weights of all channels, none for what is not `defined` (B, K)."""
        starts, ends = self.skeleton.limb_indices.T.tolist()
        paf = (defined[:, starts] & defined[:, ends]).float().repeat_interleave(2, dim=1)
        heatmap = torch.ones_like(defined[:, :1], dtype=torch.float32).expand(-1, self.fields['heatmap']).clone()
        heatmap[:, : len(self.skeleton)] = defined.float()
        return {'paf': paf, 'heatmap': heatmap * weights['heatmap'] if 'heatmap' in weights else heatmap}

    def parse(self, fields: Fields) -> list[Parsed]:
        """The people of every picture, with the peaks, pairs and limbs that they come from and what was dropped."""
        maps = checked(fields, self.skeleton)
        raw = maps['heatmap'][:, : len(self.skeleton)]
        codec = self.heatmaps
        return parse_maps(
            blurred(raw, codec.smooth) if codec.smooth else raw,
            maps['paf'],
            self.skeleton,
            self.rules,
            max(self.grid.strides),
            self.places,
            codec.kernel or dark_kernel(codec.spread),
            raw if codec.smooth else None,
        )

    def decode(self, fields: Fields) -> Poses:
        """Fields (B, C, H, W) of any size to the people of every picture, best first, in input pixels."""
        parsed = self.parse(fields)
        codec = self.of_maps(fields['heatmap'])
        found = [people.poses(codec.grid.strides, codec.grid.offset) for people in parsed]
        if self.subject:
            return subjects(found, fields['heatmap'], codec.heatmaps)
        return together(found, len(self.skeleton), fields['heatmap'].device)

    def of_maps(self, maps: Tensor) -> PAF:
        """This codec, of the pictures that maps (..., H, W) belong to."""
        size = (maps.shape[-1], maps.shape[-2])
        return self if size == self.grid.size else self.resized((size[0] * self.stride, size[1] * self.stride))

    @cached_property
    def mirrored_limbs(self) -> tuple[list[int], list[int]]:
        """For each limb the one that it becomes in a mirror, and 1, or -1 if that one runs the other way."""
        swaps = self.skeleton.mirror
        limbs = [tuple(limb) for limb in self.skeleton.limb_indices.tolist()]
        order, signs = [], []
        for limb, (a, b) in zip(self.skeleton.limbs, swaps[self.skeleton.limb_indices].tolist(), strict=True):
            if (a, b) not in limbs and (b, a) not in limbs:
                raise ConfigError(f'PAF: the limb {limb} of skeleton {self.skeleton.name!r} is none in a mirror')
            order.append(limbs.index((a, b) if (a, b) in limbs else (b, a)))
            signs.append(1 if (a, b) in limbs else -1)
        return order, signs

    @cached_property
    def mirror_channels(self) -> dict[str, list[int]]:
        order = self.mirrored_limbs[0]
        return {'paf': [2 * limb + axis for limb in order for axis in (0, 1)], **self.heatmaps.mirror_channels}

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Fields of a mirrored input as those of the input: joints and limbs swapped, x of the limbs negated."""
        flipped = super().flip(fields)
        if 'paf' in flipped:
            signs = flipped['paf'].new_tensor([s * axis for s in self.mirrored_limbs[1] for axis in (-1, 1)])
            flipped['paf'] = flipped['paf'] * signs[:, None, None]
        return flipped
