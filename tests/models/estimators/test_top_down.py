from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.geometry import about, rotation, scaling, translation
from poseplug.models.estimators.top_down import TopDown
from poseplug.models.estimators.views import moved
from poseplug.models.heads.base import Head
from poseplug.poses import Poses
from poseplug.sample import Batch, Record
from poseplug.skeletons.lsp import LSP

SIZE = 64
NOBODY = np.zeros((0, 14, 2))


def model(**settings) -> TopDown:
    """A CPM of two stages with random weights."""
    torch.manual_seed(0)
    return TopDown(
        'lsp',
        codec=dict(type='CPMHeatmap', input_size=(SIZE, SIZE), refine='quarter'),
        backbone=dict(type='CPMTrunk', channels=(6, 6, 6), kernels=(3, 3, 3), init_std=None),
        head=dict(
            type='CPMHead', stages=2, first=((3, 8),), image=((3, 4),), context=((3, 8),), center_sigma=9, init_std=None
        ),
        **settings,
    ).eval()


def batch(images: torch.Tensor, matrices: list[np.ndarray] | None = None, center: float = 25.0) -> Batch:
    """Pictures (B, V, H, W, 3) with a matrix for every view, one for all pictures."""
    count, views = images.shape[:2]
    each = torch.from_numpy(np.stack(matrices or [np.eye(3)] * views))
    return Batch(
        images=images,
        keypoints=torch.zeros(count, 1, 14, 2),
        visible=torch.zeros(count, 1, 14),
        people=torch.ones(count, 1, dtype=torch.bool),
        centers=torch.tensor([[center, 30.0]]).repeat(count, 1),
        matrices=each.repeat(count, 1, 1, 1),
        sizes=[(SIZE, SIZE)] * count,
        records=[Record(Path(f'{n}.jpg'), str(n), NOBODY, NOBODY[..., 0]) for n in range(count)],
        draws=[],
    )


def pictures(count: int = 2, views: int = 1) -> torch.Tensor:
    chance = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, views, SIZE, SIZE, 3), generator=chance, dtype=torch.uint8)


class Spots(Head):
    """The picture's own brightness, as if it were the belief in every joint; the background is dark."""

    def __init__(self, in_channels, strides, fields, stride):
        super().__init__()
        self.stride = stride

    def forward(self, features):
        light = features[-1].mean(1, keepdim=True)
        return [{'heatmap': torch.cat([light] * 14 + [0 * light], dim=1)}]


class Blocks(nn.Module):
    """A backbone that averages blocks of 8x8 px."""

    out_channels, strides = (3,), (8,)

    def forward(self, images):
        return (nn.functional.avg_pool2d(images, 8),)


def test_a_spot_is_found_where_it_is_in_the_picture_through_any_matrix():
    net = TopDown(
        'lsp', codec=dict(type='CPMHeatmap', input_size=(SIZE, SIZE)), backbone=Blocks(), head=dict(type=Spots)
    ).eval()
    images = torch.zeros(2, 1, SIZE, SIZE, 3, dtype=torch.uint8)
    images[0, 0, 16:24, 40:48], images[1, 0, 0:8, 8:16] = 255, 255  # cells (5, 2) and (1, 0): pixels 8g + 3.5
    matrix = translation(-7, 3) @ about(rotation(30) @ scaling(2.5), (10, 20))
    found = net.predict(batch(images, [matrix]))[-1]
    for poses, (x, y) in zip(found, [(43.5, 19.5), (11.5, 3.5)], strict=True):
        back = np.linalg.inv(matrix) @ [x, y, 1]
        np.testing.assert_allclose(poses.keypoints[0], np.tile(back[:2], (14, 1)), atol=1e-4)
        assert len(poses) == 1


def test_predictions_come_back_through_the_inverse_of_the_matrix():
    net, images = model(), pictures()
    matrix = about(rotation(-50) @ scaling(0.4), (100, 60))
    plain, moved_ = net.predict(batch(images))[-1], net.predict(batch(images, [matrix]))[-1]
    for here, there in zip(plain, moved_, strict=True):
        np.testing.assert_allclose(here.moved(np.linalg.inv(matrix)).keypoints, there.keypoints, atol=1e-4)
        np.testing.assert_array_equal(here.scores, there.scores)


def test_with_flip_test_a_mirrored_picture_gives_the_mirrored_joints():
    net, images = model(flip_test=True), pictures()
    here = net.predict(batch(images, center=25.0))[-1]
    there = net.predict(batch(images.flip(3), center=SIZE - 1 - 25.0))[-1]
    for one, other in zip(here, there, strict=True):
        mirrored = other.keypoints[:, LSP.mirror] * [-1, 1] + [SIZE - 1, 0]
        np.testing.assert_allclose(one.keypoints, mirrored, atol=1e-3)
        np.testing.assert_allclose(one.scores, other.scores[:, LSP.mirror], atol=1e-5)


def test_without_flip_test_a_network_of_random_weights_keeps_no_such_law():
    net, images = model(), pictures()
    one = net.predict(batch(images, center=25.0))[-1][0]
    other = net.predict(batch(images.flip(3), center=SIZE - 1 - 25.0))[-1][0]
    assert np.abs(one.keypoints - (other.keypoints[:, LSP.mirror] * [-1, 1] + [SIZE - 1, 0])).max() > 8


def test_flip_test_averages_the_fields_with_the_mirrored_ones():
    plain, both, b = model(), model(flip_test=True), batch(pictures())
    own = plain.fields(b)[0][-1]['heatmap']
    mirrored = plain.fields(batch(pictures().flip(3), center=SIZE - 1 - 25.0))[0][-1]
    wanted = (own + plain.codec.flip(mirrored)['heatmap']) / 2
    assert_close(both.fields(b)[0][-1]['heatmap'], wanted)


def test_every_stage_is_predicted_when_asked_and_the_last_one_otherwise():
    net, b = model(), batch(pictures())
    every, last = net.predict(b, every_stage=True), net.predict(b)
    assert (len(every), len(last)) == (2, 1)
    np.testing.assert_array_equal(every[-1][1].keypoints, last[0][1].keypoints)
    assert np.abs(every[0][0].keypoints - every[1][0].keypoints).max() > 0
    np.testing.assert_array_equal(net.val_step(b)[0].keypoints, last[0][0].keypoints)


def test_predictions_are_arrays_of_one_person_a_picture():
    (found,) = model().predict(batch(pictures(3)))
    assert [len(p) for p in found] == [1, 1, 1]
    assert all(isinstance(p, Poses) and isinstance(p.keypoints, np.ndarray) for p in found)


def test_the_centre_is_moved_into_every_view():
    first, second = about(scaling(0.7), (20, 20)), about(rotation(10) @ scaling(1.2), (30, 10))
    b = replace(batch(pictures(1, 2), [first, second]), centers=torch.tensor([[12.0, 18.0]]))
    move = torch.from_numpy(second @ np.linalg.inv(first))[None]
    by_hand = (second @ np.linalg.inv(first) @ [12, 18, 1])[:2]
    np.testing.assert_allclose(moved(b.centers, move)[0], by_hand, rtol=1e-6)


def test_a_prediction_keeps_no_gradients():
    net = model()
    assert not net.fields(batch(pictures()))[0][0]['heatmap'].requires_grad


@pytest.mark.parametrize('method', ['predict', 'train_step'])
def test_the_users_call_reaches_the_first_layer_in_three_frames_of_ours(method):
    import sys
    from pathlib import Path

    from mmengine.optim import OptimWrapper

    import poseplug

    net, house, frames = model(), Path(poseplug.__file__).parent, []

    def look(*_):
        frame = sys._getframe(1)
        while frame is not None:
            if Path(frame.f_code.co_filename).is_relative_to(house):
                frames.append(frame.f_code.co_name)
            frame = frame.f_back

    net.backbone.trunks[0][0][0].register_forward_pre_hook(look)
    optim = OptimWrapper(torch.optim.SGD(net.parameters(), lr=0.0))
    net.predict(batch(pictures())) if method == 'predict' else net.train_step(batch(pictures()), optim)
    assert frames == ['forward', 'forward', method]


@pytest.mark.parametrize('views', [1, 2])
def test_a_person_carries_the_subjects_box_and_number(views):
    data = batch(pictures(2, views))
    known = dict(boxes=np.array([[1, 2, 30, 40], [5, 5, 9, 9.0]]), numbers=np.array([7, 8]))
    data = replace(data, records=[replace(data.records[0], **known), data.records[1]])
    for stage in model().predict(data, every_stage=True):
        assert (stage[0].boxes.tolist(), stage[0].ids.tolist()) == ([[1, 2, 30, 40]], [7])
        assert (stage[1].boxes, stage[1].ids) == (None, None)
