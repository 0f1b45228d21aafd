"""What prediction costs outside the network, beside rtmlib: the same exported network, the same boxes, from a file.

Processor time of one thread, in milliseconds of a person: what the network takes is measured in every call and left
out. rtmlib comes by `pip install --no-deps rtmlib`. Used by tools/benchmark.py.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.deploy.published_layouts import PublishedLayout
from poseplug.deploy.runtime import ExportedPredictor
from poseplug.files.onnx_session import create_onnx_session
from poseplug.predict.predictor import Predictor

CONFIG = Path(__file__).resolve().parents[2] / 'configs/rtmpose/rtmpose_t_coco_256x192.py'
IMAGE_SIZE = (640, 480)
INPUT_SIZE = (192, 256)
NUM_TURNS = 41
OURS_TORCH, OURS_RUNTIME, OTHER = 'poseplug, torch', 'poseplug, ONNX Runtime', 'rtmlib'
OUR_SIDES = {OURS_TORCH: 'torch', OURS_RUNTIME: 'runtime'}  # the sides that are compared, and their short names


class PublishedNetwork(nn.Module):
    """The network of RTMPose as it is published: normalized images (B, 3, H, W) to the lines of both axes."""

    def __init__(self, model: Any):
        super().__init__()
        self.parts = nn.ModuleList(model.network.active_parts().values())

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features: Any = images
        for part in self.parts:
            features = part(features)
        return features[-1]['x'], features[-1]['y']


class NetworkClock:
    """Adds up the processor seconds of the calls of a network."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap_call(self, action: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same action, whose processor time is added to `seconds`."""

        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = action(*args, **kwargs)
            self.seconds += time.process_time() - start
            return result

        return run


class ClockedSession:
    """A session of ONNX Runtime whose runs are counted by a clock."""

    def __init__(self, session: Any, clock: NetworkClock):
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs
        self.run = clock.wrap_call(session.run)


def write_models(folder: Path) -> tuple[Path, Path]:
    """Write RTMPose-t with random weights as a checkpoint and as the ONNX file of its published layout."""
    torch.manual_seed(0)
    model = build_model(load_config(CONFIG)).eval()
    checkpoint, file = folder / 'rtmpose_t.pth', folder / 'rtmpose_t.onnx'
    torch.save(model.state_dict(), checkpoint)
    names = dict(input_names=['input'], output_names=['simcc_x', 'simcc_y'])
    shapes = ({0: torch.export.Dim('batch')},)
    inputs = (torch.zeros(2, 3, INPUT_SIZE[1], INPUT_SIZE[0]),)
    with contextlib.redirect_stdout(io.StringIO()):
        network = PublishedNetwork(model).eval()
        torch.onnx.export(network, inputs, str(file), dynamo=True, dynamic_shapes=shapes, external_data=False, **names)
    return checkpoint, file


def write_photo(folder: Path) -> Path:
    """Write a JPEG file with the detail of a photograph: noise of all scales."""
    rng, (width, height) = np.random.default_rng(0), IMAGE_SIZE
    layers = [cv2.resize(rng.normal(0, 1, (height // n, width // n, 3)), IMAGE_SIZE) * n for n in (2, 4, 8, 16, 32)]
    file = folder / 'photo.jpg'
    cv2.imwrite(
        str(file), np.clip(128 + 2 * np.sum(layers, axis=0), 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90]
    )
    return file


def create_boxes(num_people: int) -> list[list[float]]:
    """Boxes (x1, y1, x2, y2) of so many people within the image, all 60 px wide and 150 px high."""
    rng, size = np.random.default_rng(0), np.array([60, 150])
    corners = rng.random((num_people, 2)) * (np.array(IMAGE_SIZE) - size)
    return np.concatenate([corners, corners + size], axis=1).tolist()


def create_sides(folder: Path, clock: NetworkClock) -> dict[str, Callable[[Path, list[list[float]]], np.ndarray]]:
    """What is compared, by name: each takes a file and boxes and returns keypoints (N, 17, 2) in px of the image."""
    import onnxruntime
    from rtmlib import RTMPose

    checkpoint, file = write_models(folder)
    with_torch = Predictor(str(CONFIG), checkpoint, device='cpu', flip_test=False)
    with_torch.model.network.forward = clock.wrap_call(with_torch.model.network.forward)
    without_torch = ExportedPredictor(file, threads=1, layout=PublishedLayout(channel_order='bgr'))
    runtime_session = without_torch.model.runtime_session
    runtime_session.session = ClockedSession(runtime_session.session, clock)
    with contextlib.redirect_stdout(io.StringIO()):
        other = RTMPose(str(file), INPUT_SIZE, backend='onnxruntime', device='cpu')
    # Its own session has a thread for each core, and those that spin would be counted as its work.
    other.session = ClockedSession(create_onnx_session(onnxruntime, file, threads=1), clock)
    return {
        OURS_TORCH: lambda image, boxes: with_torch(image, boxes, box_format='xyxy')[0].keypoints,
        OURS_RUNTIME: lambda image, boxes: without_torch(image, boxes, box_format='xyxy')[0].keypoints,
        OTHER: lambda image, boxes: other(cv2.imread(str(image)), boxes)[0],
    }


def measure_outside(folder: Path, num_people: int) -> dict[str, float]:
    """The median of the milliseconds a person by side, and how far the keypoints of the exported network are apart."""
    clock = NetworkClock()
    cv2.setNumThreads(0)
    sides, image, boxes = create_sides(folder, clock), write_photo(folder), create_boxes(num_people)
    times: dict[str, list[float]] = {name: [] for name in sides}
    keypoints = {}
    for _ in range(NUM_TURNS):
        for name, predict in sides.items():
            clock.seconds, start = 0.0, time.process_time()
            keypoints[name] = predict(image, boxes)
            times[name].append((time.process_time() - start - clock.seconds) / num_people * 1e3)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    distances = np.abs(keypoints[OURS_RUNTIME] - keypoints[OTHER])
    return medians | {'keypoints apart, px, median': float(np.median(distances))}
