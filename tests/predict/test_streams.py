"""poseplug predict on addresses, standard input, cameras and network streams."""

import io
import json
import os
import pty
import re
import signal
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from poseplug.files import live_sources, live_stream
from poseplug.files.images import read_image
from poseplug.files.video_reader import VideoReader
from poseplug.predict.stop_request import StopRequest
from tests.files.stream_server import StreamServer


@pytest.fixture
def images(tiny_data):
    return sorted((tiny_data / 'images').glob('*.jpg'))[:2]


def read_stream_lines(file):
    header, *frames = map(json.loads, file.read_text().splitlines())
    return header, frames


def test_a_network_stream_is_predicted_to_its_end_and_over_a_break(command, monkeypatch, tmp_path):
    init = live_stream.LiveStream.__init__
    fast = dict(max_attempts=1, timeout_s=0.5, first_delay_s=0.05)
    monkeypatch.setattr(live_stream.LiveStream, '__init__', lambda self, *a, **k: init(self, *a, **k, **fast))
    scripts = [([10], 'end')] + [(range(10, 60, 10), 'end'), (range(60, 100, 10), 'end')]
    with StreamServer(scripts) as server:
        code, printed, error = command(
            'predict', server.address, '--every-frame', '--csv', '--out', tmp_path, '--device', 'cpu'
        )
    assert code == 0, error
    (summary,) = json.loads((tmp_path / 'results.json').read_text())['videos']
    header, frames = read_stream_lines(tmp_path / summary['results'])
    assert 'secret' not in printed + error + json.dumps(summary)
    assert summary['file'].startswith('http://user@127.0.0.1:')
    assert (summary['num_frames'], summary['num_dropped'], summary['num_reconnects']) == (9, 0, 1)
    assert [frame['index'] for frame in frames] == [*range(9)]
    assert header['fps'] is None
    times = [frame['seconds'] for frame in frames]
    assert times == sorted(set(times))
    drawn = VideoReader(tmp_path / summary['video']['file'])
    assert [round(frame.image[0, 0].mean(), -1) for frame in drawn] == [*range(10, 100, 10)]


class EndlessCamera:
    def __init__(self, index):
        pass

    def __iter__(self):
        while True:
            time.sleep(0.01)
            yield None, np.zeros((60, 80, 3), np.uint8)


def test_a_signal_ends_a_camera_and_its_files_are_complete(command, monkeypatch, tmp_path):
    monkeypatch.setattr(live_sources, 'CameraDevice', EndlessCamera)
    lines = tmp_path / 'camera_0.jsonl.partial'

    def interrupt_later():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (lines.is_file() and lines.read_bytes().count(b'\n') > 3):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt_later)
    thread.start()
    code, printed, error = command('predict', '0', '--out', tmp_path, '--device', 'cpu')
    thread.join()
    assert code == 0, error
    assert 'Ctrl-C' in printed
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['complete']
    (summary,) = results['videos']
    assert summary['file'] == 'camera 0'
    assert len(read_stream_lines(tmp_path / 'camera_0.jsonl')[1]) == summary['num_frames'] >= 3
    assert len(list(VideoReader(tmp_path / 'camera_0_pose.mp4'))) == summary['num_frames']


def test_a_typed_q_ends_a_stream_and_signals_are_given_back(monkeypatch):
    main, terminal = pty.openpty()
    handler = signal.getsignal(signal.SIGINT)
    with os.fdopen(terminal) as opened, StopRequest() as should_stop:
        monkeypatch.setattr('sys.stdin', opened)
        os.write(main, b'x\n')
        assert not should_stop()
        os.write(main, b'q\n')
        time.sleep(0.05)
        assert should_stop()
        assert signal.getsignal(signal.SIGINT) is not handler
    os.close(main)
    assert signal.getsignal(signal.SIGINT) is handler


def test_addresses_and_standard_input_are_called_by_their_names_in_results(command, monkeypatch, tmp_path, images):
    data = images[0].read_bytes()
    monkeypatch.setattr('sys.stdin', SimpleNamespace(buffer=io.BytesIO(data), closed=False, isatty=lambda: False))
    code, _, error = command('predict', '-', images[1].as_uri(), '--csv', '--out', tmp_path, '--device', 'cpu')
    assert code == 0, error
    results = json.loads((tmp_path / 'results.json').read_text())['images']
    assert [result['file'] for result in results] == ['-', str(images[1])]
    assert results[0]['outputs']['skeletons'] == 'stdin_pose.jpg'
    assert (tmp_path / 'results.csv').read_text().splitlines()[1].startswith('-,0,')
    assert cv2.imread(str(tmp_path / 'stdin_pose.jpg')) is not None


def test_a_list_on_standard_input_is_its_lines(command, monkeypatch, tmp_path, images):
    text = '\n'.join(map(str, images)).encode()
    monkeypatch.setattr('sys.stdin', SimpleNamespace(buffer=io.BytesIO(text), closed=False, isatty=lambda: False))
    code, _, error = command('predict', '-', '--out', tmp_path, '--device', 'cpu')
    assert code == 0, error
    results = json.loads((tmp_path / 'results.json').read_text())['images']
    assert [result['file'] for result in results] == list(map(str, images))
    assert [(result['width'], result['height']) for result in results] == [
        read_image(file).shape[1::-1] for file in images
    ]


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (b'-\n-\n', "standard input lists nothing but '-'"),
        (bytes(range(256)), 'VideoError: - is no video'),
    ],
)
def test_standard_input_of_nothing_to_predict_is_an_error_by_its_name(
    command, monkeypatch, tmp_path, content, expected
):
    monkeypatch.setattr('sys.stdin', SimpleNamespace(buffer=io.BytesIO(content), closed=False, isatty=lambda: False))
    code, _, error = command('predict', '-', '--out', tmp_path / 'out', '--device', 'cpu')
    assert code == 2
    assert re.search(expected, error)
    assert 'poseplug-' not in error  # the temporary folder, which is gone
    assert not (tmp_path / 'out').exists()


def test_a_stream_is_predicted_by_itself(command, tmp_path, images):
    code, _, error = command('predict', '0', images[0], '--out', tmp_path)
    assert code == 2
    assert 'leave the other inputs out' in error
    code, _, error = command('predict', '0', '--heatmaps', '--out', tmp_path)
    assert code == 2
    assert 'the input is a stream' in error
