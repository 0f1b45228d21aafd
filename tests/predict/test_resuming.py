"""A run that was cut goes on: nothing is predicted twice, and the results are those of one run."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from poseplug.files.video_reader import VideoReader
from poseplug.predict import folders, video
from poseplug.predict.predictor import Predictor
from poseplug.predict.resuming import FinishedFrames, truncate_to_lines
from tests.reliability import videos


@pytest.fixture
def images(tiny_data, tmp_path):
    (tmp_path / 'in').mkdir()
    for file in sorted((tiny_data / 'images').glob('*.jpg'))[:6]:
        shutil.copy(file, tmp_path / 'in')
    return tmp_path / 'in'


def read_results(out):
    return json.loads((out / 'results.json').read_text())


def run_command(command, inputs, out, *words, code=0):
    actual, printed, error = command('predict', inputs, '--out', out, '--device', 'cpu', '--batch-size', '2', *words)
    assert actual == code, error
    return printed, error


def stop_after(patch, owner, name, count):
    """Let a method raise, as Ctrl-C does, when it is called once more than so often."""
    calls, original = [], getattr(owner, name)

    def interrupted(*arguments):
        calls.append(None)
        if len(calls) > count:
            raise KeyboardInterrupt
        return original(*arguments)

    patch.setattr(owner, name, interrupted)


def leave_unfinished(writer, *failure):
    """What the system does with the files of a process that it kills."""
    writer.lines.stream.close()
    writer._csv_file.stream.close()


@pytest.mark.parametrize('is_killed', [False, True])
def test_images_that_are_finished_are_not_predicted_again(command, images, tmp_path, monkeypatch, is_killed):
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    run_command(command, images, whole, '--csv')
    with monkeypatch.context() as patch:
        stop_after(patch, folders.PredictionWriter, '_add_image_result', 3)
        if is_killed:  # as by the system: nothing is closed
            patch.setattr(folders.PredictionWriter, '__exit__', leave_unfinished)
        run_command(command, images, cut, '--csv', code=130)
    if is_killed:
        with open(cut / 'results.jsonl.partial', 'a') as lines:
            lines.write('{"file": "half a li')
    times = {file.name: file.stat().st_mtime_ns for file in cut.glob('*_pose.jpg')}
    printed, _ = run_command(command, images, cut, '--csv', '--resume')
    assert '3 of 6 inputs are finished' in printed
    assert read_results(cut) == read_results(whole)
    finished = [file.stat().st_mtime_ns == times.get(file.name) for file in sorted(cut.glob('*_pose.jpg'))]
    assert finished[:3] == [True] * 3
    assert finished[4:] == [False] * 2
    tables = [list(csv.DictReader((out / 'results.csv').read_text().splitlines())) for out in (whole, cut)]
    assert [row['keypoint'] for row in tables[0]] == [row['keypoint'] for row in tables[1]]
    assert max(abs(float(a['x']) - float(b['x'])) for a, b in zip(*tables, strict=True)) <= 0.0051


def test_a_finished_run_has_nothing_left(command, images, tmp_path):
    run_command(command, images, tmp_path / 'out')
    before = read_results(tmp_path / 'out')
    printed, _ = run_command(command, images, tmp_path / 'out', '--resume')
    assert '6 of 6 inputs are finished' in printed
    assert read_results(tmp_path / 'out') == before


def test_other_options_or_inputs_are_refused(command, images, tmp_path):
    run_command(command, images, tmp_path / 'out')
    before = (tmp_path / 'out' / 'results.json').read_bytes()
    _, error = run_command(command, images, tmp_path / 'out', '--resume', '--box-format', 'xyxy', code=2)
    assert 'options was' in error
    assert 'run without --resume' in error
    min(images.iterdir()).unlink()
    _, error = run_command(command, images, tmp_path / 'out', '--resume', code=2)
    assert 'is no input now' in error
    assert (tmp_path / 'out' / 'results.json').read_bytes() == before


def test_a_video_goes_on_with_its_next_frame(command, tmp_path, monkeypatch):
    videos.write_video(tmp_path / 'clip.avi', 'MJPG')
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    run_command(command, tmp_path / 'clip.avi', whole, '--csv')
    with monkeypatch.context() as patch:
        stop_after(patch, video.VideoOutputs, 'add_frame', 21)
        run_command(command, tmp_path / 'clip.avi', cut, '--csv', code=130)
    partial = cut / 'clip.jsonl.partial'
    assert truncate_to_lines(partial) == 1 + 21
    lines = partial.read_bytes()
    counts = []
    stream = Predictor.stream
    monkeypatch.setattr(
        Predictor,
        'stream',
        lambda self, images, *rest: counts.append(len(images)) or stream(self, images, *rest),
    )
    run_command(command, tmp_path / 'clip.avi', cut, '--csv', '--resume')
    assert sum(counts) == videos.NUM_FRAMES - 21
    assert (cut / 'clip.jsonl').read_bytes().startswith(lines)
    assert (cut / 'clip.jsonl').read_text() == (whole / 'clip.jsonl').read_text()
    assert len(list(VideoReader(cut / 'clip_pose.mp4'))) == videos.NUM_FRAMES
    assert (cut / 'clip.csv').read_text().count('\n') == (whole / 'clip.csv').read_text().count('\n')
    assert read_results(cut)['videos'] == read_results(whole)['videos']


def test_frames_of_other_settings_are_predicted_anew(tmp_path, caplog):
    file = tmp_path / 'a.jsonl.partial'
    file.write_text('{"fps": 25}\n{"index": 0}\n{"ind')
    frames = FinishedFrames(file)
    frames.check_header({'fps': 25})
    assert [line['index'] for line in frames] == [0]
    frames.check_header({'fps': 30})
    assert list(frames) == []
    assert 'of other settings' in caplog.text
    assert list(FinishedFrames(tmp_path / 'absent')) == list(FinishedFrames.empty()) == []


def test_an_interrupted_process_goes_on_where_it_was(tmp_path, images):
    for number in range(60):
        shutil.copy(min(images.iterdir()), images / f'copy_{number}.jpg')
    out = tmp_path / 'out'
    words = [sys.executable, '-m', 'poseplug', 'predict', images, '--out', out, '--device', 'cpu', '--batch-size', '4']
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = out / 'results.jsonl.partial'
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not lines.is_file() or lines.read_bytes().count(b'\n') < 6):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    first = read_results(out)['images']
    assert 5 <= len(first) < 66
    subprocess.run([*map(str, words), '--resume'], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    results = read_results(out)
    assert results['complete']
    assert results['images'][: len(first)] == first
    assert len({image['file'] for image in results['images']}) == len(results['images']) == 66
