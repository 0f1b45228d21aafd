"""Laws of skeletons, poses, their files and the order of samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseplug.core.poses import Poses, read_poses_csv, write_poses_csv
from poseplug.data.samplers import EpochBatchSampler
from poseplug.registry.skeletons import get_skeleton
from tests.properties.laws import LAW, rng, seeds

NAMES = ('lsp', 'mpii', 'coco', 'crowdpose', 'aic', 'flic', 'body25', 'coco18')


def random_poses(seed, count, num_keypoints):
    generator = rng(seed)
    keypoints = (generator.random((count, num_keypoints, 2)) * 300).round(3).astype(np.float32)
    return Poses(
        keypoints,
        generator.random((count, num_keypoints)).round(4).astype(np.float32),
        generator.random(count).astype(np.float32),
    )


@pytest.mark.parametrize('name', NAMES)
@LAW
@given(seeds)
def test_flipping_keypoints_twice_is_the_identity(name, seed):
    skeleton = get_skeleton(name)
    keypoints = rng(seed).random((2, len(skeleton), 2))
    assert np.array_equal(keypoints[:, skeleton.flip_indices][:, skeleton.flip_indices], keypoints)


@pytest.mark.parametrize('name', NAMES)
@LAW
@given(seeds)
def test_mapping_a_skeleton_to_itself_is_the_identity(name, seed):
    skeleton = get_skeleton(name)
    keypoints = rng(seed).random((2, len(skeleton), 2)).astype(np.float32)
    visible = rng(seed).integers(0, 3, keypoints.shape[:2]).astype(np.uint8)
    mapped, mapped_visible = skeleton.convert_keypoints(skeleton, keypoints, visible)
    assert np.array_equal(mapped, keypoints)
    assert np.array_equal(mapped_visible, visible)


@pytest.mark.parametrize('other', ['coco', 'mpii', 'crowdpose'])
@LAW
@given(seeds)
def test_keypoints_map_to_another_skeleton_and_back_by_name(other, seed):
    source, target = get_skeleton('aic'), get_skeleton(other)
    keypoints = rng(seed).random((1, len(source), 2)).astype(np.float32) + 1
    visible = np.full((1, len(source)), 2, np.uint8)
    mapped, mapped_visible = source.convert_keypoints(target, *target.convert_keypoints(source, keypoints, visible))
    shared = np.isin(source.keypoints, target.keypoints)
    assert np.array_equal(mapped[:, shared], keypoints[:, shared])
    assert (mapped_visible[:, shared] == 2).all()


@LAW
@given(seeds, st.integers(0, 4))
def test_poses_survive_cocos_result_records(seed, count):
    poses = random_poses(seed, count, 17)
    loaded = Poses.from_coco(poses.to_coco(1))
    assert len(loaded) == count
    if count:
        assert np.allclose(loaded.keypoints, poses.keypoints, atol=1e-3)
        assert np.allclose(loaded.keypoint_scores, poses.keypoint_scores, atol=1e-4)
        assert np.allclose(loaded.instance_scores, poses.instance_scores)


@LAW
@given(seeds, st.integers(1, 4))
def test_poses_survive_a_csv_file(tmp_path_factory, seed, count):
    skeleton = get_skeleton('lsp')
    file = tmp_path_factory.mktemp('csv') / 'poses.csv'
    poses = random_poses(seed, count, len(skeleton))
    write_poses_csv(file, poses.to_rows('a.jpg', skeleton))
    (loaded,) = read_poses_csv(file, skeleton).values()
    assert np.allclose(loaded.keypoints, poses.keypoints, atol=2e-3)
    assert np.allclose(loaded.keypoint_scores, poses.keypoint_scores, atol=1e-4)


@LAW
@given(seeds, st.integers(0, 6))
def test_a_batch_splits_into_its_images_without_losing_instances(seed, count):
    poses = random_poses(seed, count, 5)
    image_indices = rng(seed).integers(0, 3, count)
    parts = Poses(
        poses.keypoints, poses.keypoint_scores, poses.instance_scores, image_indices=image_indices
    ).split_by_image(3)
    assert [len(p) for p in parts] == [int((image_indices == i).sum()) for i in range(3)]


@LAW
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 99), st.integers(0, 30))
def test_a_resumed_order_continues_where_it_stopped(length, size, seed, start):
    whole = iter(EpochBatchSampler(length, size, seed))
    for _ in range(start):
        next(whole)
    resumed = iter(EpochBatchSampler(length, size, seed, start_step=start))
    assert [next(resumed) for _ in range(3)] == [next(whole) for _ in range(3)]


@LAW
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 99))
def test_every_sample_occurs_once_per_epoch(length, size, seed):
    batches = iter(EpochBatchSampler(length, size, seed))
    keys = [key for _ in range(-(-3 * length // size)) for key in next(batches)]
    for epoch in (0, 1):
        assert sorted(key.sample_index for key in keys if key.epoch == epoch) == [*range(length)]
