"""The inputs of a comparison, from NumPy alone, so that both sides get the same."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

NUM_INSTANCES, NUM_KEYPOINTS = 32, 17
INPUT_SIZE, GRID_SIZE = (192, 256), (48, 64)  # (width, height) in pixels and in cells
BLUR_KERNEL_SIZE = 11  # cells, of DARK's blur at a sigma of 2 cells
RTMO_SIZE, RTMO_STRIDES = 640, (16, 32)  # of RTMO's input and of its cells, px
NUM_PREDICTED = 20  # instances that a random network is made to predict for an image
TRAIN_FILES = ('annotations/person_keypoints_train2017.json', 'train2017')  # below COCO's root


def create_keypoints() -> np.ndarray:
    """(32, 17, 2) keypoints inside the input, px."""
    rng = np.random.default_rng(0)
    return rng.uniform(0, np.array(INPUT_SIZE) - 1, (NUM_INSTANCES, NUM_KEYPOINTS, 2)).astype(np.float32)


def create_heatmaps() -> np.ndarray:
    """(32, 17, 64, 48) a Gaussian of 2 cells per keypoint, at most 1 high, on a little noise."""
    rng = np.random.default_rng(1)
    positions = rng.uniform(3, np.array(GRID_SIZE) - 4, (NUM_INSTANCES, NUM_KEYPOINTS, 2))
    x, y = np.moveaxis(positions, -1, 0)[..., None, None]
    squares = (np.arange(GRID_SIZE[0]) - x) ** 2 + (np.arange(GRID_SIZE[1])[:, None] - y) ** 2
    # Below 1: heights of a trained network, above the thresholds of both codecs.
    heights = rng.uniform(0.3, 1, (NUM_INSTANCES, NUM_KEYPOINTS, 1, 1))
    return (heights * np.exp(-squares / 8) + 0.01 * rng.random(squares.shape)).astype(np.float32)


def create_network_input(width: int, height: int) -> np.ndarray:
    """(1, 3, height, width) normally distributed values, as normalized pixels are."""
    return np.random.default_rng(4).standard_normal((1, 3, height, width), np.float32)


def create_errors() -> np.ndarray:
    """(64, 2) errors of keypoints, in standard deviations."""
    return np.random.default_rng(5).standard_normal((64, 2), np.float32)


def create_simcc_vectors() -> tuple[np.ndarray, np.ndarray]:
    """SimCC's x (32, 17, 384) and y (32, 17, 512), 2 bins a pixel: a Gaussian of 6 bins on a little noise."""
    rng, vectors = np.random.default_rng(3), []
    for num_bins in 2 * np.array(INPUT_SIZE):
        # Three standard deviations from both ends, so that no line is cut off.
        positions = rng.uniform(20, num_bins - 21, (NUM_INSTANCES, NUM_KEYPOINTS, 1))
        squares = (np.arange(num_bins) - positions) ** 2
        vectors.append((np.exp(-squares / 72) + 0.01 * rng.random(squares.shape)).astype(np.float32))
    return vectors[0], vectors[1]


def create_clusters(num_instances: int, num_clusters: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (N, 17, 2) px of instances in clusters of near duplicates, their scores (N,) and areas (N,) px²."""
    rng = np.random.default_rng(2)
    poses = rng.uniform(0, 4000, (num_clusters, 1, 2)) + rng.uniform(-60, 60, (num_clusters, NUM_KEYPOINTS, 2))
    deviations = rng.normal(0, 0.3, (num_instances, NUM_KEYPOINTS, 2))
    keypoints = poses[np.arange(num_instances) % num_clusters] + deviations
    return keypoints.astype(np.float32), rng.permutation(num_instances) / num_instances, np.full(num_instances, 1e4)


def create_tagged_heatmaps(num_instances: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Heatmaps and tags (1, 17, 128, 128) of instances side by side at 512 px, each without about three keypoints."""
    rng, size = np.random.default_rng(6), 128
    rows, columns = np.mgrid[:size, :size]
    column_width = size / num_instances
    shape = (num_instances, NUM_KEYPOINTS)
    positions = np.stack([rng.uniform(0.2, 0.8, shape), rng.uniform(0.1, 0.9, shape)], axis=-1)
    x = column_width * (positions[..., 0] + np.arange(num_instances)[:, None])
    y = size * positions[..., 1]
    squares = (columns - x[..., None, None]) ** 2 + (rows - y[..., None, None]) ** 2
    heights = rng.uniform(0.3, 1, shape) * (rng.random(shape) < 0.8)
    heatmaps = (heights[..., None, None] * np.exp(-squares / 8)).max(axis=0)
    heatmaps += 0.01 * rng.random((NUM_KEYPOINTS, size, size))
    tags = 3.0 * np.floor(columns / column_width) + rng.normal(0, 0.02, (NUM_KEYPOINTS, size, size))
    return heatmaps[None].astype(np.float32), tags[None].astype(np.float32)


def flatten_left_to_right(keypoints: np.ndarray) -> list[float]:
    """The numbers of keypoints (N, 17, 2), instances from left to right."""
    return keypoints[keypoints[..., 0].mean(axis=1).argsort()].ravel().tolist()


def create_noise_image() -> np.ndarray:
    """(1, 3, 640, 640) normalized noise of variance 1."""
    return np.random.default_rng(4).normal(size=(1, 3, RTMO_SIZE, RTMO_SIZE)).astype(np.float32)


def list_rtmo_cells() -> tuple[np.ndarray, np.ndarray]:
    """The positions of RTMO's cells, (2000, 2) px by its grid, and their strides (2000,)."""
    points, strides = [], []
    for stride in RTMO_STRIDES:
        y, x = np.mgrid[: RTMO_SIZE // stride, : RTMO_SIZE // stride].reshape(2, -1)
        points.append((np.stack([x, y], axis=1) + 0.5) * stride)
        strides.append(np.full(len(x), stride))
    return np.concatenate(points).astype(np.float32), np.concatenate(strides).astype(np.float32)


def create_assignment(num_instances: int = 64) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A crowd, and what the cells of a network that has learned a little predict for it.

    Returns:
        The crowd: `keypoints` (N, 17, 2), `boxes` (N, 4) xyxy in px, `areas` (N,) px². The A cells: `points`,
        `strides`, `score` logits, `box` and `proxy` as of the instance with the nearest center, some px off.
    """
    rng, (points, strides) = np.random.default_rng(5), list_rtmo_cells()
    size = rng.uniform(40, 160, (num_instances, 2))
    low = rng.uniform(0, RTMO_SIZE - size)
    keypoints = low[:, None] + rng.random((num_instances, NUM_KEYPOINTS, 2)) * size[:, None]
    boxes, areas = np.concatenate([low, low + size], axis=1), 0.6 * size.prod(axis=1)
    ground_truth = dict(keypoints=keypoints, boxes=boxes, areas=areas)
    distances = np.linalg.norm(points[:, None] - keypoints.mean(axis=1), axis=-1)
    nearest = distances.argmin(axis=1)
    scores = rng.normal(-2, 1, len(points))
    predicted_boxes = boxes[nearest] + rng.normal(0, 8, (len(points), 4))
    predicted_keypoints = keypoints[nearest] + rng.normal(0, 6, (len(points), NUM_KEYPOINTS, 2))
    predictions = dict(points=points, strides=strides, score=scores, box=predicted_boxes, proxy=predicted_keypoints)
    return _convert_to_float32(ground_truth), _convert_to_float32(predictions)


def _convert_to_float32(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def fix_scores(layers: Any) -> None:
    """Let the layers that predict score logits (B, 1, H, W) per level exceed the threshold in 20 cells of the first."""

    def replace_scores(layer: Any, args: Any, scores: Any) -> Any:
        # Logits: 0.7 % everywhere, and 88 % in 4 x 5 cells that lie apart, so that none suppresses another.
        scores.fill_(-5.0)
        if layer is layers[0]:
            scores[:, 0, 12:28:4, 10:30:4] = 2.0
        return scores

    for layer in layers:
        layer.register_forward_hook(replace_scores)


def list_test_images(data_root: Path, num_images: int) -> list[tuple[str, np.ndarray]]:
    """Images of COCO's validation set, each with the largest box (1, 4) xyxy of its annotated people."""
    file, folder = 'annotations/person_keypoints_val2017.json', 'val2017'
    content = json.loads((data_root / file).read_text())
    boxes: dict[int, list[float]] = {}
    for annotation in sorted(content['annotations'], key=lambda annotation: annotation['area']):
        if annotation.get('num_keypoints', 0) and not annotation.get('iscrowd', 0):
            x, y, width, height = annotation['bbox']
            boxes[annotation['image_id']] = [x, y, x + width, y + height]
    selected = [image for image in content['images'] if image['id'] in boxes][:num_images]
    return [
        (str(data_root / folder / image['file_name']), np.array([boxes[image['id']]], np.float32)) for image in selected
    ]


def list_images(data_root: Path, num_images: int, num_instances: int) -> list[tuple[str, np.ndarray]]:
    """The first training images of COCO with `num_instances` boxes each (xyxy), repeated if there are fewer."""
    file, folder = TRAIN_FILES
    content = json.loads((data_root / file).read_text())
    boxes: dict[int, list[list[float]]] = {}
    for annotation in content['annotations']:
        if annotation.get('num_keypoints', 0) and not annotation.get('iscrowd', 0):
            x, y, width, height = annotation['bbox']
            # xywh in the file.
            boxes.setdefault(annotation['image_id'], []).append([x, y, x + width, y + height])
    selected = [image for image in content['images'] if image['id'] in boxes][:num_images]
    images = []
    for image in selected:
        image_boxes = np.resize(np.array(boxes[image['id']], np.float32), (num_instances, 4))
        images.append((str(data_root / folder / image['file_name']), image_boxes))
    return images


def create_weight(name: str, shape: tuple[int, ...], drawn_as: type[np.floating] = np.float64) -> np.ndarray:
    """A weight (*shape) that follows from its name: activations keep their size, and norms are not as initialized.

    Args:
        name: of the weight.
        shape: of the weight.
        drawn_as: type of the random numbers, which are others in single precision: stored results need theirs.
    """
    numbers = np.array(np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, drawn_as))
    if name.endswith('running_var'):
        numbers = 1 + 0.2 * np.abs(numbers)
    elif len(shape) >= 2:
        numbers *= drawn_as(0.7 * math.sqrt(2 / max(1, math.prod(shape[1:]))))
    else:
        numbers = 0.1 * numbers + (1 if name.endswith('weight') else 0)
    return np.asarray(numbers, np.float32)


def create_images(size: tuple[int, int]) -> np.ndarray:
    """(1, 3, H, W) normalized noise of a size (width, height)."""
    return np.random.default_rng(1).standard_normal((1, 3, size[1], size[0])).astype(np.float32)


def sample_numbers(array: np.ndarray, max_count: int = 200) -> list[float]:
    """At most so many numbers of an array, evenly spaced in memory's order."""
    flat = array.reshape(-1)
    return [float(f'{number:.7g}') for number in flat[:: -(-flat.size // max_count)]]
