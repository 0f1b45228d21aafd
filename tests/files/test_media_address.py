"""Images and videos at addresses."""

import base64
import gzip

import cv2
import numpy as np
import pytest

from poseplug.core.errors import ImageError
from poseplug.files.media_address import fetch_media, spool_bytes
from tests.files.stream_server import StreamServer, draw_gray_frame


class RecordingServer(StreamServer):
    """Answers each request with its next body, and records the user of the requests."""

    def __init__(self, answers):
        super().__init__(())
        self.answers, self.users = list(answers), []

    def send_script(self, handler):
        body, headers = self.answers.pop(0)
        self.users.append(handler.headers.get('Authorization'))
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)


def test_user_and_password_are_sent_and_not_written(tmp_path):
    body = cv2.imencode('.png', draw_gray_frame(7))[1].tobytes()
    with RecordingServer([(body, {'Content-Length': len(body)})]) as server:
        file = fetch_media(server.address, tmp_path)
    assert base64.b64decode(server.users[0].removeprefix('Basic ')) == b'user:secret'
    assert file == tmp_path / 'live.png'
    assert np.array_equal(cv2.imread(str(file)), draw_gray_frame(7))


def test_a_cut_file_is_an_error_and_an_answer_without_length_an_image_or_a_stream(tmp_path):
    body = cv2.imencode('.jpg', draw_gray_frame(7))[1].tobytes()
    answers = [(body[:99], {'Content-Length': len(body)}), (body, {}), (b'\x00\x00\x00\x18ftypisom' + bytes(99), {})]
    with RecordingServer(answers) as server:
        with pytest.raises(ImageError, match=r'cut off: 99 of|IncompleteRead'):
            fetch_media(server.address, tmp_path)
        assert fetch_media(server.address, tmp_path) == tmp_path / 'live.jpeg'
        assert fetch_media(server.address, tmp_path) is None


def test_an_answer_in_an_encoding_that_was_not_asked_for_is_an_error_by_that_name(tmp_path):
    body = gzip.compress(cv2.imencode('.jpg', draw_gray_frame(7))[1].tobytes())
    headers = {'Content-Length': len(body), 'Content-Encoding': 'gzip'}
    with RecordingServer([(body, headers)]) as server, pytest.raises(ImageError, match='encoding gzip, which is not'):
        fetch_media(server.address, tmp_path)


def test_files_get_the_suffix_of_their_content(tmp_path):
    png = cv2.imencode('.png', draw_gray_frame(7))[1].tobytes()
    for name, data, expected in [
        ('a.jpg', png, 'a.jpg'),
        ('a.php', png, 'a.png'),
        ('a.jpg', b'RIFF....AVI ' * 9, 'a.mp4'),
        ('a.mkv', b'\x1aE\xdf\xa3' * 9, 'a.mkv'),
    ]:
        assert spool_bytes(iter([data]), tmp_path, name, 'x') == (tmp_path / expected, len(data))
    with pytest.raises(ImageError, match='x is empty'):
        spool_bytes(iter([]), tmp_path, 'a', 'x')
