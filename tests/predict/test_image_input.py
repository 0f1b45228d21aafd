"""Every form in which images are given to a predictor."""

import hashlib
import io
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from poseplug import IMAGE_INPUTS, ImageArray
from poseplug.core.errors import AnnotationError, ConfigError, ImageError, UnsafeFileError
from poseplug.files import live_sources
from poseplug.files.images import read_image
from poseplug.files.live_stream import LiveStream
from poseplug.files.media_address import fetch_media
from poseplug.predict.image_input import find_image_form, open_image
from poseplug.predict.image_inputs.base import ImageForm, NamedImage
from tests.reliability import videos


@pytest.fixture
def files(tiny_data, tmp_path):
    """Two images in a folder, without loss."""
    for n, file in enumerate(sorted((tiny_data / 'images').glob('*.jpg'))[:2]):
        cv2.imwrite(str(tmp_path / f'{n}.png'), read_image(file))
    return sorted(tmp_path.glob('*.png'))


def get_forms(file):
    """The same image in every form of one image."""
    bgr = read_image(file)
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    alpha = np.full((*bgr.shape[:2], 1), 7, np.uint8)
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)
    return {
        'path': file,
        'text': str(file),
        'bytes': file.read_bytes(),
        'array': bgr,
        'opened': NamedImage(file, bgr),
        'Pillow': Image.open(file),
        'Pillow with alpha': Image.fromarray(np.concatenate([rgb, alpha], 2)),
        'Pillow with a palette': Image.open(file).convert('RGB'),
        'RGB': ImageArray(rgb, 'rgb'),
        'RGBA': ImageArray(np.concatenate([rgb, alpha], 2), 'rgba'),
        'BGRA': ImageArray(np.concatenate([bgr, alpha], 2), 'bgra'),
        'float': ImageArray(rgb / 255, 'rgb', max_value=1.0),
        'uint16': ImageArray(rgb.astype(np.uint16) * 257, 'rgb'),
        'float tensor with gradients': ImageArray((tensor / 255).requires_grad_(), 'rgb', max_value=1.0, layout='chw'),
        'bfloat16 tensor': ImageArray(tensor.bfloat16(), 'rgb', max_value=255, layout='chw'),
    }


def test_every_form_of_an_image_has_the_same_pixels(files):
    expected = read_image(files[0])
    for name, image in get_forms(files[0]).items():
        pixels = open_image(image, 0).pixels
        assert np.array_equal(pixels, expected), name
        assert pixels.dtype == np.uint8
        assert find_image_form(image).is_single


def test_a_single_image_of_any_form_takes_its_own_boxes(predictor, files):
    box = [[10, 12, 60, 80]]
    (expected,) = predictor([files[0]], [box])
    for name, image in get_forms(files[0]).items():
        (result,) = predictor(image, box)
        assert np.array_equal(result.keypoints, expected.keypoints), name


def test_gray_arrays_have_three_equal_channels():
    gray = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for array in (gray, gray[..., None]):
        assert np.array_equal(ImageArray(array, 'gray').to_bgr('a'), np.stack([gray] * 3, -1))
    assert np.array_equal(open_image(Image.fromarray(gray), 0).pixels, np.stack([gray] * 3, -1))
    assert ImageArray(np.array([[65535, 0]], np.uint16), 'gray').to_bgr('a')[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((5, 5)),
        np.zeros((5, 5, 3)),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        torch.zeros(3, 5, 5),
        ImageArray(np.zeros((5, 5, 3)), 'rgb'),
        ImageArray(np.zeros((5, 5, 3), np.uint8), 'hsv'),
        ImageArray(np.zeros((5, 5, 4), np.uint8), 'rgb'),
        ImageArray(np.zeros((3, 5, 5), np.uint8), 'rgb'),
        ImageArray(np.full((5, 5, 3), 200.0), 'rgb', max_value=1.0),
        ImageArray(np.full((5, 5, 3), np.nan), 'rgb', max_value=1.0),
        ImageArray(np.full((5, 5, 3), -1.0), 'rgb', max_value=1.0),
        ImageArray(np.zeros((5, 5, 3)), 'rgb', max_value=0),
        ImageArray(np.zeros((5, 5, 3), complex), 'rgb', max_value=1.0),
        ImageArray(np.zeros((5, 5, 3), object), 'rgb', max_value=1.0),
        ImageArray(np.zeros((5, 5, 3)), 'rgb', max_value='255'),
        Image.new('F', (4, 4)),
        io.StringIO('a.jpg'),
        '',
        'data:image/png;base64,' + 5000 * 'A',
        None,
        5.0,
    ],
)
def test_an_array_without_a_clear_meaning_is_refused_by_name(predictor, image):
    with pytest.raises(ImageError, match='image 0'):
        predictor([image])


def test_what_was_closed_before_it_was_read_is_refused_by_name(files):
    with open(files[0], 'rb') as file:
        image = Image.open(file)
    for closed in (file, image):
        with pytest.raises(ImageError, match='image 3.*cannot be read'):
            open_image(closed, 3)


def test_fractions_declared_as_bytes_are_reported(caplog):
    white = np.ones((4, 4, 3))
    ImageArray(white, 'rgb', max_value=255).to_bgr('a')
    assert 'a: no value exceeds 1, but 255 is declared as white' in caplog.text
    caplog.clear()
    for array, max_value in ((white, 1.0), (0 * white, 255), (2 * white, 255), (white.astype(np.uint8), 255)):
        ImageArray(array, 'rgb', max_value=max_value).to_bgr('a')
    assert caplog.text == ''


def test_a_photo_of_pillow_is_turned_upright(files):
    image = Image.open(files[0])
    exif = image.getexif()
    exif[274] = 6
    image.info['exif'] = exif.tobytes()
    expected = np.rot90(read_image(files[0]), -1)
    assert np.array_equal(open_image(image, 0).pixels, expected)


def test_folders_patterns_and_lists_of_any_forms_stand_for_their_images(predictor, files, tmp_path, caplog):
    (tmp_path / '.hidden.png').write_bytes(b'')
    (tmp_path / 'notes.txt').write_bytes(b'')
    assert [result.path for result in predictor(tmp_path)] == files
    assert [result.path for result in predictor(str(tmp_path / '*.png'))] == files
    mixed = [tmp_path, files[0].read_bytes(), str(tmp_path / '1*.png')]
    assert [result.path.name for result in predictor(mixed)] == ['0.png', '1.png', 'image 2', '1.png']
    assert caplog.text == ''
    (tmp_path / 'clip.mp4').write_bytes(b'')
    results = predictor(tmp_path, [[[5, 5, 40, 50]], []])
    assert 'also holds videos (1), which are not read' in caplog.text
    assert [len(result) for result in results] == [1, 0]
    with pytest.raises(AnnotationError, match='no entry of boxes at position 1'):
        predictor(tmp_path, [None])
    with pytest.raises(ImageError, match='no file fits this pattern'):
        predictor(str(tmp_path / '*.bmp'))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ImageError, match='holds no image'):
        predictor(tmp_path / 'empty')


def test_the_results_of_a_video_have_the_times_of_its_frames(predictor, tmp_path):
    videos.write_video(tmp_path / 'clip.avi', 'MJPG')
    stream = predictor.stream(tmp_path / 'clip.avi')
    first, second = next(stream), next(stream)
    assert (first.index, second.index) == (0, 1)
    assert (first.seconds, second.seconds) == pytest.approx((0, 0.04))
    assert first.path == tmp_path / 'clip.avi'
    assert first.image.shape == (videos.HEIGHT, videos.WIDTH, 3)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def address(files, monkeypatch, tmp_path):
    monkeypatch.setenv('POSEPLUG_CACHE', str(tmp_path / 'cache'))
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(QuietHandler, directory=str(files[0].parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


def test_an_image_at_an_address_is_verified(predictor, files, address):
    digits = hashlib.sha256(files[0].read_bytes()).hexdigest()
    (result,) = predictor(f'{address}/0.png#sha256={digits}')
    assert np.array_equal(result.image, read_image(files[0]))
    with pytest.raises(UnsafeFileError, match='holds another file'):
        predictor(f'{address}/1.png#sha256={digits}')
    with pytest.raises(ImageError, match='404'):
        predictor(f'{address}/absent.png#sha256={digits}')


def test_images_and_videos_at_addresses_are_told_by_their_bytes(predictor, files, address):
    (result,) = predictor(f'{address}/0.png', [[10, 12, 60, 80]])
    assert result.path == Path('0.png')
    files[0].rename(files[0].with_name('plain'))
    assert np.array_equal(result.image, read_image(files[0].with_name('plain')))  # held: the address is not read again
    (result,) = predictor(f'{address}/plain')
    assert result.path.stem == 'plain'
    videos.write_video(files[0].parent / 'clip.avi', 'MJPG')
    first = next(predictor.stream(f'{address}/clip.avi'))
    assert (first.path, first.seconds) == (Path('clip.avi'), 0)
    (result,) = predictor(files[1].as_uri())
    assert result.path == files[1]


def test_addresses_that_hold_no_image_are_errors_by_name(predictor, files, address, monkeypatch):
    (files[0].parent / 'page.html').write_text('<p>no image</p>' * 9)
    with pytest.raises(ImageError, match='is text/html, no image or video'):
        predictor(f'{address}/page.html')
    with pytest.raises(ImageError, match='404'):
        predictor(f'{address}/absent.png')
    with pytest.raises(ImageError, match='check the address and the network'):
        predictor('http://127.0.0.1:9/a.png')
    with pytest.raises(ImageError, match='no reader for ftp; give an address of http, https, file, rtsp'):
        predictor('ftp://127.0.0.1/a.png')
    with pytest.raises(ImageError, match='larger than 100 bytes'):
        fetch_media(f'{address}/0.png', files[0].parent / 'out', max_bytes=100)


def test_standard_input_is_an_image_a_video_or_a_list(predictor, files, monkeypatch):
    def predict(data):
        monkeypatch.setattr('sys.stdin', SimpleNamespace(buffer=io.BytesIO(data)))
        return predictor('-')

    assert [result.path.name for result in predict(files[0].read_bytes())] == ['stdin.png']
    assert [result.path for result in predict(f'{files[1]}\n\n{files[0]}\n'.encode())] == [files[1], files[0]]
    videos.write_video(files[0].parent / 'clip.avi', 'MJPG')
    results = predict((files[0].parent / 'clip.avi').read_bytes())
    assert len(results) == videos.NUM_FRAMES
    with pytest.raises(ImageError, match='standard input is empty'):
        predict(b'')


def test_lists_in_lists_and_stacks_are_all_their_images(predictor, files):
    image = read_image(files[0])
    results = predictor([[files[0]], [image, (files[1],)]], [None, [], None])
    assert [(result.path.name, len(result)) for result in results] == [('0.png', 1), ('image 1', 0), ('1.png', 1)]
    stack = torch.from_numpy(np.stack([image[..., ::-1]] * 2).transpose(0, 3, 1, 2).copy())
    for result in predictor(ImageArray(stack, 'rgb', layout='chw')):
        assert np.array_equal(result.image, image)
    with pytest.raises(AnnotationError, match='no entry of boxes at position 2'):
        predictor([[files[0]], [image, image]], [None, None])


def test_open_files_are_read_once_and_their_results_keep_the_pixels(predictor, files):
    with open(files[0], 'rb') as opened:
        named, unnamed = predictor([opened, io.BytesIO(files[0].read_bytes())])
    assert (named.path, unnamed.path) == (files[0], Path('image 1'))
    assert np.array_equal(named.image, unnamed.image)


def test_tensors_are_refused_with_the_declaration_that_they_need(predictor):
    with pytest.raises(ImageError, match=r'tensor of torch\.uint8 \(3, 5, 6\).*ImageArray\(tensor'):
        predictor(torch.zeros(3, 5, 6, dtype=torch.uint8))


def test_a_camera_streams_and_is_refused_by_a_call(predictor, monkeypatch):
    frames = [np.full((60, 80, 3), value, np.uint8) for value in (1, 2, 3)]

    class FakeCamera:
        def __init__(self, index):
            pass

        def __iter__(self):
            for frame in frames:
                time.sleep(0.3)  # so that none is replaced
                yield None, frame

    monkeypatch.setattr(live_sources, 'CameraDevice', FakeCamera)
    results = list(predictor.stream(0, batch_size=8))
    assert [(result.index, result.path) for result in results] == [(n, Path('camera_0')) for n in range(3)]
    assert [result.image[0, 0, 0] for result in results] == [1, 2, 3]
    assert [len(result) for result in predictor.stream(LiveStream(0, every_frame=True))] == [1, 1, 1]
    for images in (0, '0', [0], 'rtsp://127.0.0.1/1'):
        with pytest.raises(ConfigError, match=r'go through Predictor\.stream'):
            predictor(images)


def test_a_package_may_add_a_form(predictor, files):
    class Doubled:
        """Two copies of an image."""

        def __init__(self, file):
            self.file = file

    class DoubledForm(ImageForm):
        is_single = False

        def matches(self, value):
            return isinstance(value, Doubled)

        def expand(self, value):
            yield from [value.file] * 2

    IMAGE_INPUTS.register_module(module=DoubledForm)
    try:
        assert [result.path for result in predictor(Doubled(files[0]))] == [files[0]] * 2
    finally:
        del IMAGE_INPUTS.module_dict['DoubledForm']
    assert find_image_form(Doubled(Path('a.jpg'))) is None


def test_every_registered_form_is_tested():
    assert set(IMAGE_INPUTS.list_names()) == {
        'AlreadyOpenImage',
        'BgrArray',
        'CameraIndex',
        'DeclaredArray',
        'DeclaredStack',
        'EncodedImage',
        'FilePattern',
        'ImageAddress',
        'ImageFile',
        'ImageFolder',
        'LiveAddress',
        'MediaAddress',
        'OpenClip',
        'OpenFile',
        'PillowImage',
        'StandardInput',
        'TensorImage',
        'TextFile',
        'VideoFile',
    }
