"""Video reading: every frame keeps its true number, and lost frames are reported."""

import logging
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.core.errors import VideoError
from poseplug.files.avi_index import parse_avi_index, read_avi_index
from poseplug.files.video_reader import VideoReader, format_ranges
from tests.reliability import videos


@pytest.mark.parametrize('name', videos.CASES)
def test_every_frame_of_a_spoiled_video_keeps_its_number(tmp_path, name):
    assert videos.find_fault(videos.CASES[name], tmp_path) == ''


def test_lost_frames_are_reported_in_one_warning(tmp_path, caplog):
    case = videos.CASES['3,000 zeros over the head of a frame']
    (tmp_path / 'video.avi').write_bytes(case.damage(videos.write_video(tmp_path / 'whole.avi', 'MJPG')))
    with caplog.at_level(logging.WARNING, 'poseplug'):
        frames = list(VideoReader(tmp_path / 'video.avi'))
    assert [f'{tmp_path}/video.avi: 2 of 50 frames cannot be read: 24-25'] == caplog.messages
    assert [frame.seconds for frame in frames[23:25]] == pytest.approx([23 / 25, 26 / 25])


def test_a_video_can_be_read_twice(tmp_path):
    videos.write_video(tmp_path / 'a.mp4', 'mp4v')
    video = VideoReader(tmp_path / 'a.mp4')
    first, again = ([frame.index for frame in video] for _ in range(2))
    assert first == again == [*range(50)]


def test_a_missing_video_is_an_error_that_names_it(tmp_path):
    with pytest.raises(VideoError, match=r'a.mp4: no such video'):
        VideoReader(tmp_path / 'a.mp4')


def test_a_rotated_video_is_turned_upright(tmp_path):
    data = bytearray(videos.write_video(tmp_path / 'a.mp4', 'mp4v'))
    matrix = data.find(b'tkhd') + 44  # of the track's head (ISO/IEC 14496-12, 8.3.2)
    assert struct.unpack_from('>9i', data, matrix) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    struct.pack_into('>9i', data, matrix, 0, 1 << 16, 0, -1 << 16, 0, 0, videos.HEIGHT << 16, 0, 1 << 30)
    (tmp_path / 'a.mp4').write_bytes(data)
    images = [frame.image for frame in VideoReader(tmp_path / 'a.mp4')]
    assert images[0].shape == (videos.WIDTH, videos.HEIGHT, 3)
    rotated = [cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE) for image in images]
    assert [videos.decode_frame_number(image) for image in rotated] == [*range(50)]


def test_another_file_is_no_avi(tmp_path):
    (tmp_path / 'a.mp4').write_bytes(b'RIFFxxxxWEBP')
    assert read_avi_index(tmp_path / 'a.mp4') is None


def test_spoiled_containers_have_frames_within_the_file_or_none(tmp_path):
    """300 files with up to 20 bytes changed in header and index."""
    data = videos.write_video(tmp_path / 'a.avi', 'MJPG')
    rng = np.random.default_rng(0)
    for _ in range(300):
        spoiled = bytearray(data)
        for offset in rng.integers(0, 5000, rng.integers(1, 20)):
            spoiled[offset if rng.random() < 0.5 else -offset - 1] = rng.integers(256)
        index = parse_avi_index(bytes(spoiled))
        assert index is None or all(c is None or 0 <= c[0] <= sum(c) <= len(data) for c in index.chunks)


@pytest.mark.parametrize(('numbers', 'text'), [
    ([3], '3'), ([3, 7, 8, 9], '3, 7-9'), ([*range(0, 40, 2)], '0, 2, 4, 6, 8, 10, 12, 14, ... and 12 more'),
])  # fmt: skip
def test_consecutive_numbers_are_formatted_as_a_range(numbers, text):
    assert format_ranges(numbers) == text


def test_a_stream_of_another_codec_that_lost_a_frame_is_refused(tmp_path: Path):
    data = bytearray(videos.write_video(tmp_path / 'a.avi', 'mp4v'))
    headers = [i for i in range(data.find(b'movi'), len(data)) if data[i : i + 4] == b'00dc']
    data[headers[20] : headers[20] + 8] = bytes(8)
    (tmp_path / 'a.avi').write_bytes(data)
    with pytest.raises(VideoError, match='has lost frame 20, so that those behind it have no number'):
        list(VideoReader(tmp_path / 'a.avi'))


def test_sound_between_the_frames_is_ignored(tmp_path):
    """Chunks of another stream, as cameras write them; without an index the chunks are scanned."""
    data = videos.write_video(tmp_path / 'a.avi', 'MJPG')
    data = data[: data.rindex(b'idx1')]
    first_chunk = data.index(b'movi') + 4
    sound = b'01wb' + (7).to_bytes(4, 'little') + bytes(8)
    silent = parse_avi_index(data)
    with_sound = parse_avi_index(data[:first_chunk] + sound + data[first_chunk:])
    assert [(offset - len(sound), size) for offset, size in with_sound.chunks] == silent.chunks
    assert len(silent.chunks) == videos.NUM_FRAMES


class FakeCapture:
    """A decoder that returns frames at these seconds, and then nothing."""

    def __init__(self, seconds):
        self.seconds, self.now = list(seconds), 0.0

    def set(self, *_):
        return True

    def get(self, _):
        return 1000 * self.now

    def read(self):
        if not self.seconds:
            return False, None
        self.now = self.seconds.pop(0)
        return True, np.zeros((2, 2, 3), np.uint8)


def create_reader(tmp_path, seconds, declared_frames):
    videos.write_video(tmp_path / 'a.mp4', 'mp4v')
    video = VideoReader(tmp_path / 'a.mp4')
    video.capture, video.declared_frames = FakeCapture(seconds), declared_frames
    return video


def test_a_frame_that_is_decoded_twice_counts_once(tmp_path):
    """A decoder that went back to a key frame returns some frames a second time."""
    video = create_reader(tmp_path, [0, 0.04, 0, 0.04, 0.08], 3)
    assert [frame.index for frame in video] == [0, 1, 2]
    assert video.missing_frames == []


def test_a_video_without_a_frame_is_an_error(tmp_path):
    with pytest.raises(VideoError, match='a.mp4 has no frame that can be read'):
        list(create_reader(tmp_path, [], 3))


def test_an_endless_video_is_read_up_to_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr('poseplug.files.video_reader._MAX_FRAMES', 5)
    assert len(list(create_reader(tmp_path, np.arange(100) / videos.FPS, 0))) == 6
