"""Perceptual hashes, groups of near-duplicates, and the split of images."""

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.stated_split import read_stated_split
from poseplug.starter.near_duplicates import MAX_HASH_DISTANCE, group_near_duplicates, hash_image, hash_image_file
from poseplug.starter.splits import MAX_VAL_IMAGES, split_images


def draw_blobs(seed):
    """A smooth random image (96, 128, 3)."""
    noise = np.random.default_rng(seed).uniform(0, 255, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(noise, (128, 96), interpolation=cv2.INTER_CUBIC)


def save_as_jpeg(image):
    return cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)


@pytest.mark.parametrize('change', [
    save_as_jpeg,
    lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    lambda image: cv2.convertScaleAbs(image, alpha=0.9, beta=10),
])  # fmt: skip
def test_the_same_image_in_another_file_has_almost_the_same_hash(change):
    for seed in range(20):
        image = draw_blobs(seed)
        assert (hash_image(image) ^ hash_image(change(image))).bit_count() <= MAX_HASH_DISTANCE


def test_different_images_have_hashes_that_differ_in_about_half_the_bits():
    hashes = [hash_image(draw_blobs(seed)) for seed in range(40)]
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > MAX_HASH_DISTANCE
    assert np.mean(distances) == pytest.approx(32, abs=2)


def test_a_large_file_is_decoded_at_an_eighth_of_its_size_with_almost_the_same_hash(tmp_path):
    image = cv2.resize(draw_blobs(1), (2048, 1536), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / 'a.jpg'), image)
    assert (hash_image_file(tmp_path / 'a.jpg') ^ hash_image(image)).bit_count() <= 2


def test_groups_are_connected_over_images_between_them():
    chain = [0b0, 0b11, 0b1111, 0b111111 << 40]
    assert group_near_duplicates(chain, max_distance=2).tolist() == [0, 0, 0, 1]
    assert group_near_duplicates(chain, max_distance=1).tolist() == [0, 1, 2, 3]
    assert group_near_duplicates([]).tolist() == []


def test_groups_do_not_depend_on_the_blocks_that_are_compared():
    rng = np.random.default_rng(0)
    hashes = [int(v) for v in rng.integers(0, 2**63, 1200)]
    hashes[1100] = hashes[3] ^ 0b101
    groups = group_near_duplicates(hashes)
    assert groups[1100] == groups[3] == 3
    assert len(set(groups.tolist())) == 1199


def test_a_split_is_seeded_and_keeps_groups_together():
    names, groups = [f'{i:03}' for i in range(100)], np.arange(100) // 2
    split = split_images(names, groups, 0.2, seed=3)
    assert split.count_images('val') == 20
    assert split.names == split_images(names, groups, 0.2, seed=3).names
    assert split.names != split_images(names, groups, 0.2, seed=4).names
    assert all(split.names[i] == split.names[i + 1] for i in range(0, 100, 2))
    assert split.notes[0] == 'split: 80 images for training, 20 for validation, at random (seed 3)'
    assert split.notes[1].startswith('near-duplicates: 100 images in 50 groups, each in one part')


def test_the_frames_of_one_video_are_cut_in_the_order_of_their_names():
    names = [f'{i:02}' for i in range(9, -1, -1)]
    split = split_images(names, np.zeros(10, dtype=int), 0.3)
    assert sorted(name for name, part in zip(names, split.names, strict=True) if part == 'val') == ['07', '08', '09']
    assert 'WARNING: 10 of 10 images are near-duplicates of each other, as frames of one video' in split.notes[-1]


@pytest.mark.parametrize(
    ('count', 'fraction', 'expected'), [(2, 0.2, 1), (3, 0.9, 2), (10, 0.05, 1), (20_000, 0.2, MAX_VAL_IMAGES)]
)
def test_both_parts_have_images_and_validation_has_a_limit(count, fraction, expected):
    names = [str(i) for i in range(count)]
    assert split_images(names, np.arange(count), fraction).count_images('val') == expected


@pytest.mark.parametrize(('count', 'fraction'), [(1, 0.2), (0, 0.2), (5, 0.0), (5, 1.0)])
def test_too_few_images_or_an_impossible_fraction_is_an_error(count, fraction):
    with pytest.raises(AnnotationError, match='at least two images and a fraction between 0 and 1 are needed'):
        split_images([str(i) for i in range(count)], np.arange(count), fraction)


@pytest.mark.parametrize(('stated', 'expected'), [
    (['train', 'val'], ['train', 'val']),
    (['person_keypoints_train2017', 'person_keypoints_val2017'], ['train', 'val']),
    (['train', 'valid', 'test'], ['train', 'val', 'test']),
    (['train', 'test'], ['train', 'val']),
    (['Train', 'val', 'extra'], ['train', 'val', 'train']),
])  # fmt: skip
def test_a_split_of_the_files_is_kept(stated, expected):
    assert read_stated_split([dict(split=name) for name in stated]).names == expected


@pytest.mark.parametrize('stated', [['', ''], ['train', 'train'], ['all'], ['val', 'test']])
def test_files_without_a_part_for_training_and_one_to_measure_have_no_split(stated):
    assert read_stated_split([dict(split=name) for name in stated]) is None
