"""The inputs of a comparison, from NumPy alone, so that both sides get the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PEOPLE, JOINTS = 32, 17
INPUT, GRID = (192, 256), (48, 64)  # (width, height) in pixels and in cells
KERNEL = 11  # cells, of DARK's blur at a sigma of 2 cells
SIDE, STRIDES = 640, (16, 32)  # of RTMO's input, px, and of its cells
FOUND = 20  # people whom a random network is made to find in a picture
TRAIN = ('annotations/person_keypoints_train2017.json', 'train2017')  # below COCO's root


def joints() -> np.ndarray:
    """(32, 17, 2) joints inside the input, px."""
    return np.random.default_rng(0).uniform(0, np.array(INPUT) - 1, (PEOPLE, JOINTS, 2)).astype(np.float32)


def maps() -> np.ndarray:
    """(32, 17, 64, 48) a Gaussian of 2 cells a joint, at most as high as 1, on a little noise."""
    rng = np.random.default_rng(1)
    x, y = np.moveaxis(rng.uniform(3, np.array(GRID) - 4, (PEOPLE, JOINTS, 2)), -1, 0)[..., None, None]
    squares = (np.arange(GRID[0]) - x) ** 2 + (np.arange(GRID[1])[:, None] - y) ** 2
    heights = rng.uniform(0.3, 1, (PEOPLE, JOINTS, 1, 1))
    return (heights * np.exp(-squares / 8) + 0.01 * rng.random(squares.shape)).astype(np.float32)


def lines() -> tuple[np.ndarray, np.ndarray]:
    """SimCC's lines, (32, 17, 384) and (32, 17, 512) of 2 bins a pixel: a Gaussian of 6 bins on a little noise."""
    rng, found = np.random.default_rng(3), []
    for count in 2 * np.array(INPUT):
        squares = (np.arange(count) - rng.uniform(20, count - 21, (PEOPLE, JOINTS, 1))) ** 2
        found.append((np.exp(-squares / 72) + 0.01 * rng.random(squares.shape)).astype(np.float32))
    return found[0], found[1]


def crowd(people: int, clusters: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints (N, 17, 2) px of people in clusters of near doubles, their scores (N,) and areas (N,) px²."""
    rng = np.random.default_rng(2)
    poses = rng.uniform(0, 4000, (clusters, 1, 2)) + rng.uniform(-60, 60, (clusters, JOINTS, 2))
    keypoints = poses[np.arange(people) % clusters] + rng.normal(0, 0.3, (people, JOINTS, 2))
    return keypoints.astype(np.float32), rng.permutation(people) / people, np.full(people, 1e4)


def tagged(people: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Maps and tags, both (1, 17, 128, 128), of people side by side at 512 px, each without about three joints."""
    rng, size = np.random.default_rng(6), 128
    rows, columns = np.mgrid[:size, :size]
    share = size / people
    places = np.stack([rng.uniform(0.2, 0.8, (people, JOINTS)), rng.uniform(0.1, 0.9, (people, JOINTS))], axis=-1)
    x, y = share * (places[..., 0] + np.arange(people)[:, None]), size * places[..., 1]
    squares = (columns - x[..., None, None]) ** 2 + (rows - y[..., None, None]) ** 2
    heights = rng.uniform(0.3, 1, (people, JOINTS)) * (rng.random((people, JOINTS)) < 0.8)
    drawn = (heights[..., None, None] * np.exp(-squares / 8)).max(axis=0) + 0.01 * rng.random((JOINTS, size, size))
    tags = 3.0 * np.floor(columns / share) + rng.normal(0, 0.02, (JOINTS, size, size))
    return drawn[None].astype(np.float32), tags[None].astype(np.float32)


def in_order(people: np.ndarray) -> list[float]:
    """The joints (N, 17, 2) of people from left to right."""
    return people[people[..., 0].mean(axis=1).argsort()].ravel().tolist()


def noise() -> np.ndarray:
    """(1, 3, 640, 640) what a network sees, of variance 1."""
    return np.random.default_rng(4).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)


def cells() -> tuple[np.ndarray, np.ndarray]:
    """Where RTMO's cells stand, (2000, 2) px by its grid, and their strides (2000,)."""
    points, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: SIDE // stride, : SIDE // stride].reshape(2, -1)
        points.append((np.stack([x, y], axis=1) + 0.5) * stride)
        strides.append(np.full(len(x), stride))
    return np.concatenate(points).astype(np.float32), np.concatenate(strides).astype(np.float32)


def assignment(people: int = 64) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A crowd, and what cells say of it that have learnt a little.

    The crowd: `keypoints` (N, 17, 2), `boxes` (N, 4; two corners) px, `areas` (N,) px². The cells (A): `points`,
    `strides`, `score` logits, `box` and `proxy` as of the person whose middle is nearest, some px off.
    """
    rng, (points, strides) = np.random.default_rng(5), cells()
    size = rng.uniform(40, 160, (people, 2))
    low = rng.uniform(0, SIDE - size)
    keypoints = low[:, None] + rng.random((people, JOINTS, 2)) * size[:, None]
    truth = dict(keypoints=keypoints, boxes=np.concatenate([low, low + size], axis=1), areas=0.6 * size.prod(axis=1))
    whose = np.linalg.norm(points[:, None] - keypoints.mean(axis=1), axis=-1).argmin(axis=1)
    said = dict(
        points=points,
        strides=strides,
        score=rng.normal(-2, 1, len(points)),
        box=truth['boxes'][whose] + rng.normal(0, 8, (len(points), 4)),
        proxy=keypoints[whose] + rng.normal(0, 6, (len(points), JOINTS, 2)),
    )
    return {n: v.astype(np.float32) for n, v in truth.items()}, {n: v.astype(np.float32) for n, v in said.items()}


def sure(layers: Any) -> None:
    """Let layers that give the scores (B, 1, H, W) of each level, logits, be sure of `FOUND` of the finest cells."""

    def spread(layer: Any, given: Any, scores: Any) -> Any:
        scores.fill_(-5.0)
        if layer is layers[0]:
            scores[:, 0, 12:28:4, 10:30:4] = 2.0
        return scores

    for layer in layers:
        layer.register_forward_hook(spread)


def pictures(root: Path, count: int, people: int) -> list[tuple[str, np.ndarray]]:
    """The first `count` training pictures of COCO, each with `people` boxes (two corners), its own in turns."""
    file, folder = TRAIN
    content = json.loads((root / file).read_text())
    boxes: dict[int, list[list[float]]] = {}
    for found in content['annotations']:
        if found.get('num_keypoints', 0) and not found.get('iscrowd', 0):
            x, y, width, height = found['bbox']
            boxes.setdefault(found['image_id'], []).append([x, y, x + width, y + height])
    chosen = [image for image in content['images'] if image['id'] in boxes][:count]
    return [
        (str(root / folder / image['file_name']), np.resize(np.array(boxes[image['id']], np.float32), (people, 4)))
        for image in chosen
    ]
