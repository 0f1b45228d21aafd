"""Skin, cloth and hair: the paints of a rendered person, and how they are sampled.

A paint maps points on a surface to colors. Colors are BGR from 0 to 255, before light falls on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

_Array = NDArray[Any]

_SKIN_TONES = np.array(((182, 200, 234), (150, 178, 224), (118, 150, 205), (86, 118, 172), (58, 84, 130), (38, 56, 90)))
_HAIR_COLORS = np.array(((20, 20, 24), (28, 42, 66), (40, 70, 110), (90, 150, 200), (150, 152, 155), (30, 60, 140)))
_TILE_SIZE = 32  # texels on a side of a texture's tile
_WHOLE_LENGTH = 2.0  # any length over 1: the cloth covers the whole solid


@dataclass(frozen=True)
class SurfaceSamples:
    """The n visible samples of one solid's surface, each array (n,).

    Attributes:
        axial: Position along the solid's axis, 0 to 1 between its ends and beyond on its round ends.
        u: Meters around the solid.
        v: Meters along the solid.
        lateral: Position to the side in the solid's own frame, -1 to 1.
        forward: Position to the front in the solid's own frame, -1 to 1.
    """

    axial: _Array
    u: _Array
    v: _Array
    lateral: _Array
    forward: _Array


Paint = Callable[[SurfaceSamples], _Array]  # to colors (n, 3)


@dataclass(frozen=True)
class TileTexture:
    """A paint of two colors that a repeated square tile mixes.

    Attributes:
        color: (3,) where the tile is 0.
        second_color: (3,) where the tile is 1.
        tile: (size, size) from 0 to 1.
        texels_per_m: Texels of the tile in a meter of the surface.
    """

    color: _Array
    second_color: _Array
    tile: _Array
    texels_per_m: float

    def __call__(self, samples: SurfaceSamples) -> _Array:
        """Colors (n, 3) of surface samples."""
        size = len(self.tile)
        rows = (samples.v * self.texels_per_m).astype(np.int32) % size
        # `u` is negative on one side, and casting truncates towards 0: the offset keeps the tile unbroken there.
        columns = (samples.u * self.texels_per_m + size * 8).astype(np.int32) % size
        return self.mix_colors(self.tile[rows, columns])

    def mix_colors(self, amounts: _Array) -> _Array:
        """Colors (..., 3) for amounts (...) of the second color."""
        return np.asarray(self.color + (self.second_color - self.color) * amounts[..., None])


def sample_color(rng: Generator) -> _Array:
    """Sample a color (3,) float32, from gray to garish."""
    tint = rng.uniform(-1, 1, 3) * rng.choice((8, 45, 100))
    return np.asarray(np.clip(rng.uniform(15, 235) + tint, 5, 250), np.float32)


def sample_skin(rng: Generator) -> TileTexture:
    """Sample skin with faint blotches."""
    tone = _SKIN_TONES[rng.integers(len(_SKIN_TONES))] * rng.uniform(0.92, 1.07) + rng.normal(0, 4, 3)
    return _sample_wrinkles(rng, tone.astype(np.float32), 0.93)


def sample_cloth(rng: Generator, plain_probability: float = 0.5) -> TileTexture:
    """Sample a cloth of one color with wrinkles, or else one with a pattern of two colors."""
    color = sample_color(rng)
    if rng.random() < plain_probability:
        return _sample_wrinkles(rng, color, float(rng.uniform(0.72, 0.9)))
    return TileTexture(color, sample_color(rng), _sample_pattern(rng), _TILE_SIZE / float(rng.uniform(0.18, 0.5)))


def _sample_wrinkles(rng: Generator, color: _Array, min_brightness: float) -> TileTexture:
    """One color, darkened in blotches down to a fraction of its brightness."""
    blotches = rng.random((6, 6), dtype=np.float32)
    tile = cv2.resize(blotches, (_TILE_SIZE, _TILE_SIZE), interpolation=cv2.INTER_LINEAR)
    return TileTexture(color, color * np.float32(min_brightness), tile, _TILE_SIZE / 0.35)


def _sample_stripes(rng: Generator) -> _Array:
    """(32,) of 0 and 1: stripes of one width."""
    width = int(rng.choice((2, 4, 8)))
    stripe_width = rng.integers(1, 2 * width)
    return np.asarray(np.arange(_TILE_SIZE) % (2 * width) < stripe_width, np.float32)


def _sample_pattern(rng: Generator) -> _Array:
    """A tile (32, 32) of stripes across, stripes along, checks, diagonals or blotches."""
    kind = rng.integers(5)
    stripes = _sample_stripes(rng)
    if kind == 0:
        return np.repeat(stripes[:, None], _TILE_SIZE, 1)
    if kind == 1:
        return np.repeat(stripes[None], _TILE_SIZE, 0)
    if kind == 2:
        return (stripes[:, None] + _sample_stripes(rng)[None]) / 2
    if kind == 3:
        diagonals = (np.arange(_TILE_SIZE)[:, None] + np.arange(_TILE_SIZE)) % _TILE_SIZE
        return np.asarray(stripes[diagonals])
    noise = rng.random((8, 8), dtype=np.float32)
    blotches = cv2.resize(noise, (_TILE_SIZE, _TILE_SIZE), interpolation=cv2.INTER_CUBIC)
    return (blotches > 0.5).astype(np.float32)


# --- paints made of others --------------------------------------------------------------------------------------------


def _split_paint(first: Paint, second: Paint, boundary: float) -> Paint:
    """One paint up to `boundary` along the solid's axis, another one beyond."""

    def paint_samples(samples: SurfaceSamples) -> _Array:
        if boundary <= 0:
            return second(samples)
        if boundary >= 1:
            return first(samples)
        is_first = (samples.axial < boundary)[:, None]
        return np.where(is_first, first(samples), second(samples))

    return paint_samples


def _face_paint(skin: Paint, hair_color: _Array, hairline: float, has_beard: bool, lip_color: _Array) -> Paint:
    """A face on the front of the head and hair on the rest; `hairline` is the axial position where the hair starts."""

    def paint_samples(samples: SurfaceSamples) -> _Array:
        colors = skin(samples)
        height, side, front = samples.axial, np.abs(samples.lateral), samples.forward
        # The back of the head, and in front what lies above a hairline that rises towards the temples.
        is_hair = (height > hairline + 0.25 * front) | ((front < 0.12) & (height > -0.25))
        if has_beard:
            is_lower_face = (height < 0.12) & (front > 0) & (side < 0.9)
            is_mouth = (height > 0) & (side < 0.28)
            is_hair |= is_lower_face & ~is_mouth
        colors[is_hair] = hair_color
        is_face = front > 0.2
        is_eye = ((side - 0.4) / 0.17) ** 2 + ((height - 0.45) / 0.1) ** 2 < 1
        is_brow = (np.abs(side - 0.42) < 0.24) & (np.abs(height - 0.66) < 0.05)
        is_lip = (side < 0.27) & (np.abs(height + 0.14) < 0.06)
        colors[is_face & is_eye] = (30, 28, 30)
        colors[is_face & is_brow] = hair_color * 0.7
        colors[is_face & is_lip] = lip_color
        return colors

    return paint_samples


def _front_print_paint(shirt: Paint, color: _Array, kind: int) -> Paint:
    """A shirt with a buttoned line (kind 0), an emblem (1) or a neckline (2) in front; other kinds have nothing."""

    def paint_samples(samples: SurfaceSamples) -> _Array:
        colors = shirt(samples)
        is_front, side = samples.forward > 0.1, np.abs(samples.lateral)
        if kind == 0:
            colors[is_front & (side < 0.09)] = color
        elif kind == 1:
            colors[is_front & (side < 0.5) & (np.abs(samples.axial - 0.6) < 0.17)] = color
        elif kind == 2:
            colors[is_front & (side < 0.9 * (samples.axial - 0.62))] = color
        return colors

    return paint_samples


# --- outfits ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outfit:
    """The paints of a person by body part, and the shape of clothes and hair.

    Attributes:
        legwear: Trousers, shorts or skirt.
        chest, pelvis, upper_arm, forearm, thigh, shin, shoe, skin, head, hair: Paint of the part.
        hair_style: 0 short hair, 1 long hair, 2 a pony tail, 3 a cap with a peak.
        sleeve_scale: Width of the sleeve at the elbow, relative to the arm.
        trouser_scale: Width of the trousers, relative to the leg.
        skirt_length: Fraction of the thigh that a skirt covers; 0 for none.
    """

    legwear: TileTexture
    chest: Paint
    pelvis: Paint
    upper_arm: Paint
    forearm: Paint
    thigh: Paint
    shin: Paint
    shoe: Paint
    skin: TileTexture
    head: Paint
    hair: Paint
    hair_style: int
    sleeve_scale: float
    trouser_scale: float
    skirt_length: float


def sample_outfit(rng: Generator) -> Outfit:
    """Sample clothes and hair: sleeves, trousers, shorts or a skirt, socks, shoes, a cap."""
    skin, shirt, legwear = sample_skin(rng), sample_cloth(rng, 0.4), sample_cloth(rng, 0.7)
    sleeve_length, leg_length, skirt_length = _sample_cloth_lengths(rng)
    # Half of the skirts are the lower part of a dress, of the shirt's cloth.
    if skirt_length and rng.random() < 0.5:
        legwear = shirt  # a dress
    sock = _sample_wrinkles(rng, sample_color(rng), 0.9)
    hair_color = (_HAIR_COLORS[rng.integers(len(_HAIR_COLORS))] * rng.uniform(0.8, 1.2)).astype(np.float32)
    has_cap = rng.random() < 0.12
    head_color = sample_color(rng) if has_cap else hair_color
    chest = _front_print_paint(shirt, sample_color(rng), int(rng.integers(5)))
    pelvis = _split_paint(legwear, shirt, float(rng.uniform(0.3, 0.75)))
    thigh = _split_paint(legwear, skin, leg_length)
    if leg_length > 1:
        shin = _split_paint(legwear, skin, 0.93)
    else:
        shin = _split_paint(skin, sock, float(rng.uniform(0.3, 1.1)))
    shoe = _sample_wrinkles(rng, sample_color(rng), 0.8)
    hairline, has_beard = float(rng.uniform(0.72, 1.15)), rng.random() < 0.15
    head = _face_paint(skin, head_color, hairline, has_beard, skin.color * (0.75, 0.68, 0.9))
    hair = _sample_wrinkles(rng, head_color, 0.7)
    hair_style = 3 if has_cap else int(rng.choice((0, 1, 2), p=(0.6, 0.27, 0.13)))
    sleeve_scale, trouser_scale = float(rng.uniform(1.02, 1.3)), float(rng.uniform(1.02, 1.3))
    forearm = _split_paint(shirt, skin, 0.9 if sleeve_length > 1 else 0.0)
    return Outfit(
        legwear=legwear,
        chest=chest,
        pelvis=pelvis,
        upper_arm=_split_paint(shirt, skin, sleeve_length),
        forearm=forearm,
        thigh=thigh,
        shin=shin,
        shoe=shoe,
        skin=skin,
        head=head,
        hair=hair,
        hair_style=hair_style,
        sleeve_scale=sleeve_scale,
        trouser_scale=trouser_scale,
        skirt_length=skirt_length,
    )


def _sample_cloth_lengths(rng: Generator) -> tuple[float, float, float]:
    """Lengths of sleeves, trouser legs and skirt as fractions of upper arm and thigh."""
    short_sleeve = rng.uniform(0.4, 0.8)
    sleeve = float(rng.choice((0.0, short_sleeve, _WHOLE_LENGTH), p=(0.2, 0.45, 0.35)))
    shorts, long_shorts = rng.uniform(0.2, 0.5), rng.uniform(0.6, 1.0)
    leg = float(rng.choice((shorts, long_shorts, _WHOLE_LENGTH), p=(0.2, 0.25, 0.55)))
    if rng.random() >= 0.14:
        return sleeve, leg, 0.0
    skirt = float(rng.uniform(0.4, 1.05))
    # Under a skirt short legwear is likelier than long.
    leg = float(rng.choice((rng.uniform(0.3, 0.5), _WHOLE_LENGTH), p=(0.7, 0.3)))
    return sleeve, leg, skirt
