"""The adapter to the package `trackers`: with the package, and with a stand-in of its interface."""

import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.predict.package_tracker import PackageTracker
from poseplug.predict.video import build_tracker
from poseplug.skeletons.coco import COCO
from poseplug.testing import TrackerContract

has_package = find_spec('trackers') is not None and find_spec('supervision') is not None


class StandInDetections:
    """The part of supervision's `Detections` that the adapter uses."""

    def __init__(self, xyxy, confidence=None, data=None, tracker_id=None):
        self.xyxy, self.confidence, self.data, self.tracker_id = xyxy, confidence, data, tracker_id

    def __len__(self):
        return len(self.xyxy)


class StandInTracker:
    """Returns the boxes in reverse order, the package id 70 plus the hundreds of x, and -1 for a box at the left."""

    def __init__(self, lost_track_buffer, minimum_consecutive_frames, minimum_iou_threshold=0.1):
        self.calls = []
        self.settings = (lost_track_buffer, minimum_consecutive_frames, minimum_iou_threshold)

    def update(self, detections, timestamp):
        self.calls.append((timestamp, detections.confidence))
        order = np.arange(len(detections))[::-1]
        left = detections.xyxy[order, 0]
        ids = np.where(left < 10, -1, 70 + left // 100).astype(int)
        return StandInDetections(detections.xyxy[order], None, {'position': order}, ids)


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setitem(sys.modules, 'supervision', SimpleNamespace(Detections=StandInDetections))
    monkeypatch.setitem(sys.modules, 'trackers', SimpleNamespace(ByteTrackTracker=StandInTracker))


def create_poses(*lefts):
    keypoints = np.array([[[left, 0.0], [left + 50, 90.0]] for left in lefts]).reshape(len(lefts), 2, 2)
    return Poses(keypoints, np.ones((len(lefts), 2)), np.linspace(0.2, 0.9, len(lefts)))


def test_ids_are_numbered_from_1_and_instances_stay_in_their_order(stand_in):
    track = PackageTracker(minimum_iou_threshold=0.3)
    assert track._tracker.settings == (90, 1, 0.3)
    tracked = track(create_poses(300.0, 100.0, 5.0), 0.5)
    assert tracked.ids.tolist() == [2, 1]  # numbered as the package returned them; the one without an id is dropped
    assert tracked.keypoints[:, 0, 0].tolist() == [300, 100]
    assert track(create_poses(100.0, 200.0), 0.6).ids.tolist() == [1, 3]
    assert track(create_poses(), 0.7).ids.shape == (0,)
    assert track._tracker.calls == [(0.5, None), (0.6, None), (0.7, None)]


def test_scores_go_to_the_package_on_request(stand_in):
    track = PackageTracker(use_scores=True)
    track(create_poses(100.0, 200.0), 0.0)
    np.testing.assert_allclose(track._tracker.calls[0][1], [0.2, 0.9], atol=1e-6)


def test_wrong_settings_and_a_missing_package_are_named(stand_in, monkeypatch):
    with pytest.raises(ConfigError, match="bytetrack, ocsort, sort; got 'deepsort'"):
        build_tracker({'type': 'PackageTracker', 'method': 'deepsort'}, COCO)
    with pytest.raises(ConfigError, match='refuses the settings of bytetrack'):
        build_tracker({'type': 'PackageTracker', 'speed': 1}, COCO)
    monkeypatch.setitem(sys.modules, 'supervision', None)
    with pytest.raises(ConfigError, match=r'poseplug\[tracking\]'):
        PackageTracker()


@pytest.mark.skipif(not has_package, reason='the extra tracking is not installed')
@pytest.mark.parametrize('name', ['bytetrack', 'ocsort', 'sort'])
class TestPackageTracker(TrackerContract):
    num_warmup_frames = 2

    @pytest.fixture(autouse=True)
    def _set_method(self, name):
        self.method = name

    def build_part(self, skeleton):
        return PackageTracker(self.method)
