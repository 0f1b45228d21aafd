"""Heads that predict a person at every cell."""

import pytest
import torch
from torch.testing import assert_close

from poseplug.models.heads.one_stage import boxes_of, grid_points
from poseplug.registry import MODELS
from poseplug.testing import NetworkContract, random_maps

SETTINGS = {'RTMOHead': dict(width=16), 'YOLOXPoseHead': dict(width=8)}
HEADS = [n for n in MODELS.names() if 'people' in getattr(MODELS.get(n), 'predicts', ())]


class TestEveryHead(NetworkContract):
    """Every registered head of this kind, on levels of strides 16 and 32 of a picture of 96 x 64 px."""

    @pytest.fixture(autouse=True, params=HEADS)
    def name(self, request):
        self.name = request.param

    def make(self):
        spec = dict(type=self.name, **SETTINGS.get(self.name, {}))
        wired = dict(in_channels=(16, 16), strides=(16, 32), shapes={'keypoints': (3, 2)}, input_size=(96, 64))
        return MODELS.build(spec, **wired)

    def given(self, batch=2):
        return [random_maps(batch, 16, (6, 4)), random_maps(batch, 16, (3, 2))]

    def run(self, part, given):
        (fields,) = part(given)
        people = {n: f.flatten(0, 1) for n, f in fields.items() if n not in ('points', 'strides')}
        people['points'] = fields['points'].repeat(len(given[0]), 1)
        joints = part.joints(people).unflatten(0, (len(given[0]), -1))
        spread = (
            [part.distributions(people).spread.unflatten(0, (len(given[0]), -1))]
            if hasattr(part, 'distributions')
            else []
        )
        return [f for n, f in fields.items() if n not in ('points', 'strides')] + [joints, *spread]

    def test_every_cell_has_a_score_a_box_joints_and_how_visible_they_are(self):
        (fields,) = self.build().train()(self.given())
        shapes = {n: tuple(f.shape) for n, f in fields.items()}
        assert shapes.pop('vector', None) in (None, (2, 30, 16))
        assert shapes == dict(
            score=(2, 30), raw=(2, 30, 4), box=(2, 30, 4), proxy=(2, 30, 3, 2), visible=(2, 30, 3),
            points=(30, 2), strides=(30,),
        )  # fmt: skip

    def test_it_starts_by_thinking_one_cell_in_a_hundred_a_person(self):
        (fields,) = self.build().eval()([torch.zeros_like(f) for f in self.given()])
        assert_close(fields['score'].sigmoid(), torch.full((2, 30), 0.01), atol=2e-3, rtol=0)


def test_cells_stand_at_the_middle_of_their_pixels():
    points, strides = grid_points([(1, 2), (1, 1)], (4, 8), torch.zeros(1))
    assert points.tolist() == [[1.5, 1.5], [5.5, 1.5], [3.5, 3.5]]
    assert strides.tolist() == [4, 4, 8]


def test_a_mirrored_picture_has_the_mirrored_grid():
    points, _ = grid_points([(4, 6), (2, 3)], (16, 32), torch.zeros(1))
    mirrored = points * torch.tensor([-1, 1]) + torch.tensor([95, 0])
    assert {tuple(p) for p in mirrored.tolist()} == {tuple(p) for p in points.tolist()}


def test_a_box_of_zeros_is_one_stride_wide_about_its_cell():
    points, strides = torch.tensor([[7.5, 7.5]]), torch.tensor([16.0])
    assert boxes_of(torch.zeros(1, 1, 4), points, strides).tolist() == [[[-0.5, -0.5, 15.5, 15.5]]]
    moved = boxes_of(torch.tensor([[[1.0, -0.5, 0.0, 2**0.5]]]), points, strides)
    half = 8 * 2.718281828459045 ** (2**0.5)
    assert_close(moved, torch.tensor([[[15.5, -0.5 - half, 31.5, -0.5 + half]]]))
