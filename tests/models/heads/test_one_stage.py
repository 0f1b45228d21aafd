"""Heads that predict an instance at every cell."""

import pytest
import torch
from torch.testing import assert_close

from poseplug.models.heads.one_stage import build_grid_points, decode_boxes
from poseplug.registry import MODELS
from poseplug.testing import NetworkContract, create_random_maps

SETTINGS = {'RTMOHead': dict(pose_channels=16), 'YOLOXPoseHead': dict(feat_channels=8)}
HEADS = [n for n in MODELS.list_names() if 'instances' in getattr(MODELS.get(n), 'field_kinds', ())]


class TestEveryHead(NetworkContract):
    """Every registered head of this kind, on levels of strides 16 and 32 of an image of 96 x 64 px."""

    @pytest.fixture(autouse=True, params=HEADS)
    def set_name(self, request):
        self.name = request.param

    def build_part(self):
        spec = dict(type=self.name, **SETTINGS.get(self.name, {}))
        provided = dict(in_channels=(16, 16), strides=(16, 32), shapes={'keypoints': (3, 2)}, input_size=(96, 64))
        return MODELS.build(spec, **provided)

    def random_input(self, batch_size=2):
        return [create_random_maps(batch_size, 16, (6, 4)), create_random_maps(batch_size, 16, (3, 2))]

    def run(self, part, inputs):
        (fields,) = part(inputs)
        batch_shape = (len(inputs[0]), -1)
        outputs = {n: f for n, f in fields.items() if n not in ('points', 'strides')}
        instances = {n: f.flatten(0, 1) for n, f in outputs.items()}
        instances['points'] = fields['points'].repeat(len(inputs[0]), 1)
        decoded = [part.decode_keypoints(instances).unflatten(0, batch_shape)]
        if hasattr(part, 'predict_distributions'):
            decoded.append(part.predict_distributions(instances).relative_sigmas.unflatten(0, batch_shape))
        return [*outputs.values(), *decoded]

    def test_every_cell_has_a_score_a_box_keypoints_and_their_visibility(self):
        (fields,) = self.build_seeded().train()(self.random_input())
        shapes = {n: tuple(f.shape) for n, f in fields.items()}
        assert shapes.pop('vector', None) in (None, (2, 30, 16))
        assert shapes == dict(
            score=(2, 30), raw=(2, 30, 4), box=(2, 30, 4), proxy=(2, 30, 3, 2), visible=(2, 30, 3),
            points=(30, 2), strides=(30,),
        )  # fmt: skip

    def test_scores_start_at_one_in_a_hundred(self):
        (fields,) = self.build_seeded().eval()([torch.zeros_like(f) for f in self.random_input()])
        assert_close(fields['score'].sigmoid(), torch.full((2, 30), 0.01), atol=2e-3, rtol=0)


def test_cells_stand_at_the_middle_of_their_pixels():
    points, strides = build_grid_points([(1, 2), (1, 1)], (4, 8), torch.zeros(1))
    assert points.tolist() == [[1.5, 1.5], [5.5, 1.5], [3.5, 3.5]]
    assert strides.tolist() == [4, 4, 8]


def test_a_flipped_image_has_the_flipped_grid():
    points, _ = build_grid_points([(4, 6), (2, 3)], (16, 32), torch.zeros(1))
    flipped = points * torch.tensor([-1, 1]) + torch.tensor([95, 0])
    assert {tuple(p) for p in flipped.tolist()} == {tuple(p) for p in points.tolist()}


def test_a_box_of_zeros_is_one_stride_wide_about_its_cell():
    points, strides = torch.tensor([[7.5, 7.5]]), torch.tensor([16.0])
    assert decode_boxes(torch.zeros(1, 1, 4), points, strides).tolist() == [[[-0.5, -0.5, 15.5, 15.5]]]
    shifted = decode_boxes(torch.tensor([[[1.0, -0.5, 0.0, 2**0.5]]]), points, strides)
    half = 8 * 2.718281828459045 ** (2**0.5)
    assert_close(shifted, torch.tensor([[[15.5, -0.5 - half, 31.5, -0.5 + half]]]))
