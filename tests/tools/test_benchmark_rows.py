"""tools/compare: the rows of tools/benchmark.py that measure prediction beside rtmlib, and videos."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from poseplug.config.build import build_model
from poseplug.config.load import load_config

FOLDER = Path(__file__).parents[2] / 'tools/compare'
MODULES = ('rtmlib_rows', 'video_rows')


@pytest.fixture(scope='module')
def rows():
    """The modules by name."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: __import__(name) for name in MODULES}
    finally:
        sys.path.remove(str(FOLDER))
        for name in MODULES:
            sys.modules.pop(name, None)


def test_the_published_network_takes_normalized_images_and_returns_both_lines(rows):
    model = build_model(load_config(rows['rtmlib_rows'].CONFIG)).eval()
    pixels = torch.randint(0, 256, (1, 256, 192, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        lines = rows['rtmlib_rows'].PublishedNetwork(model)(model.network.normalize_images(pixels))
        fields = model.network(pixels)[-1]
    assert [line.shape[-1] for line in lines] == [384, 512]
    for name, line in zip('xy', lines, strict=True):
        torch.testing.assert_close(line, fields[name])


def test_boxes_lie_within_the_image_and_are_the_same_in_every_run(rows):
    boxes = np.array(rows['rtmlib_rows'].create_boxes(20))
    assert boxes.shape == (20, 4)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (640, 480)).all()
    np.testing.assert_array_equal(boxes, rows['rtmlib_rows'].create_boxes(20))


def test_the_time_of_a_wrapped_call_is_added_to_the_clock(rows, monkeypatch):
    monkeypatch.setattr(rows['rtmlib_rows'].time, 'process_time', iter([10.0, 10.25, 20.0, 20.5]).__next__)
    clock = rows['rtmlib_rows'].NetworkClock()
    double = clock.wrap_call(lambda value: 2 * value)
    assert (double(3), double(value=4), clock.seconds) == (6, 8, 0.75)


def test_the_time_of_a_video_is_that_of_all_without_decoding_and_network(rows, monkeypatch, tmp_path):
    monkeypatch.setattr(rows['video_rows'], 'NUM_FRAMES', 4)
    file = rows['video_rows'].write_video(tmp_path / 'video.mp4')
    assert min(rows['video_rows'].measure_reading(file)) > 0
    times = rows['video_rows'].measure_rest(file, tmp_path)
    assert list(times) == ['rest, ms', 'decoding, ms', 'network, ms']
    assert all(0 < value < 1000 for value in times.values())
    assert len((tmp_path / 'result.jsonl').read_text().splitlines()) == 5
