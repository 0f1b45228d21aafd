"""Batches of another size: every position moves with the pixels."""

from pathlib import Path

import numpy as np
import torch
from torch.testing import assert_close

from poseplug.core.batch import Batch
from poseplug.core.geometry import scaling_matrix
from poseplug.models.estimators.random_resize import resize_batch, resize_batch_randomly
from poseplug.testing import create_annotated_record


def create_batch() -> Batch:
    """An image of 96 x 64 px whose blue is 2x and whose green is 3y, with a matrix that enlarges by 2."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(96), indexing='ij')
    image = torch.stack([2 * x, 3 * y, torch.zeros_like(x)], dim=-1).to(torch.uint8)
    no_keypoints = np.zeros((0, 2, 2))
    masks = torch.ones(1, 64, 96, dtype=torch.uint8)
    masks[:, :, :48] = 0
    return Batch.from_instances(
        images=image[None, None],
        keypoints=torch.tensor([[[[20.0, 30.0], [80.0, 10.0]]]]),
        visible=torch.full((1, 1, 2), 2, dtype=torch.uint8),
        centers=torch.tensor([[50.0, 30.0]]),
        image_to_input=torch.from_numpy(scaling_matrix(2.0))[None, None],
        image_sizes=[(48, 32)],
        records=[create_annotated_record(Path('a.jpg'), 'a', no_keypoints, no_keypoints[..., 0])],
        boxes=torch.tensor([[[20.0, 10, 80, 30]]]),
        areas=torch.tensor([[600.0]]),
        masks=masks,
    )


def test_the_pixel_at_a_keypoint_keeps_its_color():
    resized = resize_batch(create_batch(), 0.5, 16)
    assert resized.images.shape == (1, 1, 32, 48, 3)
    for x, y in resized.keypoints[0, 0].round().long().tolist():
        blue, green, _ = resized.images[0, 0, y, x].tolist()
        expected = (torch.tensor([x, y]) + 0.5) / 0.5 - 0.5
        assert abs(blue - 2 * expected[0]) <= 1
        assert abs(green - 3 * expected[1]) <= 1


def test_positions_keep_their_image_coordinates():
    original, resized = create_batch(), resize_batch(create_batch(), 1.5, 16)
    for b in (original, resized):
        input_to_image = torch.linalg.inv(b.image_to_input[0, 0]).float()
        for points in (b.keypoints[0, 0], b.centers, b.boxes[0].view(2, 2)):
            image_points = points @ input_to_image[:2, :2].T + input_to_image[:2, 2]
            b.keys.append(image_points)
    for before, after in zip(original.keys, resized.keys, strict=True):
        assert_close(before, after)


def test_areas_and_masks_are_resized():
    resized = resize_batch(create_batch(), 0.5, 16)
    assert resized.areas.item() == 150
    assert resized.masks.shape == (1, 32, 48)
    assert not resized.masks[:, :, :24].any()
    assert resized.masks[:, :, 24:].all()


def test_the_same_size_is_the_same_batch():
    original = create_batch()
    assert resize_batch(original, 1.0, 32) is original


def test_sides_are_multiples_of_the_divisor():
    assert resize_batch(create_batch(), 0.7, 32).images.shape[2:4] == (32, 64)


def test_sizes_follow_from_the_seed_and_all_of_them_occur():
    torch.manual_seed(0)
    sides = [resize_batch_randomly(create_batch(), (64, 128, 32)).images.shape[3] for _ in range(30)]
    torch.manual_seed(0)
    assert [resize_batch_randomly(create_batch(), (64, 128, 32)).images.shape[3] for _ in range(30)] == sides
    assert set(sides) == {64, 96, 128}
