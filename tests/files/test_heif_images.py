"""HEIC and AVIF images, written by Pillow."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, features

from poseplug.core.errors import ImageError
from poseplug.files.heif_images import convert_heif_image, is_heif_image
from poseplug.files.images import IMAGE_SUFFIXES, LazyImage, read_image, read_image_bytes

needs_avif = pytest.mark.skipif(not features.check('avif'), reason='this Pillow has no AVIF')


def draw_image():
    """(40, 60, 3) BGR, smooth, with another color in each corner."""
    corners = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [200, 200, 200]]], np.uint8)
    return cv2.resize(corners, (60, 40), interpolation=cv2.INTER_LINEAR)


def encode_image(name, **options):
    data = io.BytesIO()
    Image.fromarray(draw_image()[..., ::-1]).save(data, name, quality=95, **options)
    return data.getvalue()


@needs_avif
def test_avif_is_read_by_its_bytes_and_as_a_file(tmp_path):
    data = encode_image('AVIF')
    assert is_heif_image(data[:12])
    pixels = read_image_bytes(data)
    assert pixels.shape == (40, 60, 3)
    assert np.abs(pixels.astype(int) - draw_image()).mean() < 5
    (tmp_path / 'a.avif').write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.avif'), pixels)
    assert LazyImage(tmp_path / 'a.avif').size == (60, 40)
    assert '.avif' in IMAGE_SUFFIXES


@needs_avif
def test_an_image_with_an_orientation_is_upright():
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: 90 degrees clockwise make it upright
    pixels = read_image_bytes(encode_image('AVIF', exif=exif))
    assert pixels.shape == (60, 40, 3)
    assert np.abs(pixels.astype(int) - np.rot90(draw_image(), -1)).mean() < 5


@needs_avif
def test_damaged_and_large_images_are_refused_by_name():
    data = encode_image('AVIF')
    with pytest.raises(ImageError, match=r'a\.avif: .* not a whole image|a\.avif: this AVIF or HEIC file cannot'):
        convert_heif_image(data[: len(data) // 2], 'a.avif', 10_000)
    with pytest.raises(ImageError, match=r'a\.avif: 60 x 40 px are more than the 1,000'):
        convert_heif_image(data, 'a.avif', 1000)


def test_heic_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'pillow_heif', None)
    with pytest.raises(ImageError, match=r'a\.heic is a HEIC image.*poseplug\[heif\]'):
        read_image_bytes(b'\0\0\0\x18ftypheic' + bytes(40), 'a.heic')


def test_heic_is_read_upright():
    heif = pytest.importorskip('pillow_heif', reason='the extra heif is not installed')
    heif.register_heif_opener()
    exif = Image.Exif()
    exif[274] = 6
    pixels = read_image_bytes(encode_image('HEIF', exif=exif.tobytes()))
    assert pixels.shape == (60, 40, 3)
    assert np.abs(pixels.astype(int) - np.rot90(draw_image(), -1)).mean() < 8
