"""Measure how trackers keep ids through a crossing and an occlusion, as a table for docs/lab/prediction.md.

python tools/lab/tracking_table.py [--trackers JSON...]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.predict.video import build_tracker
from poseplug.registry.skeletons import get_skeleton

SIZE_PX, SPEED_PX, NOISE_PX = 180.0, 150.0, 2.0  # height of a person, its speed a second, noise of a keypoint
TRACKERS = (
    {'type': 'SimilarityTracker'},
    {'type': 'PackageTracker', 'method': 'bytetrack'},
    {'type': 'PackageTracker', 'method': 'ocsort'},
    {'type': 'PackageTracker', 'method': 'sort'},
)


class Frame(NamedTuple):
    """A frame: its time, the positions (N, 2) of the people who are seen, and who they are (N,)."""

    seconds: float
    positions: np.ndarray
    names: np.ndarray


def cross(fps: float, speed: float = SPEED_PX) -> Iterator[Frame]:
    """Two people who walk through each other in 4 s; the right one is hidden while they overlap by half a body."""
    for t in np.arange(round(4 * fps)) / fps:
        positions = np.array([[100 + speed * t, 300], [100 + 4 * speed - speed * t, 301]])
        count = 1 if abs(positions[0, 0] - positions[1, 0]) < 30 else 2
        yield Frame(t, positions[:count], np.arange(count))


def hide(fps: float, speed: float = SPEED_PX) -> Iterator[Frame]:
    """Two people beside each other for 8 s, one of whom is hidden for 2 s and walks on."""
    for t in np.arange(round(8 * fps)) / fps:
        positions = np.array([[100 + speed * t / 2, 300], [400 + speed * t / 2, 300]])
        count = 1 if 3 <= t < 5 else 2
        yield Frame(t, positions[:count], np.arange(count))


SCENES = {'crossing': cross, 'occlusion of 2 s': hide}


def create_poses(frame: Frame, skeleton: Skeleton, rng: np.random.Generator) -> Poses:
    """Poses of one shape at the positions, with noise and boxes."""
    # The same pose for all, so that position alone tells people apart.
    shape = np.random.default_rng(0).uniform((-SIZE_PX / 6, -SIZE_PX / 2), (SIZE_PX / 6, SIZE_PX / 2), (17, 2))
    points = frame.positions[:, None] + shape + rng.normal(0, NOISE_PX, (len(frame.positions), 17, 2))
    boxes = np.concatenate([points.min(axis=1) - 10, points.max(axis=1) + 10], axis=1)
    return Poses(points, np.full(points.shape[:2], 0.9), np.full(len(points), 0.9), boxes=boxes)


def measure_scene(config: dict[str, Any], scene: Any, fps: float, num_runs: int = 20) -> tuple[float, float]:
    """Mean number of identity switches, and of seconds in which a person has another id than first, or none."""
    skeleton, rng = get_skeleton('coco'), np.random.default_rng(1)
    switches = lost = 0.0
    for _ in range(num_runs):
        track = build_tracker(config, skeleton)
        first_ids, last_ids = dict[int, int](), dict[int, int]()
        for frame in scene(fps):
            poses = create_poses(frame, skeleton, rng)
            tracked = track(poses, frame.seconds)
            # A tracker may reorder or drop instances: they are known by the noisy x of their first keypoint.
            ids = {round(float(x), 6): int(i) for x, i in zip(tracked.keypoints[:, 0, 0], tracked.ids, strict=True)}
            for name, points in zip(frame.names.tolist(), poses.keypoints, strict=True):
                instance_id = ids.get(round(float(points[0, 0]), 6), 0)
                if instance_id:
                    switches += last_ids.get(name, instance_id) != instance_id
                    first_ids.setdefault(name, instance_id)
                    last_ids[name] = instance_id
                # An id of 0 stands for none.
                lost += (instance_id == 0 or instance_id != first_ids[name]) / fps
    return switches / num_runs, lost / num_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--trackers', nargs='+', type=json.loads, default=TRACKERS, help='configs as JSON')
    parser.add_argument('--fps', nargs='+', type=float, default=[25, 8], help='frames per second')
    args = parser.parse_args()
    print('| tracker | ' + ' | '.join(f'{name}, {fps:g} fps' for name in SCENES for fps in args.fps) + ' |')
    print('|---' * (1 + len(SCENES) * len(args.fps)) + '|')
    for config in args.trackers:
        cells = []
        for scene in SCENES.values():
            for fps in args.fps:
                switches, lost = measure_scene(config, scene, fps)
                cells.append(f'{switches:.2f}, {lost:.2f} s')
        print(f'| {config.get("method", config["type"])} | {" | ".join(cells)} |', flush=True)


if __name__ == '__main__':
    main()
