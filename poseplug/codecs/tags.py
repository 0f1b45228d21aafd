"""Tags beside heatmaps: people from numbers that tell them apart (Newell et al. 2017, arXiv:1611.05424)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Fields, Grid, MapCodec, Targets
from poseplug.codecs.crowds import peak_codec, subjects
from poseplug.codecs.drawing import nearest
from poseplug.codecs.heatmap import Heatmap, labelled
from poseplug.codecs.refine import blurred, dark_kernel
from poseplug.errors import ConfigError
from poseplug.grouping.tags import Tagged, TagRules, parse_tags
from poseplug.poses import Poses
from poseplug.registry import CODECS

DRAWN = dict(missing='empty', outside='empty')  # what the codec of the peaks is told, unless a config does
OUTWARDS = (('hip', 'pelvis'), ('elbow',), ('wrist', 'hand'), ('knee',), ('ankle',), ('heel', 'toe', 'foot'))


@CODECS.register_module()
@dataclass(frozen=True)
class Tags(MapCodec):
    """A heatmap a joint, of all people in the picture at once, and a map a joint of what tells them apart.

    `peaks` is the codec that draws the joints and refines their peaks, a config or built: any of one Gaussian a joint.
    It is given this one's skeleton, input size and stride; people share a map by maximum. Unless its config says
    otherwise a joint that nobody has is an empty map that counts.

    'tags' (K) are to be alike for the joints of one person and unlike for those of two, whatever numbers they are.
    Their target has the person's number, from 1, at the cell of each of its joints, and 0 elsewhere; where two people
    have a joint in one cell it is the later one's. It is made for the loss `AssociativeEmbedding`. Beyond the first K
    maps there may be more, as many a joint: further dimensions, such as the tags of the mirrored picture.

    To read them: a peak is above `threshold`, the largest of `window` x `window` cells, and among the `candidates`
    largest of its map. People are put together joint by joint, in the `order` of their names (by default from head and
    trunk outwards), of peaks whose tag is less than `apart` from the mean of theirs. The `most` best people count, each
    scoring the mean of its peaks over all joints. With `fill` missing joints are taken from where the tags are nearest
    to the person's (visibility 1, or 0 below the threshold); without, they score 0. With `subject` decoding gives one
    person a picture, for crops of a single one: who is nearest to the middle, with the largest peak of every joint that
    nobody found for them.
    """

    peaks: Any = field(default_factory=lambda: dict(type='Heatmap'))
    threshold: float = TagRules.threshold
    window: int = TagRules.window
    candidates: int = TagRules.candidates
    apart: float = TagRules.apart
    most: int = TagRules.most
    order: tuple[str, ...] | None = None
    fill: bool = True
    subject: bool = False

    tolerance: ClassVar[float] = 4.25  # that of the peaks' codec
    assembles: ClassVar[bool] = True
    relative: ClassVar[frozenset[str]] = frozenset({'tags'})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.heatmaps, self.rules, self.places  # noqa: B018 - each fails here, if it does

    @cached_property
    def heatmaps(self) -> Heatmap:
        """The codec of the joints."""
        return peak_codec(self, self.peaks, 'max', DRAWN)

    @cached_property
    def rules(self) -> TagRules:
        """What counts as a peak, and whose it is."""
        return TagRules(self.threshold, self.window, self.candidates, self.apart, self.most, self.fill)

    @cached_property
    def places(self) -> list[int]:
        """The joints in the order in which people are put together."""
        joints = self.skeleton.joints
        if self.order is None:
            return sorted(range(len(joints)), key=lambda k: outwards(joints[k]))
        if sorted(self.order) != sorted(joints):
            raise ConfigError(f'Tags: order names each joint of {self.skeleton.name!r} once; got {tuple(self.order)}')
        return [self.skeleton.index(joint) for joint in self.order]

    @property
    def fields(self) -> dict[str, int]:
        return {**self.heatmaps.fields, 'tags': len(self.skeleton)}

    @property
    def grid(self) -> Grid:
        return self.heatmaps.grid

    def encode(
        self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None, defined: Tensor | None = None
    ) -> Targets:
        """Joints (B, N, K, 2) in input pixels, visible (B, N, K), people (B, N; who is real) to targets.

        `defined` (B, K) says which joints the data set of each picture annotates at all (`Skeleton.defined`): the
        heatmaps of the others have no weight.
        """
        known = labelled(visible, people)
        drawn = self.heatmaps.drawable(keypoints, known)
        targets = {'heatmap': self.heatmaps.draw(keypoints, drawn), 'tags': self.number(keypoints, known)}
        weights = self.heatmaps.weigh(drawn)
        return Targets((targets,), weights if defined is None else {**weights, 'heatmap': self.weigh(weights, defined)})

    def weigh(self, weights: dict[str, Tensor], defined: Tensor) -> Tensor:
        """The weights (B, C) of the heatmaps, none for joints that are not `defined` (B, K)."""
        counts = F.pad(defined.float(), (0, self.fields['heatmap'] - defined.shape[1]), value=1.0)
        return counts * weights['heatmap'] if 'heatmap' in weights else counts

    def number(self, keypoints: Tensor, known: Tensor) -> Tensor:
        """Joints (B, N, K, 2) and which are labelled (B, N, K) to maps (B, K, H, W) of who has a joint where."""
        (width, height), (batch, count, joints) = self.grid.size, known.shape
        cells, placed = self.cells_of(keypoints, known)
        spots = cells[..., 1] * width + cells[..., 0]
        numbers = placed * torch.arange(1, count + 1, device=known.device)[:, None]
        maps = torch.zeros(batch, joints, height * width, device=known.device)
        maps.scatter_reduce_(2, spots.transpose(1, 2), numbers.transpose(1, 2).float(), 'amax')
        return maps.unflatten(2, (height, width))

    def cells_of(self, keypoints: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """The cell (B, N, K, 2; x, y) where a joint's tag is read, and (B, N, K) who has one.

        That is where the joint's map is largest: the nearest cell, of joints outside the input, too, as far as they
        show in it as peaks. Of two as near it is the one that counts as the peak.
        """
        codec, placed = self.heatmaps, known & torch.isfinite(keypoints).all(dim=-1)
        cells = self.grid.cells(torch.where(placed[..., None], keypoints, 0.0))
        middle = nearest(cells) if codec.center == 'cell' else torch.ceil(cells - 0.5)
        size = torch.tensor(self.grid.size, device=cells.device)
        inside = middle.clamp(min=0).minimum(size - 1)
        height = torch.exp((cells - inside).square().sum(dim=-1) / (-2 * codec.spread**2))
        return inside.long(), placed & (height > self.threshold)

    def parse(self, fields: Fields) -> Tagged:
        """The people of every picture, with the peaks that they are made of; positions are in cells."""
        codec, joints = self.heatmaps, len(self.skeleton)
        raw = self.sized(fields['heatmap'])[:, :joints].float()
        maps = blurred(raw, codec.smooth) if codec.smooth else raw
        kernel = codec.kernel or dark_kernel(codec.spread)
        tags = fields['tags'].float()
        return parse_tags(maps, tags, self.places, self.rules, codec.refine, kernel, raw if codec.smooth else None)

    def decode(self, fields: Fields) -> Poses:
        """Fields (B, C, H, W) to the people of every picture, best first, in input pixels."""
        found = self.parse(fields).poses(self.grid.strides, self.grid.offset)
        if self.subject:
            return subjects(found.split(len(fields['heatmap'])), fields['heatmap'], self.heatmaps)
        device = fields['heatmap'].device
        return Poses(**{n: torch.as_tensor(a).to(device) for n, a in vars(found).items() if a is not None})

    @cached_property
    def mirror_channels(self) -> dict[str, list[int]]:
        return {**self.heatmaps.mirror_channels, 'tags': self.skeleton.mirror.tolist()}


def outwards(joint: str) -> int:
    """How far out on a person a joint is, by its name: head, trunk and unknown ones first, the feet last."""
    words = joint.split('_')
    return next((i for i, parts in enumerate(OUTWARDS, start=1) if any(p in words for p in parts)), 0)
