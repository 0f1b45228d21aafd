"""The contract of a codec: keypoints to fields for training, fields to poses for prediction, both batched in torch."""

from __future__ import annotations

__all__ = ['Codec', 'Fields', 'MapCodec', 'Targets']

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.geometry import CropRule, Size
from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_choices, check_counts, check_number, check_sizes
from poseplug.core.skeleton import Skeleton
from poseplug.fields.grid import Grid
from poseplug.registry.wiring import Slot

Fields = Mapping[str, Tensor]


@dataclass(frozen=True)
class Targets:
    """The fields that each stage of a head should predict, and their weights in the loss.

    Attributes:
        stages: one dict of fields (B, C, ...) per stage; the last one serves every later stage too.
        weights: by field, of shape (B, C) or of the field's own shape; one dict for all stages, or one per stage. A
            field without weights counts fully.

    Example:
        >>> targets = Targets(({'heatmap': torch.zeros(1, 15, 46, 46)},), {'heatmap': torch.ones(1, 15)})
        >>> targets.stage_fields(2)['heatmap'].shape  # the last stage serves the later ones
        torch.Size([1, 15, 46, 46])
    """

    stages: tuple[dict[str, Tensor], ...]
    weights: dict[str, Tensor] | tuple[dict[str, Tensor], ...] = field(default_factory=dict)

    def stage_fields(self, stage: int) -> dict[str, Tensor]:
        """Return the fields of a stage, counted from 0."""
        return self.stages[min(stage, len(self.stages) - 1)]

    def stage_field_weights(self, stage: int) -> dict[str, Tensor]:
        """Return the weights of a stage, counted from 0."""
        if isinstance(self.weights, Mapping):
            return self.weights
        return self.weights[min(stage, len(self.weights) - 1)]


@dataclass(frozen=True)
class Codec(ABC):
    """Settings of one encoding, with both of its directions.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        match: whose crop, read-out and scores count, where they differ: 'poseplug'; 'mmpose', those of MMPose 1.x; or
            'official', those of the code that the paper's authors released. Converted weights need those of the code
            that trained them, to give its scores to the last digit.

    Attributes:
        matches: the values of `match` that the codec offers.
        needs: settings that other parts provide.
        gives: names of its attributes that other parts may need.
        slots: settings that hold other parts.
        score_meaning: what the score of a keypoint means.
        tolerance: largest error of `decode(encode(x))` in input pixels, for a keypoint inside the input.
        field_kind: what a head must predict: 'maps', 'bins' (two classifications per keypoint), 'points', 'integral'
            (points and the distributions whose expectations they are), or 'instances' (an instance in every cell).
        groups_instances: whether it decodes any number of instances per image, which tensor operations alone cannot do.
        relative_fields: fields whose values mean something only beside other values of the same view. Where other
            fields are averaged over an image and its flipped copy, both copies of these are concatenated as further
            channels, which `decode` accepts.

    Raises:
        ConfigError: `input_size` is not two whole numbers above 0, or the codec has no such `match`.

    Example:
        >>> import poseplug
        >>> skeleton = poseplug.get_skeleton('lsp')
        >>> codec = poseplug.CODECS.build(dict(type='SimCC', input_size=(64, 96)), skeleton=skeleton)
        >>> isinstance(codec, Codec), codec.field_kind, codec.fields
        (True, 'bins', {'x': 14, 'y': 14})
        >>> keypoints = torch.full((1, 1, 14, 2), 20.0)
        >>> poses = codec.decode(codec.encode(keypoints, torch.full((1, 1, 14), 2)).stages[-1])
        >>> bool((poses.keypoints - 20.0).abs().max() <= codec.tolerance)
        True
    """

    skeleton: Skeleton
    input_size: Size
    match: Literal['poseplug', 'mmpose', 'official'] = field(default='poseplug', kw_only=True)

    matches: ClassVar[tuple[str, ...]] = ('poseplug',)
    needs: ClassVar[tuple[str, ...]] = ('skeleton',)
    gives: ClassVar[tuple[str, ...]] = ('fields', 'shapes', 'input_size', 'crop_rule')
    slots: ClassVar[Mapping[str, Slot]] = {}
    score_meaning: ClassVar[str] = 'peak of the field, clipped to 0..1'
    tolerance: ClassVar[float] = 1.0
    field_kind: ClassVar[str] = 'maps'
    groups_instances: ClassVar[bool] = False
    relative_fields: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_sizes(type(self).__name__, input_size=self.input_size)
        # Configs have lists, of which equal codecs would neither compare nor hash as equal.
        object.__setattr__(self, 'input_size', tuple(self.input_size))
        # Before the choices of the base class, of which a codec may offer fewer.
        if self.match not in self.matches:
            raise ConfigError(f'{type(self).__name__}: match is one of {", ".join(self.matches)}; got {self.match!r}')
        check_choices(type(self).__name__, self)

    @property
    def crop_rule(self) -> CropRule:
        """The rule by which a box is fitted into the input, see `poseplug.core.geometry.fit_matrix`."""
        # The crop of HRNet's released code, which MMPose took over.
        return 'pixels' if self.match == 'poseplug' else 'released_hrnet'

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names of the fields and the shape of each for one image, such as {'heatmap': (15, 46, 46)}."""

    @property
    def fields(self) -> dict[str, int]:
        """Names of the fields and their channels, such as {'heatmap': 15}."""
        return {name: shape[0] for name, shape in self.shapes.items()}

    @abstractmethod
    def encode(self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None) -> Targets:
        """Encode keypoints as targets of the network.

        A codec that `groups_instances` also takes `annotated_keypoints`, (B, K) bool: which keypoints the data set of
        each image annotates at all; by default all.

        Args:
            keypoints: (B, N, K, 2) x, y in input pixels.
            visible: (B, N, K) 0 for a keypoint that is not labeled.
            valid: (B, N) bool, False for padding; all are instances by default.

        Returns:
            The fields of every stage, and their weights in the loss.
        """

    @abstractmethod
    def decode(self, fields: Fields) -> Poses:
        """Decode fields, each (B, C, ...), to the instances of every image, in input pixels.

        Args:
            fields: by name; (B, C, ...) of a batch.

        Returns:
            The instances of all images in input pixels; `image_indices` says of which one each is.
        """

    @abstractmethod
    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Convert the fields of a horizontally flipped input to those of the input.

        Args:
            fields: by name; (B, C, ...) of the flipped input.

        Returns:
            Fields of the same shapes, as the input itself would have them.
        """

    def average_flipped(self, fields: Fields, flipped_fields: Fields) -> dict[str, Tensor]:
        """Average the fields of an input and those that `flip` made from its flipped copy.

        Relative fields are concatenated instead, as further channels.
        """
        averaged = {}
        for name, maps in fields.items():
            pair = (maps, flipped_fields[name])
            # Such as tags: two passes number the same instances differently, and a mean of both says nothing.
            averaged[name] = torch.cat(pair, dim=1) if name in self.relative_fields else (pair[0] + pair[1]) / 2
        return averaged

    def check_stages(self, head_name: str, num_stages: int) -> None:  # noqa: B027 - most codecs have nothing to check
        """Check that the targets are for a head of `num_stages` stages; most are for any number.

        Raises:
            MismatchError: they are for another number of stages.
        """

    def name_channels(self, keypoints: Sequence[str]) -> dict[str, list[str]]:
        """Name the channels of every field, as they would be for other keypoints.

        Args:
            keypoints: the names, in their order.

        Returns:
            The keypoint of each channel by field, and 'background' or 'background_2', ... for further channels.
        """
        names = {}
        for field_name, count in self.fields.items():
            num_further = count - len(self.skeleton)
            further = ['background', *(f'background_{i + 1}' for i in range(1, num_further))][:num_further]
            names[field_name] = [*keypoints, *further]
        return names

    @cached_property
    def flip_channels(self) -> dict[str, list[int]]:
        """The channel of each field that each channel becomes in a flipped input; extra ones (background) stay."""
        # A flip exchanges pairs and is its own inverse, so that the order may be read in either direction.
        flipped = self.skeleton.flip_indices.tolist()
        return {name: flipped + list(range(len(flipped), count)) for name, count in self.fields.items()}


@dataclass(frozen=True)
class MapCodec(Codec):
    """A codec whose fields are maps, with one cell every `stride` input pixels; `grid` says where exactly.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride: input pixels per cell.

    Raises:
        ConfigError: `input_size` is not two whole numbers above 0.

    Example:
        >>> import poseplug
        >>> spec = dict(type='MSRAHeatmap', input_size=(64, 96), stride=4)
        >>> codec = poseplug.CODECS.build(spec, skeleton=poseplug.get_skeleton('lsp'))
        >>> isinstance(codec, MapCodec), codec.grid.size, codec.shapes
        (True, (16, 24), {'heatmap': (14, 24, 16)})
    """

    stride: int = 4

    gives: ClassVar[tuple[str, ...]] = (*Codec.gives, 'stride')

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(type(self).__name__, stride=self.stride)
        check_number(type(self).__name__, 'stride', self.stride, 1, max(self.input_size))

    @property
    @abstractmethod
    def fields(self) -> dict[str, int]:
        """Names of the fields and their channels, such as {'heatmap': 15}."""

    @property
    @abstractmethod
    def grid(self) -> Grid:
        """The grid of the fields: positions of their cells in the input."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        width, height = self.grid.size
        return {name: (channels, height, width) for name, channels in self.fields.items()}

    def check_grid_size(self, maps: Tensor) -> Tensor:
        """Return maps (..., H, W) that lie on this codec's grid.

        Raises:
            MismatchError: if they have another size.
        """
        size = (maps.shape[-1], maps.shape[-2])
        if size != self.grid.size:
            raise MismatchError(
                f'{type(self).__name__} reads maps of {self.grid.size} cells from an input of {self.input_size} px, '
                f'both (width, height); these have {size}. Set model.codec.input_size to that of the input images'
            )
        return maps

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Convert the fields of a flipped input to those of the input.

        Keypoints exchange their flip pairs and columns are reversed, then shifted where the grid is not symmetric.
        """
        return {name: self._flip_maps(maps[:, self.flip_channels[name]]) for name, maps in fields.items()}

    def _flip_maps(self, maps: Tensor) -> Tensor:
        maps, shift = maps.flip(-1), self.grid.flip_shift
        if shift == 0:
            return maps
        shifted = maps.roll(shift, -1)
        edge = (Ellipsis, slice(0, shift) if shift > 0 else slice(shift, None))
        shifted[edge] = maps[edge]  # columns that no cell of the flipped input covers repeat what was there
        return shifted
