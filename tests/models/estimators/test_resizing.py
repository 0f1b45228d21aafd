"""Batches of another size: everything that tells a place moves with the pixels."""

from pathlib import Path

import numpy as np
import torch
from torch.testing import assert_close

from poseplug.geometry import scaling
from poseplug.models.estimators.resizing import brought_to, resized
from poseplug.sample import Batch, Record


def batch() -> Batch:
    """A picture of 96 x 64 px whose blue is 2x and whose green is 3y, behind a matrix that enlarges by 2."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(96), indexing='ij')
    image = torch.stack([2 * x, 3 * y, torch.zeros_like(x)], dim=-1).to(torch.uint8)
    nobody = np.zeros((0, 2, 2))
    masks = torch.ones(1, 64, 96, dtype=torch.uint8)
    masks[:, :, :48] = 0
    return Batch(
        images=image[None, None],
        keypoints=torch.tensor([[[[20.0, 30.0], [80.0, 10.0]]]]),
        visible=torch.full((1, 1, 2), 2, dtype=torch.uint8),
        people=torch.ones(1, 1, dtype=torch.bool),
        centers=torch.tensor([[50.0, 30.0]]),
        matrices=torch.from_numpy(scaling(2.0))[None, None],
        sizes=[(48, 32)],
        records=[Record(Path('a.jpg'), 'a', nobody, nobody[..., 0])],
        draws=[],
        boxes=torch.tensor([[[20.0, 10, 80, 30]]]),
        areas=torch.tensor([[600.0]]),
        masks=masks,
    )


def test_the_pixel_at_a_joint_has_the_same_colour_as_before():
    made = brought_to(batch(), 0.5, 16)
    assert made.images.shape == (1, 1, 32, 48, 3)
    for x, y in made.keypoints[0, 0].round().long().tolist():
        blue, green, _ = made.images[0, 0, y, x].tolist()
        wanted = (torch.tensor([x, y]) + 0.5) / 0.5 - 0.5
        assert abs(blue - 2 * wanted[0]) <= 1
        assert abs(green - 3 * wanted[1]) <= 1


def test_what_came_from_the_picture_goes_back_to_the_same_place():
    one, other = batch(), brought_to(batch(), 1.5, 16)
    for b in (one, other):
        back = torch.linalg.inv(b.matrices[0, 0]).float()
        for points in (b.keypoints[0, 0], b.centers, b.boxes[0].view(2, 2)):
            there = points @ back[:2, :2].T + back[:2, 2]
            b.draws.append(there)
    for before, after in zip(one.draws, other.draws, strict=True):
        assert_close(before, after)


def test_areas_and_masks_follow():
    made = brought_to(batch(), 0.5, 16)
    assert made.areas.item() == 150
    assert made.masks.shape == (1, 32, 48)
    assert not made.masks[:, :, :24].any()
    assert made.masks[:, :, 24:].all()


def test_the_same_size_is_the_same_batch():
    given = batch()
    assert brought_to(given, 1.0, 32) is given


def test_sides_are_multiples_of_the_step():
    assert brought_to(batch(), 0.7, 32).images.shape[2:4] == (32, 64)


def test_sizes_follow_from_the_seed_and_all_of_them_come():
    torch.manual_seed(0)
    sides = [resized(batch(), (64, 128, 32)).images.shape[3] for _ in range(30)]
    torch.manual_seed(0)
    assert [resized(batch(), (64, 128, 32)).images.shape[3] for _ in range(30)] == sides
    assert set(sides) == {64, 96, 128}
