"""What a video frame costs besides its decoding and the network, and how fast frames are read beside PyAV alone.

Processor time in milliseconds of a frame of 640x480 px. Used by tools/benchmark.py.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from poseplug.files.video_decoding import VideoFrame
from poseplug.files.video_reader import VideoReader
from poseplug.predict.prediction_options import PredictionOptions
from poseplug.predict.predictor import Predictor
from poseplug.predict.video import predict_clip

NUM_FRAMES, FPS, IMAGE_SIZE = 300, 30, (640, 480)
NUM_TURNS = 5


def write_video(file: Path) -> Path:
    """Write a video of two figures that walk in front of a blurred background, as H.264."""
    width, height = IMAGE_SIZE
    background = cv2.resize(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8), IMAGE_SIZE)
    with av.open(str(file), 'w') as container:
        stream: Any = container.add_stream('libx264', rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        for index in range(NUM_FRAMES):
            image = background.copy()
            for x, y, box_width, box_height in create_boxes(index):
                center = (round(x + box_width / 2), round(y + box_height / 2))
                cv2.ellipse(image, center, (round(box_width / 3), round(box_height / 2)), 0, 0, 360, (40, 60, 200), -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='bgr24')))
        container.mux(stream.encode())
    return file


def create_boxes(index: int) -> list[list[float]]:
    """The boxes (x, y, width, height) of both figures in a frame."""
    return [[40 + index, 100, 90, 260], [480 - index, 120, 90, 260]]


def read_bare(file: Path) -> None:
    """Decode all frames to arrays with PyAV and nothing else."""
    with av.open(str(file)) as container:
        for frame in container.decode(video=0):
            frame.to_ndarray(format='bgr24')


def read_ours(file: Path) -> None:
    for _ in VideoReader(file):
        pass


def measure_reading(file: Path) -> tuple[float, float]:
    """The milliseconds a frame of our reader and of PyAV alone, which take turns; the best of each."""
    times: dict[Callable[[Path], None], list[float]] = {read_ours: [], read_bare: []}
    for _, (read, values) in itertools.product(range(NUM_TURNS), times.items()):
        start = time.process_time()
        read(file)
        values.append((time.process_time() - start) / NUM_FRAMES * 1e3)
    return min(times[read_ours]), min(times[read_bare])


class ClockedReader(VideoReader):
    """A reader that adds up the processor seconds of its decoding."""

    seconds = 0.0

    def __iter__(self) -> Iterator[VideoFrame]:
        frames = super().__iter__()
        while True:
            start = time.process_time()
            frame = next(frames, None)
            self.seconds += time.process_time() - start
            if frame is None:
                return
            yield frame


def measure_rest(file: Path, folder: Path) -> dict[str, float]:
    """The milliseconds a frame of predicting a video with boxes, tracking and smoothing, decoding and network left out.

    Returns:
        The rest of the best run, and what was left out of it.
    """
    predictor, network_s = Predictor(device='cpu', flip_test=False), 0.0
    forward = predictor.model.network.forward

    def run_network(*args: Any, **kwargs: Any) -> Any:
        nonlocal network_s
        start = time.process_time()
        result = forward(*args, **kwargs)
        network_s += time.process_time() - start
        return result

    predictor.model.network.forward = run_network
    boxes = {index: create_boxes(index) for index in range(NUM_FRAMES)}
    options = PredictionOptions(smoother={'type': 'OneEuroSmoother'}, draw_video=False)
    runs = []
    for _ in range(2):
        network_s, reader, start = 0.0, ClockedReader(file), time.process_time()
        predict_clip(predictor, reader, folder / 'result', 'video', boxes, options)
        all_s = time.process_time() - start
        rest_s = all_s - network_s - reader.seconds
        runs.append([seconds / NUM_FRAMES * 1e3 for seconds in (rest_s, reader.seconds, network_s)])
    return dict(zip(('rest, ms', 'decoding, ms', 'network, ms'), min(runs), strict=True))
