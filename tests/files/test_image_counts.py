"""Files of several images are told from those of one, as Pillow counts them, and reported once."""

import io

import numpy as np
import pytest
from PIL import Image

from poseplug.files.image_counts import has_several_images
from poseplug.files.images import read_image, read_image_bytes

FORMATS = ('GIF', 'PNG', 'WEBP', 'TIFF')


def encode_images(image_format, count, **settings):
    """Different images of noise in one file."""
    pixels = np.random.default_rng(count).integers(0, 256, (count, 20, 30, 3), np.uint8)
    first, *others = map(Image.fromarray, pixels)
    file = io.BytesIO()
    first.save(file, image_format, save_all=count > 1, append_images=others, **settings)
    return file.getvalue()


@pytest.mark.parametrize('count', [1, 2, 5])
@pytest.mark.parametrize('image_format', FORMATS)
def test_a_file_has_several_images_where_pillow_counts_several(image_format, count):
    data = encode_images(image_format, count)
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, 'n_frames', 1) == count
    assert has_several_images(data) == (count > 1)


@pytest.mark.parametrize('image_format', FORMATS)
def test_a_file_cut_anywhere_raises_nothing(image_format):
    data = encode_images(image_format, 3)
    for length in range(0, len(data), 7):
        assert has_several_images(data[:length]) in (False, True)


def test_smaller_versions_of_a_page_do_not_count():
    data = encode_images('TIFF', 3, tiffinfo={254: 1})  # NewSubfileType: a reduced version of another page
    assert not has_several_images(data)


def test_directories_of_tiff_that_lead_back_end():
    data = bytearray(encode_images('TIFF', 1))
    first = int.from_bytes(data[4:8], 'little')
    count = int.from_bytes(data[first : first + 2], 'little')
    next_offset = first + 2 + 12 * count
    data[next_offset : next_offset + 4] = data[4:8]
    assert not has_several_images(data)


def test_a_jpeg_file_with_the_depth_of_its_image_counts_as_one():
    assert not has_several_images(encode_images('MPO', 2))


@pytest.mark.parametrize('image_format', FORMATS)
def test_the_images_behind_the_first_are_reported_once(image_format, tmp_path, caplog):
    data = encode_images(image_format, 2)
    (tmp_path / 'pages.jpg').write_bytes(data)
    first = read_image(tmp_path / 'pages.jpg')
    read_image(tmp_path / 'pages.jpg')
    assert caplog.text.count('holds several images (') == 1
    assert str(tmp_path / 'pages.jpg') in caplog.text
    assert np.array_equal(read_image_bytes(data, f'bytes of {image_format}'), first)
    assert f'bytes of {image_format} holds several images' in caplog.text


def test_a_sequence_of_avif_is_reported(tmp_path, caplog):
    (tmp_path / 'sequence.avif').write_bytes(encode_images('AVIF', 2))
    (tmp_path / 'single.avif').write_bytes(encode_images('AVIF', 1))
    read_image(tmp_path / 'single.avif')
    assert caplog.text == ''
    read_image(tmp_path / 'sequence.avif')
    assert 'sequence.avif holds several images (AVIF)' in caplog.text
