"""Tracking: instances keep their ids through crossings, gaps and any order, and no id is given twice."""

import numpy as np
import pytest

from poseplug.core.errors import ConfigError, VideoError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.predict.tracking import InstanceGeometry, SimilarityTracker, box_similarity
from poseplug.registry.skeletons import get_skeleton

COCO = get_skeleton('coco')
RNG = np.random.default_rng(0)
SHAPE = RNG.uniform((-30, -90), (30, 90), (len(COCO), 2))  # keypoints of a person about 180 px high


def create_poses(*positions, skeleton=COCO, noise=0.0, boxes=None):
    """People of one shape around positions (x, y)."""
    points = np.array([SHAPE[: len(skeleton)] + position for position in positions])
    points = points.reshape(len(positions), len(skeleton), 2)
    points = points + noise * RNG.normal(size=points.shape)
    return Poses(points, np.ones(points.shape[:2]), np.ones(len(points)), boxes=boxes)


def cross_paths(fps, seconds=4, speed=150):
    """Times, and positions of two people who walk through each other, one px apart."""
    for t in np.arange(round(seconds * fps)) / fps:
        yield t, (100 + speed * t, 300), (700 - speed * t, 301)


@pytest.mark.parametrize('fps', [10, 25, 60])
@pytest.mark.parametrize('name', ['coco', 'mpii'])
def test_two_people_of_one_shape_who_walk_through_each_other_keep_their_ids(fps, name):
    """But for the one frame in which they coincide and cannot be distinguished."""
    skeleton = get_skeleton(name)
    track = SimilarityTracker(skeleton)
    for t, left, right in cross_paths(fps):
        ids = track(create_poses(left, right, skeleton=skeleton, noise=1), t).ids.tolist()
        assert ids == [1, 2] or left[0] == right[0]


@pytest.mark.parametrize('fps', [10, 25, 60])
def test_a_person_hidden_during_a_crossing_returns_with_the_same_id(fps):
    track = SimilarityTracker(COCO)
    for t, left, right in cross_paths(fps):
        hidden = abs(left[0] - right[0]) < 60
        ids = track(create_poses(left, *([] if hidden else [right]), noise=1), t).ids.tolist()
        assert ids == ([1] if hidden else [1, 2])


def test_the_order_of_instances_changes_only_the_order_of_their_ids():
    tracks = SimilarityTracker(COCO), SimilarityTracker(COCO)
    for step in range(30):
        crowd = create_poses(*(np.array([150 * n + 5 * step * (-1) ** n, 300]) for n in range(6)), noise=3)
        order = RNG.permutation(6)
        ids, shuffled = tracks[0](crowd, step / 25).ids, tracks[1](crowd[order], step / 25).ids
        assert (ids[order] == shuffled).all()


@pytest.mark.parametrize(('absent', 'expected'), [(0.5, [1, 2]), (0.96, [1, 2]), (1.1, [1, 3])])
def test_an_id_is_kept_for_max_age_and_never_assigned_again(absent, expected):
    track = SimilarityTracker(COCO, max_age=1.0, min_frames=0)
    track(create_poses((0, 0), (600, 0)), 0.0)
    for t in np.arange(0.04, absent, 0.04):
        assert track(create_poses((0, 0)), t).ids.tolist() == [1]
    assert track(create_poses((0, 0), (620, 0)), absent).ids.tolist() == expected


def test_an_instance_that_was_just_there_counts_more_than_one_that_was_lost():
    """The lost one was nearer, 2 s ago: e^-4 of its similarity."""
    track = SimilarityTracker(COCO)
    track(create_poses((0, 0), (60, 0)), 0.0)
    for step in range(1, 51):
        assert track(create_poses((60, 0)), step / 25).ids.tolist() == [2]
    assert track(create_poses((25, 0)), 51 / 25).ids.tolist() == [2]


def test_frames_without_instances_are_a_gap_like_any_other():
    track = SimilarityTracker(COCO)
    assert track(create_poses((0, 0)), 0.0).ids.tolist() == [1]
    assert track(create_poses(), 0.1).ids.shape == (0,)
    assert track(create_poses((10, 0)), 0.5).ids.tolist() == [1]  # and frames that are missing altogether


def test_an_instance_that_does_not_move_has_the_largest_similarity_there_is():
    track = SimilarityTracker(COCO, min_similarity=1.0)
    for step in range(3):
        ids = track(create_poses((0, 0), (600, 0)), step / 25).ids
        assert ids.tolist() == [1, 2]
        assert ids.dtype.kind == 'i'


def test_a_distant_instance_gets_another_id():
    track = SimilarityTracker(COCO)
    track(create_poses((0, 0)), 0.0)
    assert track(create_poses((500, 0)), 0.04).ids.tolist() == [2]


def test_new_instances_are_numbered_from_left_to_right():
    assert SimilarityTracker(COCO)(create_poses((500, 0), (0, 9), (900, 0)), 0.0).ids.tolist() == [2, 1, 3]


def test_instances_that_lose_most_keypoints_keep_their_ids():
    track = SimilarityTracker(COCO)
    track(create_poses((0, 0), (600, 0)), 0.0)
    partial = create_poses((3, 0), (603, 0))
    partial.keypoint_scores[:, 4:] = 0
    partial.keypoints[:, 4:] = np.nan
    assert track(partial, 0.04).ids.tolist() == [1, 2]
    boxes_alone = create_poses((6, 0), (606, 0), boxes=np.array([[-24, -90, 36, 90], [576, -90, 636, 90.0]]))
    boxes_alone.keypoint_scores[:] = 0
    ids = SimilarityTracker(get_skeleton('mpii'))(boxes_alone, 0.0).ids
    assert ids.tolist() == [1, 2]


@pytest.mark.parametrize('name', ['coco', 'lsp'])
def test_a_person_hidden_but_for_the_head_for_a_while_keeps_the_id(name):
    skeleton = get_skeleton(name)
    track = SimilarityTracker(skeleton)
    for step, low in enumerate([174, 174, 54, 54, 120, 174]):
        hidden = create_poses((40 + step, 90), skeleton=skeleton, boxes=np.array([[step, 0, 80.0 + step, low]]))
        hidden.keypoint_scores[:, SHAPE[: len(skeleton), 1] + 90 > low] = 0
        assert track(hidden, step / 25).ids.tolist() == [1]


def test_box_similarity_is_the_mean_of_iou_and_covered_fraction_of_the_smaller():
    box = np.array([[0, 0, 10, 10.0]])
    others = np.array([[0, 5, 10, 10.0], [5, 0, 15, 10], [3, 3, 3, 3], [90, 0, 99, 9]])
    assert box_similarity(box, others)[0] == pytest.approx([(0.5 + 1) / 2, (1 / 3 + 0.5) / 2, 0, 0])


def test_frames_out_of_order_are_refused():
    track = SimilarityTracker(COCO)
    track(create_poses(), 2.0)
    with pytest.raises(VideoError, match=r'a frame at 2 s came after one at 2 s'):
        track(create_poses(), 2.0)


@pytest.mark.parametrize('elapsed_s', [0.02, 0.1, 0.4])
def test_the_squared_oks_width_grows_by_the_squared_tolerance(elapsed_s):
    """From (2 sigma)² to (2 sigma)² + t², t = 1 size a second: exp(-d² / (2 area ((2 sigma)² + t²)))."""
    sigma, shift = 0.05, 12.0
    names = COCO.keypoints
    boxes = np.array([[0.0, 0, 100, 100]])
    expected = np.exp(-(shift**2) / (2 * 100**2 * ((2 * sigma) ** 2 + elapsed_s**2)))
    similarities = []
    for skeleton in (Skeleton('known', names, sigmas=(sigma,) * len(names)), Skeleton('unknown', names)):
        tracker = SimilarityTracker(skeleton)
        tracker(create_poses((50, 50), boxes=boxes), 0.0)
        moved = create_poses((50 + shift, 50), boxes=boxes)
        moved.keypoint_scores[0, :5] = 0  # they do not count
        instances = InstanceGeometry.from_poses(moved, threshold=0.05)
        similarities.append(tracker.compute_similarity(instances, elapsed_s).item())
    # With sigmas it is the mean of OKS and of what it is without.
    assert 2 * similarities[0] - similarities[1] == pytest.approx(expected, rel=1e-4)


def test_the_velocity_is_the_first_displacement_and_from_then_on_a_running_mean():
    """10 px and then 30 px in 0.1 s each: 100 px/s, and halfway to 300 px/s since 0.1 s is the mean's time constant."""
    tracker = SimilarityTracker(COCO)
    velocities = []
    for step, x in enumerate((0, 10, 40)):
        tracker(create_poses((x, 300)), 0.1 * step)
        velocities.append(tracker.tracks[0].velocity)
    np.testing.assert_allclose(velocities, [(0, 0), (100, 0), (200, 0)], atol=1e-9)


def test_a_box_around_keypoints_has_margins_of_a_tenth_of_its_longer_side():
    points = np.array([[[10.0, 20], [30, 120], [999, 999]]])
    instances = InstanceGeometry.from_poses(Poses(points, np.array([[1, 1, 0.0]]), np.ones(1)), threshold=0.5)
    assert instances.boxes.tolist() == [[0, 10, 40, 130]]
    assert instances.areas.tolist() == [40 * 120]
    hidden = InstanceGeometry.from_poses(Poses(points, np.zeros((1, 3)), np.ones(1)), threshold=0.5)
    assert hidden.boxes.tolist() == [[0, 0, 0, 0]]


def test_boxes_of_any_precision_become_double_and_narrow_ones_have_the_area_of_a_quarter_square():
    boxes = np.array([[0, 0, 100, 1], [0, 0, 2, 200], [0, 0, 30, 40], [5, 5, 5, 5]], np.float32)
    poses = Poses(np.zeros((4, 3, 2)), np.ones((4, 3)), np.ones(4), boxes=boxes)
    instances = InstanceGeometry.from_poses(poses, threshold=0.5)
    assert instances.boxes.dtype == np.float64
    assert instances.areas.tolist() == [0.25 * 100**2, 0.25 * 200**2, 30 * 40, 0]
    grown = instances.expand_boxes(np.array([1.0, 2.0, 3.0, 0.5]))
    assert grown.tolist() == [[-1, -1, 101, 2], [-2, -2, 4, 202], [-3, -3, 33, 43], [4.5, 4.5, 5.5, 5.5]]


@pytest.mark.parametrize('elapsed_s', [0.02, 0.1, 0.4])
def test_without_sigmas_the_similarity_is_that_of_boxes_with_margins(elapsed_s):
    """Each of two boxes of 100 px grows by t / 2 sizes on every side; d apart they overlap by s - d of s px."""
    tracker = SimilarityTracker(Skeleton('unknown', COCO.keypoints))
    tracker(create_poses((50, 50), boxes=np.array([[0.0, 0, 100, 100]])), 0.0)
    moved = create_poses((62, 50), boxes=np.array([[12.0, 0, 112, 100]]))
    similarity = tracker.compute_similarity(InstanceGeometry.from_poses(moved, threshold=0.05), elapsed_s)
    side, shift = 100 + 100 * elapsed_s, 12.0
    iou, covered = (side - shift) / (side + shift), (side - shift) / side
    assert similarity.item() == pytest.approx((iou + covered) / 2, rel=1e-6)


def test_without_a_common_keypoint_the_velocity_is_that_of_the_box():
    tracker = SimilarityTracker(COCO)
    for step, box in enumerate(([0, 0, 100, 200], [10, 20, 114, 224])):
        hidden = create_poses((0, 0), boxes=np.array([box], dtype=float))
        hidden.keypoint_scores[:] = 0
        tracker(hidden, 0.1 * step)
    np.testing.assert_allclose(tracker.tracks[0].velocity, (120, 220), atol=1e-9)  # its center: 12 and 22 px in 0.1 s


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_five_people_who_walk_up_and_down_in_one_row_keep_their_ids(seed):
    """For 10 s at 30 frames a second, through each other; one in ten detections fails, keypoints are off by 1 %.

    They have one shape, so that those who coincide, within 12 px, may be confused for the moment.
    """
    rng, track, expected_ids = np.random.default_rng(seed), SimilarityTracker(COCO), {}
    x, velocities = rng.uniform(0, 1200, 5), rng.choice([-1, 1], 5) * rng.uniform(60, 200, 5)
    y = rng.uniform(300, 340, 5)
    for step in range(300):
        x = x + velocities / 30
        velocities = np.where((x - 600) * velocities > 600 * abs(velocities), -velocities, velocities)
        detected = rng.permutation(np.flatnonzero(rng.random(5) > 0.1))
        crowd = create_poses(*((x[n], y[n]) for n in detected), noise=2)
        for n, id_ in zip(detected, track(crowd, step / 30).ids, strict=True):
            assert expected_ids.setdefault(n, id_) == id_ or np.sort(abs(x - x[n]))[1] < 12
    assert sorted(expected_ids.values()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(('fps', 'frame_interval'), [(8, 10), (25, 60), (1 / 10, 1), (30, 900)])
def test_ids_survive_frames_that_are_far_apart(fps, frame_interval):
    """Three people who stay, 1.25 to 30 s apart; the middle one is missed in every third frame."""
    track = SimilarityTracker(COCO)
    for step in range(12):
        seconds = step * frame_interval / fps
        middle = [] if step % 3 == 2 else [(330 + step % 2, 300)]
        ids = track(create_poses((100, 300), *middle, (560, 300), noise=3), seconds).ids.tolist()
        assert ids == ([1, 2, 3] if middle else [1, 3])


@pytest.mark.parametrize('fps', [1, 2, 4, 8, 25])
def test_a_walking_person_keeps_the_id_at_any_frame_rate(fps):
    """At half a body size per second, beside another one who walks the other way, 3 sizes behind."""
    track = SimilarityTracker(COCO)
    for step in range(6 * fps):
        shift = 50 * step / fps
        assert track(create_poses((100 + shift, 100), (500 - shift, 400), noise=1), step / fps).ids.tolist() == [1, 2]


@pytest.mark.parametrize(('fps', 'frame_interval'), [(8, 1), (25, 1), (8, 10)])
def test_ids_survive_an_occlusion_of_two_seconds(fps, frame_interval):
    """A person walks behind something for 2 s while another one stays, and both keep their ids."""
    track = SimilarityTracker(COCO)
    for step in range(0, 8 * fps, frame_interval):
        seconds = step / fps
        hidden = 2 <= seconds < 4
        walking = [] if hidden else [(50 + 40 * seconds, 300)]
        ids = track(create_poses((600, 300), *walking, noise=1), seconds).ids
        assert len(ids) == 1 or ids.tolist() == [2, 1]


def test_an_unseen_instance_is_forgotten_after_max_age_and_min_frames():
    track = SimilarityTracker(COCO, max_age=3.0, min_frames=3)
    track(create_poses((0, 0), (600, 0)), 0.0)
    for seconds in (1.0, 2.0, 3.0, 4.0):
        track(create_poses((0, 0)), seconds)
    assert track(create_poses((0, 0), (600, 0)), 5.0).ids.tolist() == [1, 3]


def test_a_known_number_of_instances_has_no_other_ids():
    """Two animals, one of them lost for 100 s and found elsewhere, and false detections of low scores."""
    track = SimilarityTracker(COCO, num_instances=2)
    assert track(create_poses((0, 0)), 0.0).ids.tolist() == [1]
    assert track(create_poses((0, 0), (600, 0)), 0.1).ids.tolist() == [1, 2]
    assert track(create_poses((0, 0)), 50.0).ids.tolist() == [1]
    assert track(create_poses((1500, 900), (5, 0)), 100.0).ids.tolist() == [2, 1]
    crowd = create_poses((300, 0), (1500, 900), (5, 0))
    crowd.instance_scores[:] = [0.2, 0.9, 0.8]
    kept = track(crowd, 100.1)
    assert (kept.ids.tolist(), kept.instance_scores.tolist()) == ([2, 1], [0.9, 0.8])
    assert sorted(track(create_poses((3000, 0), (6000, 0)), 100.2).ids.tolist()) == [1, 2]


def test_lost_ones_of_a_known_number_return_to_the_nearest_instances():
    track = SimilarityTracker(COCO, num_instances=2)
    assert track(create_poses((0, 0), (1000, 0)), 0.0).ids.tolist() == [1, 2]
    assert track(create_poses((1400, 0), (-400, 0)), 0.1).ids.tolist() == [2, 1]


def test_the_first_of_a_known_number_may_come_later_than_a_lost_one_returns():
    track = SimilarityTracker(COCO, num_instances=3)
    track(create_poses((0, 0)), 0.0)
    assert track(create_poses((900, 0)), 0.1).ids.tolist() == [2]
    assert track(create_poses((0, 0), (900, 0), (1800, 0)), 0.2).ids.tolist() == [1, 2, 3]


@pytest.mark.parametrize('settings', [
    dict(max_age=-1), dict(max_age=float('nan')), dict(min_frames=-1), dict(min_similarity=1.5), dict(num_instances=0),
])  # fmt: skip
def test_settings_out_of_their_range_are_refused_by_name(settings):
    with pytest.raises(ConfigError, match=f'the tracker has {next(iter(settings))}='):
        SimilarityTracker(COCO, **settings)
