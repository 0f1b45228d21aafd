"""Forty-five kinds of image files, each with the outcome that docs/reference/messages.md promises."""

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
READ, BROKEN, TOO_LARGE = 'read', 'not a whole image', 'px are more than the 100,000,000 that are decoded'
FLOATS = 'its values are float32'


class ImageKind(NamedTuple):
    """A kind of image file.

    Attributes:
        name: Description of the file.
        data: Function that returns its bytes.
        outcome: READ, or a part of the error message.
        is_correct: Test of the pixels (H, W, 3), BGR, of a file that is read.
    """

    name: str
    data: Callable[[], bytes]
    outcome: str
    is_correct: Callable[[np.ndarray], Any] = lambda _: True


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


def encode_image(file_format: str, pixels: np.ndarray | Image.Image | None = None, **settings: Any) -> bytes:
    """An image, by default the scene, as the bytes of a file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(scene() if pixels is None else pixels)
    file = io.BytesIO()
    image.save(file, file_format, **settings)
    return file.getvalue()


def truncate(data: bytes, fraction: float = 0.5) -> bytes:
    return data[: int(len(data) * fraction)]


def write_zeros(data: bytes) -> bytes:
    third = len(data) // 3
    return data[:third] + bytes(third) + data[2 * third :]


def flip_byte(data: bytes) -> bytes:
    offset = len(data) // 2
    return data[:offset] + bytes([data[offset] ^ 0xFF]) + data[offset + 1 :]


def write_bytes_at(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def build_png(width: int, height: int, content: bytes, depth: int = 8, color: int = 2) -> bytes:
    """A PNG file of a header and compressed rows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    head = struct.pack('>IIBBBBB', width, height, depth, color, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(content, 9)) + chunk(b'IEND', b'')


@cache
def bomb() -> bytes:
    """An image of 20000 x 20000 px in 389 KB."""
    packer = zlib.compressobj(9)
    rows = b''.join(packer.compress(bytes(20_001) * 1000) for _ in range(20)) + packer.flush()
    whole = build_png(20_000, 20_000, b'', color=0)
    start = whole.index(b'IDAT') - 4
    chunk = struct.pack('>I', len(rows)) + b'IDAT' + rows + struct.pack('>I', zlib.crc32(b'IDAT' + rows))
    return whole[:start] + chunk + whole[-12:]


def build_exif(orientation: int, garbage: bool = False) -> bytes:
    """An EXIF block with an orientation."""
    block = b'Exif\0\0II*\0\x08\0\0\0\x01\0' + struct.pack('<HHII', 274, 3, 1, orientation) + bytes(4)
    return b'Exif\0\0' + bytes(range(40)) if garbage else block


def encode_12_bits() -> bytes:
    data = encode_image('JPEG')
    return write_bytes_at(data, data.index(b'\xff\xc0') + 4, b'\x0c')


def encode_two_images(file_format: str) -> bytes:
    """A file of two images, the scene and a black one."""
    return encode_image(file_format, save_all=True, append_images=[Image.fromarray(np.zeros_like(scene()))])


def build_false_bmp(width: int, height: int) -> bytes:
    """A BMP file whose header declares a wrong size."""
    return write_bytes_at(encode_image('BMP'), 18, struct.pack('<ii', width, height))


def is_near(image: np.ndarray, tolerance: float = 12) -> bool:
    """Whether pixels are the scene's, except at its edges, up to the loss of lossy formats."""
    errors = np.abs(image.astype(int) - scene()[..., ::-1])
    if image.shape != (HEIGHT, WIDTH, 3) or np.median(errors) > tolerance / 4:
        return False
    return errors[12:, 12:].max() <= tolerance


def is_exact(image: np.ndarray) -> bool:
    return np.array_equal(image, scene()[..., ::-1])


def is_gray(image: np.ndarray) -> bool:
    """Three equal channels, dark to bright downwards."""
    means = image.mean(axis=(1, 2))
    return np.array_equal(image[..., 0], image[..., 2]) and means[-1] > means[10]


def draw_gray_scene() -> Image.Image:
    return Image.fromarray(scene()).convert('L')


def draw_16_bit_scene() -> np.ndarray:
    """(H, W) of 16 bits: 257 times the brightness of 8 bits."""
    return np.asarray(draw_gray_scene()).astype(np.uint16) * 257


def encode_with_alpha(mode: str) -> bytes:
    """The scene, or its brightness, half transparent at the left and fully at the right."""
    image = Image.fromarray(scene()).convert(mode)
    image.putalpha(Image.fromarray(np.tile(np.linspace(128, 0, WIDTH).astype(np.uint8), (HEIGHT, 1))))
    return encode_image('PNG', image)


def is_near_upright(image: np.ndarray) -> bool:
    return is_near(np.rot90(image))  # orientation 6 was turned clockwise


def is_gray_scene(image: np.ndarray) -> bool:
    return np.array_equal(image[..., 1], np.asarray(draw_gray_scene()))


KINDS = (
    ImageKind('a JPEG file', lambda: encode_image('JPEG', quality=95), READ, is_near),
    ImageKind('a JPEG file cut in the middle', lambda: truncate(encode_image('JPEG', noise())), BROKEN),
    ImageKind('a JPEG file cut within its header', lambda: encode_image('JPEG')[:100], BROKEN),
    ImageKind('a JPEG file without its end mark', lambda: encode_image('JPEG', quality=95)[:-2], BROKEN),
    ImageKind(
        'a JPEG file with zeros in its middle',
        lambda: write_zeros(encode_image('JPEG', noise())),
        READ,
        lambda p: p.shape == (HEIGHT, WIDTH, 3),
    ),
    ImageKind(
        'a JPEG file with a progressive scan', lambda: encode_image('JPEG', quality=95, progressive=True), READ, is_near
    ),
    ImageKind(
        'a progressive JPEG file cut in the middle',
        lambda: truncate(encode_image('JPEG', noise(), progressive=True)),
        BROKEN,
    ),
    ImageKind(
        'a JPEG file followed by 1,000 zeros', lambda: encode_image('JPEG', quality=95) + bytes(1000), READ, is_near
    ),
    ImageKind('a JPEG file of 12 bits a channel', encode_12_bits, BROKEN),
    ImageKind('a gray JPEG file', lambda: encode_image('JPEG', draw_gray_scene(), quality=95), READ, is_gray),
    ImageKind(
        'a JPEG file in CMYK',
        lambda: encode_image('JPEG', Image.fromarray(scene()).convert('CMYK'), quality=95),
        READ,
        lambda p: is_near(p, 40),
    ),
    ImageKind('a JPEG file with two images (MPO)', lambda: encode_two_images('MPO'), READ, lambda p: is_near(p, 60)),
    ImageKind(
        'EXIF: rotated by 90 degrees (6)',
        lambda: encode_image('JPEG', quality=95, exif=build_exif(6)),
        READ,
        is_near_upright,
    ),
    ImageKind(
        'EXIF: an orientation of 99', lambda: encode_image('JPEG', quality=95, exif=build_exif(99)), READ, is_near
    ),
    ImageKind('EXIF: garbage', lambda: encode_image('JPEG', quality=95, exif=build_exif(1, True)), READ, is_near),
    ImageKind('a PNG file', lambda: encode_image('PNG'), READ, is_exact),
    ImageKind('a PNG file named .jpg', lambda: encode_image('PNG', compress_level=1), READ, is_exact),
    ImageKind('a PNG file cut in the middle', lambda: truncate(encode_image('PNG', noise())), BROKEN),
    ImageKind('a PNG file without its end', lambda: encode_image('PNG')[:-12], BROKEN),
    ImageKind('a PNG file with zeros in its middle', lambda: write_zeros(encode_image('PNG', noise())), BROKEN),
    ImageKind('a PNG file with a flipped byte', lambda: flip_byte(encode_image('PNG', noise())), BROKEN),
    ImageKind(
        'a PNG file with a wrong checksum',
        lambda: write_bytes_at(encode_image('PNG'), len(encode_image('PNG')) - 16, b'abcd'),
        BROKEN,
    ),
    ImageKind('a PNG file of 16 bits a channel', lambda: encode_image('PNG', draw_16_bit_scene()), READ, is_gray_scene),
    ImageKind(
        'a PNG file of 1 bit',
        lambda: encode_image('PNG', draw_gray_scene().convert('1')),
        READ,
        lambda p: set(np.unique(p)) == {0, 255},
    ),
    ImageKind(
        'a PNG file with a palette',
        lambda: encode_image('PNG', Image.fromarray(scene()).convert('P')),
        READ,
        lambda p: np.abs(p.astype(int) - scene()[..., ::-1]).mean() < 30,
    ),
    ImageKind('a PNG file with alpha', lambda: encode_with_alpha('RGB'), READ, is_exact),
    ImageKind('a gray PNG file with alpha', lambda: encode_with_alpha('L'), READ, is_gray_scene),
    ImageKind('an animated PNG file', lambda: encode_two_images('PNG'), READ, is_exact),
    ImageKind(
        'a GIF file',
        lambda: encode_image('GIF', Image.fromarray(scene()).convert('P')),
        READ,
        lambda p: np.abs(p.astype(int) - scene()[..., ::-1]).mean() < 30,
    ),
    ImageKind(
        'an animated GIF file',
        lambda: encode_two_images('GIF'),
        READ,
        lambda p: np.abs(p.astype(int) - scene()[..., ::-1]).mean() < 30,
    ),
    ImageKind('a WebP file', lambda: encode_image('WEBP', quality=95), READ, lambda p: is_near(p, 60)),
    ImageKind('a WebP file without loss', lambda: encode_image('WEBP', lossless=True), READ, is_exact),
    ImageKind('a WebP file cut in the middle', lambda: truncate(encode_image('WEBP', noise())), BROKEN),
    ImageKind('a BMP file', lambda: encode_image('BMP'), READ, is_exact),
    ImageKind('a BMP file cut in the middle', lambda: truncate(encode_image('BMP')), BROKEN),
    ImageKind('a BMP file that declares a larger size', lambda: build_false_bmp(WIDTH, 4000), BROKEN),
    ImageKind('a TIFF file', lambda: encode_image('TIFF'), READ, is_exact),
    ImageKind(
        'a TIFF file of floating point', lambda: encode_image('TIFF', draw_16_bit_scene().astype(np.float32)), FLOATS
    ),
    ImageKind('a TIFF file cut in the middle', lambda: truncate(encode_image('TIFF')), BROKEN),
    ImageKind('an empty file', bytes, BROKEN),
    ImageKind('a text', lambda: b'This is a text.\n' * 100, BROKEN),
    ImageKind('a web page', lambda: b'<html>404 Not Found</html>', BROKEN),
    ImageKind('a PNG file of 20000 x 20000 px in 389 KB', bomb, TOO_LARGE),
    ImageKind('a PNG header of 100000 x 100000 px', lambda: build_png(100_000, 100_000, b''), TOO_LARGE),
    ImageKind('a BMP header of 2147483647 px', lambda: build_false_bmp(2**31 - 1, 2**31 - 1), TOO_LARGE),
)
