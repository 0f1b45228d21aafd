"""Cameras and network streams: the newest frame, lost streams that come back, and the end."""

import itertools
import logging
import threading
import time

import numpy as np
import pytest

from poseplug.core.errors import VideoError
from poseplug.files import live_sources
from poseplug.files.live_sources import CameraDevice, describe_address
from poseplug.files.live_stream import LiveStream
from tests.files.stream_server import StreamServer, draw_gray_frame

FAST = dict(timeout_s=0.4, first_delay_s=0.05, max_attempts=2)


def test_a_stream_that_ends_stalls_and_comes_back_is_read_to_its_last_frame(caplog):
    scripts = [(range(10, 60, 10), 'end'), (range(60, 100, 10), 'stall'), (range(100, 150, 10), 'end')]
    with StreamServer(scripts) as server:
        stream = LiveStream(server.address, every_frame=True, **FAST)
        with caplog.at_level(logging.WARNING, 'poseplug'):
            frames = list(stream)
    assert [round(frame.image.mean()) for frame in frames] == [*range(10, 150, 10)]
    assert [frame.index for frame in frames] == [*range(14)]
    times = [frame.seconds for frame in frames]
    assert times[0] == 0
    assert times == sorted(set(times))
    assert (stream.num_frames, stream.num_dropped, stream.num_reconnects) == (14, 0, 2)
    assert 'sends no data for 0.4 s' in caplog.text
    assert caplog.records[-1].message.endswith('given up after 2 attempts')
    assert 'secret' not in caplog.text


def test_a_stream_that_is_not_there_is_an_error_at_once():
    with StreamServer([]) as server:
        stream = LiveStream(server.address, **FAST)
        with pytest.raises(VideoError, match=r'user@127\.0\.0\.1.* cannot be read') as caught:
            next(iter(stream))
    assert 'secret' not in str(caught.value)
    with pytest.raises(VideoError, match='cannot be read'):
        next(iter(LiveStream('rtsp://127.0.0.1:9/x', **FAST)))


class FakeCamera:
    """Frames of rising value, one in 2 ms; it ends after `num_frames`."""

    num_frames = 400

    def __init__(self, index):
        self.index = index

    def __iter__(self):
        for number in range(self.num_frames):
            time.sleep(0.002)
            yield None, draw_gray_frame(number % 250)
        raise VideoError('camera 0 sends no more frames')


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setattr(live_sources, 'CameraDevice', FakeCamera)


def test_a_slow_reader_gets_the_newest_frame_and_memory_holds_one(camera):
    stream = LiveStream(0, max_attempts=0)
    frames = []
    for frame in itertools.islice(stream, 6):
        frames.append(frame)
        time.sleep(0.04)
    indices = [frame.index for frame in frames]
    assert min(np.diff(indices)) > 1  # it skips frames, how many depends on the load of the machine
    assert stream.num_dropped == indices[-1] - (len(indices) - 1)


def test_with_every_frame_nothing_is_dropped_however_slow_the_reader(camera, monkeypatch):
    monkeypatch.setattr(FakeCamera, 'num_frames', 40)
    stream = LiveStream(0, every_frame=True, max_attempts=0)
    indices = []
    for frame in stream:
        indices.append(frame.index)
        time.sleep(0.004)
    assert indices == [*range(40)]
    assert stream.num_dropped == 0


def test_a_stream_ends_when_it_is_to_and_its_thread_too(camera):
    stop = threading.Event()
    stream = LiveStream(0, should_stop=stop.is_set)
    for frame in stream:
        if frame.index > 3:
            stop.set()
    assert stream.num_frames < 50
    assert not [thread for thread in threading.enumerate() if thread.name == stream.name]


def test_a_camera_that_is_not_attached_is_named():
    with pytest.raises(VideoError, match='camera 63 cannot be opened'):
        CameraDevice(63)
    with pytest.raises(VideoError, match='camera 63 cannot be opened'):
        next(iter(LiveStream(63)))


def test_names_of_streams_are_file_names_without_passwords():
    assert describe_address('rtsp://host/1') == 'rtsp://host/1'
    assert LiveStream(0).name == 'camera_0'
    assert LiveStream('rtsp://a:b@cam.local:554/live/1').name == 'stream_a_cam_local_554_live_1'
    assert LiveStream('rtsp://a:b@cam.local:554/live/1').title == 'rtsp://a@cam.local:554/live/1'


def test_an_error_of_another_kind_is_raised_and_does_not_look_like_the_end(monkeypatch):
    class BrokenCamera(FakeCamera):
        num_frames = 2

        def __iter__(self):
            yield None, draw_gray_frame(1)
            raise RuntimeError('the driver is gone')

    monkeypatch.setattr(live_sources, 'CameraDevice', BrokenCamera)
    with pytest.raises(RuntimeError, match='the driver is gone'):
        list(LiveStream(0, every_frame=True, **FAST))
