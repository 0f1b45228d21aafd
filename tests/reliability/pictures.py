"""Forty-odd kinds of picture files, each with the outcome that docs/bad_input.md promises."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 60, 40
READ, BROKEN, TOO_LARGE = 'read', 'not a whole picture', 'px are more than the 100,000,000 that are decoded'


class Kind(NamedTuple):
    """What a file is, its bytes, the outcome, and for one that is read a test of its pixels (H, W, 3), BGR."""

    name: str
    data: Callable[[], bytes]
    outcome: str
    right: Callable[[np.ndarray], Any] = lambda _: True


@cache
def scene() -> np.ndarray:
    """(H, W, 3) RGB: red to the left, blue to the right, brighter downwards, a green corner at the upper left."""
    x, y = np.linspace(1, 0, WIDTH)[None, :, None], np.linspace(0.3, 1, HEIGHT)[:, None, None]
    pixels = 255 * y * np.concatenate([x, np.zeros_like(x), 1 - x], axis=2)
    pixels[:8, :8] = (0, 255, 0)
    return pixels.round().astype(np.uint8)


@cache
def noise() -> np.ndarray:
    """(H, W, 3) that does not compress, so that a file's middle lies in its pixels."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def saved(form: str, pixels: np.ndarray | Image.Image | None = None, **settings: Any) -> bytes:
    """A picture, by default the scene, as a file of a format."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(scene() if pixels is None else pixels)
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def cut(data: bytes, share: float = 0.5) -> bytes:
    return data[: int(len(data) * share)]


def zeroed(data: bytes) -> bytes:
    third = len(data) // 3
    return data[:third] + bytes(third) + data[2 * third :]


def flipped(data: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def patched(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def png(width: int, height: int, content: bytes, depth: int = 8, color: int = 2) -> bytes:
    """A PNG file of a header and compressed rows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    head = struct.pack('>IIBBBBB', width, height, depth, color, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(content, 9)) + chunk(b'IEND', b'')


@cache
def bomb() -> bytes:
    """A picture of 20000 x 20000 px in 389 KB."""
    packer = zlib.compressobj(9)
    rows = b''.join(packer.compress(bytes(20_001) * 1000) for _ in range(20)) + packer.flush()
    whole = png(20_000, 20_000, b'', color=0)
    start = whole.index(b'IDAT') - 4
    chunk = struct.pack('>I', len(rows)) + b'IDAT' + rows + struct.pack('>I', zlib.crc32(b'IDAT' + rows))
    return whole[:start] + chunk + whole[-12:]


def exif(held: int, garbage: bool = False) -> bytes:
    """An EXIF block with an orientation."""
    block = b'Exif\0\0II*\0\x08\0\0\0\x01\0' + struct.pack('<HHII', 274, 3, 1, held) + bytes(4)
    return b'Exif\0\0' + bytes(range(40)) if garbage else block


def twelve_bits() -> bytes:
    data = saved('JPEG')
    return patched(data, data.index(b'\xff\xc0') + 4, b'\x0c')


def several(form: str) -> bytes:
    """A file of two pictures, the scene and a black one."""
    return saved(form, save_all=True, append_images=[Image.fromarray(np.zeros_like(scene()))])


def lying_bmp(width: int, height: int) -> bytes:
    """A BMP file whose header says another size than it has."""
    return patched(saved('BMP'), 18, struct.pack('<ii', width, height))


def near(image: np.ndarray, tolerance: float = 12) -> bool:
    """Whether pixels are the scene's, beside its edges, as far as lossy formats keep them."""
    away = np.abs(image.astype(int) - scene()[..., ::-1])
    return image.shape == (HEIGHT, WIDTH, 3) and np.median(away) <= tolerance / 4 and away[12:, 12:].max() <= tolerance


def exact(image: np.ndarray) -> bool:
    return np.array_equal(image, scene()[..., ::-1])


def grey(image: np.ndarray) -> bool:
    """Three equal channels, dark to bright downwards."""
    means = image.mean(axis=(1, 2))
    return np.array_equal(image[..., 0], image[..., 2]) and means[-1] > means[10]


def brightness() -> Image.Image:
    return Image.fromarray(scene()).convert('L')


def deep() -> np.ndarray:
    """(H, W) of 16 bits: 257 times the brightness of 8 bits."""
    return np.asarray(brightness()).astype(np.uint16) * 257


def with_alpha(mode: str) -> bytes:
    """The scene, or its brightness, half transparent at the left and wholly at the right."""
    image = Image.fromarray(scene()).convert(mode)
    image.putalpha(Image.fromarray(np.tile(np.linspace(128, 0, WIDTH).astype(np.uint8), (HEIGHT, 1))))
    return saved('PNG', image)


def same_grey(image: np.ndarray) -> bool:
    return np.array_equal(image[..., 1], np.asarray(brightness()))


KINDS = (
    Kind('a JPEG file', lambda: saved('JPEG', quality=95), READ, near),
    Kind('a JPEG file cut in the middle', lambda: cut(saved('JPEG', noise())), BROKEN),
    Kind('a JPEG file cut within its head', lambda: saved('JPEG')[:100], BROKEN),
    Kind('a JPEG file without its end mark', lambda: saved('JPEG', quality=95)[:-2], BROKEN),
    Kind('a JPEG file with zeros in its middle', lambda: zeroed(saved('JPEG', noise())), READ,
         lambda p: p.shape == (HEIGHT, WIDTH, 3)),
    Kind('a JPEG file with a progressive scan', lambda: saved('JPEG', quality=95, progressive=True), READ, near),
    Kind('a progressive JPEG file cut in the middle', lambda: cut(saved('JPEG', noise(), progressive=True)), BROKEN),
    Kind('a JPEG file with 1,000 zeros behind it', lambda: saved('JPEG', quality=95) + bytes(1000), READ, near),
    Kind('a JPEG file of 12 bits a channel', twelve_bits, BROKEN),
    Kind('a JPEG file of grey', lambda: saved('JPEG', brightness(), quality=95), READ, grey),
    Kind('a JPEG file in CMYK', lambda: saved('JPEG', Image.fromarray(scene()).convert('CMYK'), quality=95), READ,
         lambda p: near(p, 40)),
    Kind('a JPEG file with two pictures (MPO)', lambda: several('MPO'), READ, lambda p: near(p, 60)),
    Kind('EXIF: held on its side (6)', lambda: saved('JPEG', quality=95, exif=exif(6)), READ, near),
    Kind('EXIF: an orientation of 99', lambda: saved('JPEG', quality=95, exif=exif(99)), READ, near),
    Kind('EXIF: garbage', lambda: saved('JPEG', quality=95, exif=exif(1, True)), READ, near),
    Kind('a PNG file', lambda: saved('PNG'), READ, exact),
    Kind('a PNG file named .jpg', lambda: saved('PNG', compress_level=1), READ, exact),
    Kind('a PNG file cut in the middle', lambda: cut(saved('PNG', noise())), BROKEN),
    Kind('a PNG file without its end', lambda: saved('PNG')[:-12], BROKEN),
    Kind('a PNG file with zeros in its middle', lambda: zeroed(saved('PNG', noise())), BROKEN),
    Kind('a PNG file with a flipped byte', lambda: flipped(saved('PNG', noise())), BROKEN),
    Kind('a PNG file with a wrong checksum', lambda: patched(saved('PNG'), len(saved('PNG')) - 16, b'abcd'), BROKEN),
    Kind('a PNG file of 16 bits a channel', lambda: saved('PNG', deep()), READ, same_grey),
    Kind('a PNG file of 1 bit', lambda: saved('PNG', brightness().convert('1')), READ,
         lambda p: set(np.unique(p)) == {0, 255}),
    Kind('a PNG file with a palette', lambda: saved('PNG', Image.fromarray(scene()).convert('P')), READ,
         lambda p: np.abs(p.astype(int) - scene()[..., ::-1]).mean() < 30),
    Kind('a PNG file with alpha', lambda: with_alpha('RGB'), READ, exact),
    Kind('a PNG file of grey with alpha', lambda: with_alpha('L'), READ, same_grey),
    Kind('an animated PNG file', lambda: several('PNG'), READ, exact),
    Kind('a GIF file', lambda: saved('GIF', Image.fromarray(scene()).convert('P')), READ,
         lambda p: np.abs(p.astype(int) - scene()[..., ::-1]).mean() < 30),
    Kind('an animated GIF file', lambda: several('GIF'), READ,
         lambda p: np.abs(p.astype(int) - scene()[..., ::-1]).mean() < 30),
    Kind('a WebP file', lambda: saved('WEBP', quality=95), READ, lambda p: near(p, 60)),
    Kind('a WebP file without loss', lambda: saved('WEBP', lossless=True), READ, exact),
    Kind('a WebP file cut in the middle', lambda: cut(saved('WEBP', noise())), BROKEN),
    Kind('a BMP file', lambda: saved('BMP'), READ, exact),
    Kind('a BMP file cut in the middle', lambda: cut(saved('BMP')), BROKEN),
    Kind('a BMP file that says it is larger', lambda: lying_bmp(WIDTH, 4000), BROKEN),
    Kind('a TIFF file', lambda: saved('TIFF'), READ, exact),
    Kind('a TIFF file of floating point', lambda: saved('TIFF', deep().astype(np.float32)), BROKEN),
    Kind('a TIFF file cut in the middle', lambda: cut(saved('TIFF')), BROKEN),
    Kind('an empty file', bytes, BROKEN),
    Kind('a text', lambda: b'This is a text.\n' * 100, BROKEN),
    Kind('a web page', lambda: b'<html>404 Not Found</html>', BROKEN),
    Kind('a PNG file of 20000 x 20000 px in 389 KB', bomb, TOO_LARGE),
    Kind('a PNG head of 100000 x 100000 px', lambda: png(100_000, 100_000, b''), TOO_LARGE),
    Kind('a BMP head of 2147483647 px', lambda: lying_bmp(2**31 - 1, 2**31 - 1), TOO_LARGE),
)  # fmt: skip
