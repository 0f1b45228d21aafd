"""The door for pictures: every kind of file has the outcome that the page promises."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from poseplug.datasets.image_heads import header_size, orientation
from poseplug.datasets.images import MOST_PIXELS, Picture, decode, read_image, turned
from poseplug.errors import ImageError
from tests.reliability import fuzz_images, pictures

INTACT = fuzz_images.intact()
SEED = pictures.saved('JPEG', quality=90, exif=pictures.exif(6))


@pytest.mark.parametrize('kind', pictures.KINDS, ids=lambda kind: kind.name)
def test_every_kind_of_picture_ends_as_promised(tmp_path, kind):
    assert fuzz_images.outcome(kind, tmp_path) == ''


@pytest.mark.parametrize('kind', pictures.KINDS, ids=lambda kind: kind.name)
def test_the_page_says_what_becomes_of_it(root, kind):
    rows = [line.split(' | ') for line in (root / 'docs/bad_input.md').read_text().splitlines() if ' | ' in line]
    (told,) = [outcome for name, outcome in (row[:2] for row in rows) if name == f'| {kind.name}']
    assert kind.outcome in told


def test_a_bomb_is_refused_in_little_memory():
    assert fuzz_images.memory_of_the_bomb() < fuzz_images.MEMORY


def test_spoiled_pictures_are_read_or_refused_by_name():
    ends = fuzz_images.fuzz(200)
    assert set(ends) == {'read', 'refused'}
    assert ends.total() == 200


@pytest.mark.parametrize('data', INTACT, ids=lambda data: data[:4])
def test_the_head_says_the_size_that_another_library_finds(data):
    assert header_size(data) == Image.open(io.BytesIO(data)).size == (pictures.WIDTH, pictures.HEIGHT)


@pytest.mark.parametrize(('width', 'height', 'read'), [(10_000, 10_000, True), (10_001, 10_000, False)])
def test_the_largest_picture_has_100_million_pixels(tmp_path, width, height, read):
    assert MOST_PIXELS == 100_000_000
    (tmp_path / 'large.png').write_bytes(pictures.png(width, height, b''))
    if read:
        assert Picture(tmp_path / 'large.png').size == (width, height)
    else:
        with pytest.raises(ImageError, match=r'large.png: 10,001 x 10,000 px are more than the 100,000,000'):
            _ = Picture(tmp_path / 'large.png').size


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('held', range(1, 9))
def test_an_upright_picture_is_turned_as_another_library_turns_it(tmp_path, form, held):
    if form == 'TIFF':
        data = pictures.saved(form, tiffinfo={274: held})
    else:
        data = pictures.saved(form, exif=pictures.exif(held), **({} if form == 'PNG' else {'quality': 90}))
    (tmp_path / 'held').write_bytes(data)
    assert orientation(data) == held
    stored, upright = (read_image(tmp_path / 'held', upright=u) for u in (False, True))
    assert pictures.exact(stored) if form in ('PNG', 'TIFF') else pictures.near(stored, 60)
    image = Image.fromarray(stored)
    image.getexif()[274] = held
    assert np.array_equal(upright, np.asarray(ImageOps.exif_transpose(image)))


def test_held_on_its_side_the_upper_left_pixel_comes_to_the_upper_right():
    image = np.arange(6).reshape(2, 3)
    assert turned(image, 6).tolist() == [[3, 0], [4, 1], [5, 2]]


@pytest.mark.parametrize('held', [0, 9, 99])
def test_an_orientation_that_does_not_exist_is_upright(held):
    assert orientation(pictures.saved('JPEG', exif=pictures.exif(held))) == 1


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200), st.sampled_from(INTACT), st.integers(0, 60))
def test_any_bytes_have_a_size_or_none_and_an_orientation(tail, data, keep):
    data = data[:keep] + tail
    size = header_size(data)
    assert size is None or min(size) > 0
    assert orientation(data) in range(1, 9)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(min_size=1, max_size=20), st.integers(0, 160))
def test_any_bytes_in_an_exif_block_have_an_orientation(piece, place):
    assert orientation(SEED[:place] + piece + SEED[place + len(piece) :]) in range(1, 9)


def test_a_decoder_that_gives_up_is_one_that_finds_no_picture():
    """OpenCV raises where a head states more pixels than it decodes; that head is refused before, so here by hand."""
    assert decode(pictures.png(100_000, 100_000, b'')) is None
    assert decode(b'') is None


def test_a_picture_is_decoded_once(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(SEED)
    picture = Picture(tmp_path / 'a.jpg')
    assert picture.pixels() is picture.pixels()
