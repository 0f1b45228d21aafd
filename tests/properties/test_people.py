"""Laws of skeletons, poses and their files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseplug.datasets.samplers import EpochBatches
from poseplug.poses import Poses, read_csv, write_csv
from poseplug.skeleton import get_skeleton
from tests.properties.laws import LAW, rng, seeds

NAMES = ('lsp', 'mpii', 'coco', 'crowdpose', 'aic', 'flic', 'body25', 'coco18')


def somebody(seed, count, joints):
    dice = rng(seed)
    keypoints = (dice.random((count, joints, 2)) * 300).round(3).astype(np.float32)
    return Poses(
        keypoints, dice.random((count, joints)).round(4).astype(np.float32), dice.random(count).astype(np.float32)
    )


@pytest.mark.parametrize('name', NAMES)
@LAW
@given(seeds)
def test_people_mirrored_twice_are_themselves(name, seed):
    skeleton = get_skeleton(name)
    keypoints = rng(seed).random((2, len(skeleton), 2))
    assert np.array_equal(keypoints[:, skeleton.mirror][:, skeleton.mirror], keypoints)


@pytest.mark.parametrize('name', NAMES)
@LAW
@given(seeds)
def test_people_of_a_skeleton_mapped_to_itself_are_themselves(name, seed):
    skeleton = get_skeleton(name)
    keypoints = rng(seed).random((2, len(skeleton), 2)).astype(np.float32)
    visible = rng(seed).integers(0, 3, keypoints.shape[:2]).astype(np.uint8)
    points, seen = skeleton.of(skeleton, keypoints, visible)
    assert np.array_equal(points, keypoints)
    assert np.array_equal(seen, visible)


@pytest.mark.parametrize('other', ['coco', 'mpii', 'crowdpose'])
@LAW
@given(seeds)
def test_joints_go_to_another_skeleton_and_back_by_name(other, seed):
    own, wanted = get_skeleton('aic'), get_skeleton(other)
    keypoints = rng(seed).random((1, len(own), 2)).astype(np.float32) + 1
    visible = np.full((1, len(own)), 2, np.uint8)
    points, seen = own.of(wanted, *wanted.of(own, keypoints, visible))
    shared = np.isin(own.joints, wanted.joints)
    assert np.array_equal(points[:, shared], keypoints[:, shared])
    assert (seen[:, shared] == 2).all()


@LAW
@given(seeds, st.integers(0, 4))
def test_people_come_back_from_cocos_records(seed, count):
    poses = somebody(seed, count, 17)
    again = Poses.from_coco(poses.to_coco(1))
    assert len(again) == count
    if count:
        assert np.allclose(again.keypoints, poses.keypoints, atol=1e-3)
        assert np.allclose(again.scores, poses.scores, atol=1e-4)
        assert np.allclose(again.person_scores, poses.person_scores)


@LAW
@given(seeds, st.integers(1, 4))
def test_people_come_back_from_a_table(tmp_path_factory, seed, count):
    skeleton = get_skeleton('lsp')
    file = tmp_path_factory.mktemp('csv') / 'poses.csv'
    poses = somebody(seed, count, len(skeleton))
    write_csv(file, poses.rows('a.jpg', skeleton))
    (again,) = read_csv(file, skeleton).values()
    assert np.allclose(again.keypoints, poses.keypoints, atol=2e-3)
    assert np.allclose(again.scores, poses.scores, atol=1e-4)


@LAW
@given(seeds, st.integers(0, 6))
def test_a_batch_splits_into_its_pictures_and_loses_nobody(seed, count):
    poses = somebody(seed, count, 5)
    images = rng(seed).integers(0, 3, count)
    parts = Poses(poses.keypoints, poses.scores, poses.person_scores, images=images).split(3)
    assert [len(p) for p in parts] == [int((images == i).sum()) for i in range(3)]


@LAW
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 99), st.integers(0, 30))
def test_a_resumed_order_goes_on_where_it_was(length, size, seed, start):
    whole = iter(EpochBatches(length, size, seed))
    for _ in range(start):
        next(whole)
    resumed = iter(EpochBatches(length, size, seed, start=start))
    assert [next(resumed) for _ in range(3)] == [next(whole) for _ in range(3)]


@LAW
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 99))
def test_every_sample_comes_once_an_epoch(length, size, seed):
    batches = iter(EpochBatches(length, size, seed))
    draws = [draw for _ in range(-(-3 * length // size)) for draw in next(batches)]
    for epoch in (0, 1):
        assert sorted(d.sample for d in draws if d.epoch == epoch) == [*range(length)]
