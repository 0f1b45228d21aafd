"""Every kind of image file has the outcome that the page promises, and decoding a part gives the same pixels."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from poseplug.core.errors import ImageError
from poseplug.files.image_headers import read_header_size, read_jpeg_size, read_orientation, truncate_jpeg
from poseplug.files.images import (
    MAX_IMAGE_PIXELS,
    ImageCache,
    LazyImage,
    apply_orientation,
    decode_image,
    read_image,
)
from tests.reliability import fuzz_images, image_kinds

INTACT_FILES = fuzz_images.encode_intact_files()
JPEG_WITH_EXIF = image_kinds.encode_image('JPEG', quality=90, exif=image_kinds.build_exif(6))


@pytest.mark.parametrize('kind', image_kinds.KINDS, ids=lambda kind: kind.name)
def test_every_kind_of_image_ends_as_promised(tmp_path, kind):
    assert fuzz_images.find_fault(kind, tmp_path) == ''


@pytest.mark.parametrize('kind', image_kinds.KINDS, ids=lambda kind: kind.name)
def test_the_page_says_what_becomes_of_it(root, kind):
    page = (root / 'docs/reference/messages.md').read_text()
    rows = [line.split(' | ') for line in page.splitlines() if ' | ' in line]
    (promise,) = [outcome for name, outcome in (row[:2] for row in rows) if name == f'| {kind.name}']
    assert kind.outcome in promise


def test_a_decompression_bomb_is_refused_in_little_memory():
    assert fuzz_images.measure_bomb_memory() < fuzz_images.MAX_MEMORY_MB


def test_damaged_images_are_read_or_refused_by_name():
    ends = fuzz_images.fuzz_images(200)
    assert set(ends) == {'read', 'refused'}
    assert ends.total() == 200


@pytest.mark.parametrize('data', INTACT_FILES, ids=lambda data: data[:4])
def test_the_header_states_the_size_that_another_library_reads(data):
    assert read_header_size(data) == Image.open(io.BytesIO(data)).size == (image_kinds.WIDTH, image_kinds.HEIGHT)


@pytest.mark.parametrize(('width', 'height', 'is_read'), [(10_000, 10_000, True), (10_001, 10_000, False)])
def test_the_largest_image_has_100_million_pixels(tmp_path, width, height, is_read):
    assert MAX_IMAGE_PIXELS == 100_000_000
    (tmp_path / 'large.png').write_bytes(image_kinds.build_png(width, height, b''))
    if is_read:
        assert LazyImage(tmp_path / 'large.png').size == (width, height)
    else:
        with pytest.raises(ImageError, match=r'large.png: 10,001 x 10,000 px are more than the 100,000,000'):
            _ = LazyImage(tmp_path / 'large.png').size


@pytest.mark.parametrize('file_format', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_an_image_is_rotated_upright_as_another_library_does_it(tmp_path, file_format, orientation):
    if file_format == 'TIFF':
        data = image_kinds.encode_image(file_format, tiffinfo={274: orientation})
    else:
        quality = {} if file_format == 'PNG' else {'quality': 90}
        data = image_kinds.encode_image(file_format, exif=image_kinds.build_exif(orientation), **quality)
    (tmp_path / 'image').write_bytes(data)
    assert read_orientation(data) == orientation
    stored, upright = (read_image(tmp_path / 'image', apply_exif=apply_exif) for apply_exif in (False, True))
    assert image_kinds.is_exact(stored) if file_format in ('PNG', 'TIFF') else image_kinds.is_near(stored, 60)
    image = Image.fromarray(stored)
    image.getexif()[274] = orientation
    assert np.array_equal(upright, np.asarray(ImageOps.exif_transpose(image)))


def test_of_a_camera_held_on_its_side_the_upper_left_pixel_becomes_the_upper_right():
    image = np.arange(6).reshape(2, 3)
    assert apply_orientation(image, 6).tolist() == [[3, 0], [4, 1], [5, 2]]


@pytest.mark.parametrize('orientation', [0, 9, 99])
def test_an_orientation_that_does_not_exist_is_upright(orientation):
    assert read_orientation(image_kinds.encode_image('JPEG', exif=image_kinds.build_exif(orientation))) == 1


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200), st.sampled_from(INTACT_FILES), st.integers(0, 60))
def test_any_bytes_have_a_size_or_none_and_an_orientation(tail, data, num_intact):
    data = data[:num_intact] + tail
    size = read_header_size(data)
    assert size is None or min(size) > 0
    assert read_orientation(data) in range(1, 9)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(min_size=1, max_size=20), st.integers(0, 160))
def test_any_bytes_in_an_exif_block_have_an_orientation(piece, offset):
    data = JPEG_WITH_EXIF[:offset] + piece + JPEG_WITH_EXIF[offset + len(piece) :]
    assert read_orientation(data) in range(1, 9)


def test_an_exception_of_the_decoder_counts_as_no_image():
    """OpenCV raises where a header states more pixels than it decodes; that is refused before, so here by hand."""
    assert decode_image(image_kinds.build_png(100_000, 100_000, b'')) is None
    assert decode_image(b'') is None


def test_an_image_is_decoded_once(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(JPEG_WITH_EXIF)
    image = LazyImage(tmp_path / 'a.jpg')
    assert image.get_pixels() is image.get_pixels()


def encode_noise_jpeg() -> bytes:
    rng = np.random.default_rng(0)
    return cv2.imencode('.jpg', rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))[1].tobytes()


@pytest.mark.parametrize(('content', 'size'), [
    (b'', '0'),
    (b'This is a text.\n' * 100, '1,600'),
    (encode_noise_jpeg()[: len(encode_noise_jpeg()) // 2], f'{len(encode_noise_jpeg()) // 2:,}'),
    (encode_noise_jpeg()[:20], '20'),
])  # fmt: skip
def test_what_is_not_a_whole_image_is_an_error_that_names_it(tmp_path, content, size):
    path = tmp_path / 'im0001.jpg'
    path.write_bytes(content)
    message = rf'im0001.jpg: {size} bytes that are not a whole image; fetch the file again'
    with pytest.raises(ImageError, match=message):
        read_image(path)


def test_an_absent_image_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ImageError, match=r'im0001.jpg: No such file or directory; check its path,'):
        read_image(tmp_path / 'im0001.jpg')


def test_gray_and_transparent_images_become_three_channels_and_stay_unrotated(tmp_path):
    cv2.imwrite(str(tmp_path / 'gray.png'), np.full((4, 6), 7, np.uint8))
    cv2.imwrite(str(tmp_path / 'clear.png'), np.full((4, 6, 4), 7, np.uint8))
    for name in ('gray', 'clear'):
        image = read_image(tmp_path / f'{name}.png')
        assert image.shape == (4, 6, 3)
        assert (image == 7).all()


def test_the_size_of_an_image_comes_from_its_header_and_is_that_of_its_pixels(tmp_path):
    for name in ('a.jpg', 'a.png'):
        cv2.imwrite(str(tmp_path / name), np.zeros((31, 57, 3), np.uint8))
        image = LazyImage(tmp_path / name)
        assert image.size == (57, 31)
        assert not image.pixels_by_reduction
        assert image.get_pixels().shape == (31, 57, 3)


def test_cached_images_are_decoded_once_and_the_oldest_are_removed(tmp_path):
    paths = [tmp_path / f'{i}.png' for i in range(3)]
    for path in paths:
        cv2.imwrite(str(path), np.zeros((4, 6), np.uint8))
    cache = ImageCache(max_images=2)
    first = cache.get_image(paths[0])
    assert cache.get_image(paths[0]) is first
    cache.get_image(paths[1])
    cache.get_image(paths[2])
    assert [path for path, _ in cache.images] == paths[1:]
    assert cache.get_image(paths[0]) is not first
    assert ImageCache().get_image(paths[0]) is not ImageCache().get_image(paths[0])


def encode_smooth_jpeg(size=(150, 200), quality=90, **flags) -> bytes:
    """A JPEG file (height, width) of smoothed noise, written with further flags of OpenCV."""
    rng = np.random.default_rng(1)
    image = cv2.resize(rng.integers(0, 255, (size[0] // 4, size[1] // 4, 3), dtype=np.uint8), size[::-1])
    parameters = [n for name, value in flags.items() for n in (getattr(cv2, name), value)]
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality, *parameters])[1].tobytes()


SAMPLINGS = ('411', '420', '422', '440', '444')


@pytest.mark.parametrize('sampling', SAMPLINGS)
@pytest.mark.parametrize('reduction', [1, 2, 4, 8])
def test_the_top_rows_of_a_jpeg_file_are_those_of_the_whole_image(tmp_path, capfd, sampling, reduction):
    path = tmp_path / 'a.jpg'
    factor = getattr(cv2, f'IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}')
    path.write_bytes(encode_smooth_jpeg((400, 320), IMWRITE_JPEG_SAMPLING_FACTOR=factor))
    whole = LazyImage(path).get_pixels(reduction)
    for num_rows in (1, 8, 33, 100, 250):
        top = LazyImage(path).get_top_rows(num_rows, reduction)
        assert len(whole) > len(top) >= num_rows // reduction
        assert np.array_equal(top[: num_rows // reduction], whole[: num_rows // reduction])
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('reason', ['decode_full', 'few rows left', 'png', 'restarts', 'progressive', 'two images'])
def test_an_image_that_cannot_be_decoded_in_part_is_decoded_completely(tmp_path, reason):
    flags = {'restarts': dict(IMWRITE_JPEG_RST_INTERVAL=1), 'progressive': dict(IMWRITE_JPEG_PROGRESSIVE=1)}
    data = encode_smooth_jpeg((400, 320), **flags.get(reason, {}))
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    path = tmp_path / 'a'
    path.write_bytes(cv2.imencode('.png', whole)[1].tobytes() if reason == 'png' else data)
    if reason == 'two images':
        path.write_bytes(data[:2] + b'\xff\xe2\x00\x06MPF\x00' + data[2:])
    image = LazyImage(path, decode_full=reason == 'decode_full')
    assert np.array_equal(image.get_top_rows(390 if reason == 'few rows left' else 50), whole)


def test_no_part_is_decoded_of_a_file_without_its_end():
    data = encode_smooth_jpeg((400, 320))
    assert truncate_jpeg(data, 50) is not None
    assert truncate_jpeg(data[:-2], 50) is None
    assert truncate_jpeg(data[:40], 50) is None
    assert truncate_jpeg(b'', 50) is None


def test_the_header_of_a_jpeg_file_may_have_fill_bytes_and_wrong_lengths():
    data = encode_smooth_jpeg((40, 60))
    assert read_jpeg_size(data[:2] + b'\xff\xff' + data[2:]) == (60, 40)
    assert read_jpeg_size(data[:2] + b'\xff\xe1\x00\x00' + data[2:]) is None
    assert read_jpeg_size(data[:30]) is None
    assert read_jpeg_size(b'') is None
