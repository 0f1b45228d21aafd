"""Everybody in a picture: from joints in it, through fields of any size and any view, back to them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from poseplug.codecs.base import Targets
from poseplug.codecs.paf import PAF
from poseplug.errors import MismatchError
from poseplug.geometry import apply, mirroring
from poseplug.models.estimators.bottom_up import BottomUp, in_picture, masked
from poseplug.models.heads.heatmap import HeatmapHead
from poseplug.poses import Poses
from poseplug.registry import TRANSFORMS
from poseplug.sample import Draw, Record, Sample, collate
from poseplug.skeletons.lsp import LSP

PICTURE = (300, 200)
STANDING = np.array(
    [(-8, 60), (-8, 35), (-7, 10), (7, 10), (8, 35), (8, 60), (-20, 5), (-18, -12), (-12, -30), (12, -30), (18, -12),
     (20, 5), (0, -34), (0, -55)], np.float32
)  # fmt: skip


class Blocks(nn.Module):
    """A backbone that averages blocks of 8x8 px."""

    out_channels, strides = (3,), (8,)

    def forward(self, images):
        return (nn.functional.avg_pool2d(images, 8),)


def model(people: np.ndarray | None = None, **settings) -> BottomUp:
    """An estimator; with `people` (N, 14, 2; image px) its network sees exactly them."""
    torch.manual_seed(0)
    codec = settings.pop('codec', dict(type='PAF', input_size=(192, 128)))
    head = settings.pop('head', dict(type='HeatmapHead'))
    net = BottomUp('lsp', codec=codec, backbone=Blocks(), head=head, **settings).eval()
    if people is not None:
        net.forward = Oracle(net, people)
    return net


class Oracle:
    """Draws the fields of known people, for the size of the pictures; a dark first column says it is mirrored."""

    def __init__(self, net: BottomUp, people: np.ndarray):
        self.net, self.people, self.placed, self.sizes = net, people, {}, []

    def __call__(self, images, centers, domains=None):
        size = (images.shape[2], images.shape[1])
        self.sizes.append(size)
        points, order = apply(self.placed[size], self.people.astype(float)), slice(None)
        if images[0, 0, 0, 0] == 0:
            points, order = apply(mirroring(size[0]), points), LSP.mirror
        joints = torch.from_numpy(points[:, order]).float()[None]
        return [self.net.codec_of(size).encode(joints, torch.ones(joints.shape[:3])).at(0)]


def placed(people, pipeline, size=(192, 128), count=1):
    """A batch of `count` times the same picture of people, whose last column is dark."""
    image = np.full((*PICTURE[::-1], 3), 255, np.uint8)
    record = Record(Path('p.jpg'), 'p', people, np.full(people.shape[:2], 2, np.uint8), 'given')
    samples = []
    for n in range(count):
        rng = np.random.Generator(np.random.Philox(n))
        sample = Sample(record, LSP, image, rng, Draw(0, n), people, record.visible)
        for spec in (*pipeline, dict(type='Warp')):
            sample = TRANSFORMS.build(spec, input_size=size)(sample)
        sample.inputs[:, :, -1] = 0
        for v, (width, _) in enumerate(sample.extents):
            sample.inputs[v, :, 0] = 255
            sample.inputs[v, :, width - 1] = 0
        samples.append(sample)
    return collate(samples)


def crowd(count: int = 3) -> np.ndarray:
    """So many people side by side in the picture, each of another height."""
    steps = [STANDING * (1 + 0.15 * n) + (60 + 85 * n, 90 + 5 * n) for n in range(count)]
    return np.array(steps, np.float32).reshape(-1, 14, 2)


def predicted(net: BottomUp, batch) -> list[Poses]:
    """The people of the last stage; the network is told where the batch's views lie."""
    sizes = batch.extents or [(batch.images.shape[3], batch.images.shape[2])] * batch.images.shape[1]
    net.forward.placed = dict(zip(sizes, batch.matrices[0].numpy(), strict=True))
    return net.predict(batch)[-1]


def off(poses: Poses, people: np.ndarray) -> float:
    """The largest distance between a true joint and the nearest person's, everybody being found once."""
    far = np.linalg.norm(poses.keypoints[:, None] - people[None], axis=-1).max(axis=-1)
    assert sorted(far.argmin(axis=1)) == list(range(len(people)))
    return float(far.min(axis=1).max())


WHOLE = dict(type='PlaceWhole', multiple=8)


@pytest.mark.parametrize(
    'pipeline',
    [
        [WHOLE],
        [dict(type='PlaceWhole', side='longer')],
        [dict(type='PlacePicture', fill=1.0, side='longer')],
        [WHOLE, dict(type='WholeScales', scales=(1.0, 1.5, 2.0), multiple=8)],
        [WHOLE, dict(type='WholeScales', scales=(2.0, 1.0, 1.5))],
    ],
)
@pytest.mark.parametrize('flip', [False, True])
def test_everybody_is_found_where_they_are_in_the_picture(pipeline, flip):
    people = crowd()
    net = model(people, flip_test=flip)
    batch = placed(people, pipeline)
    (poses,) = predicted(net, batch)
    assert off(poses, people) < 2.5
    assert len(net.forward.sizes) == batch.images.shape[1] * (1 + flip)
    assert (np.diff(poses.person_scores) <= 0).all()


@pytest.mark.parametrize('scales', [(1.0,), (1.0, 1.5, 2.0)])
@pytest.mark.parametrize('flip', [False, True])
def test_people_told_apart_by_tags_are_found_where_they_are_in_the_picture(scales, flip):
    """Tags of several views are those of the first, and those of its mirror are more of them."""
    people = crowd()
    peaks = dict(type='Heatmap', offset=3.5, refine='taylor')
    net = model(people, flip_test=flip, codec=dict(type='Tags', input_size=(192, 128), stride=8, peaks=peaks))
    (poses,) = predicted(net, placed(people, [WHOLE, dict(type='WholeScales', scales=scales, multiple=8)]))
    assert len(poses) == 3
    assert off(poses, people) < 2.5
    assert len(net.forward.sizes) == len(scales) * (1 + flip)


def test_boxes_are_those_of_the_joints_that_were_found():
    people = crowd(1)
    net = model(people)
    (poses,) = predicted(net, placed(people, [WHOLE]))
    points = poses.keypoints[0]
    np.testing.assert_allclose(poses.boxes, [[*points.min(axis=0), *points.max(axis=0)]], atol=1e-4)
    half = Poses(np.array([[(1, 2), (9, 9)]]), np.array([[0.5, 0]]), np.ones(1), visibility=np.array([[2, 0]]))
    assert in_picture(half, np.diag([2.0, 2, 1])).boxes.tolist() == [[2, 4, 2, 4]]


def test_nobody_in_a_picture_is_nobody_and_others_in_the_batch_are_not_moved():
    net = model(np.zeros((0, 14, 2), np.float32))
    batch = placed(crowd(), [WHOLE], count=2)
    assert [len(p) for p in predicted(net, batch)] == [0, 0]
    assert net.predict(batch)[-1][0].boxes.shape == (0, 4)


def test_every_stage_is_decoded_where_asked():
    assert len(model().predict(placed(crowd(), [WHOLE]), every_stage=True)) == 1


def test_a_network_without_shift_gives_the_same_of_a_picture_and_of_it_in_a_larger_batch():
    """What fills a smaller input up lies at the right and below, and changes no matrix."""
    people = crowd(2)
    net = model(people)
    small = placed(people, [WHOLE])
    alone = predicted(net, small)[0]
    large = placed(people, [WHOLE])
    grown = nn.functional.pad(large.images, (0, 0, 0, 64, 0, 32), value=128)
    together = type(large)(**{**vars(large), 'images': grown, 'extents': [(256, 160)]})
    found = predicted(net, together)[0]
    np.testing.assert_allclose(found.keypoints, alone.keypoints, atol=1e-3)


def test_a_codec_of_one_person_is_refused():
    with pytest.raises(MismatchError, match=r'CPMHeatmap reads one person.*codec\.type to one of .*PAF'):
        model(codec=dict(type='CPMHeatmap', input_size=(64, 64)))
    with pytest.raises(MismatchError, match=r'PAF with subject=True.*subject=False'):
        model(codec=dict(type='PAF', input_size=(64, 64), subject=True))


class Longer(HeatmapHead):
    """A head that predicts a row too many."""

    def forward(self, features):
        (stage,) = super().forward(features)
        return [{name: nn.functional.pad(maps, (0, 0, 0, 1)) for name, maps in stage.items()}]


def test_fields_of_another_size_than_the_pictures_are_refused_by_name():
    net = model(head=dict(type=Longer))
    with pytest.raises(MismatchError, match=r"Longer predicts .*'paf': \(26, 17, 24\).*multiples"):
        net.predict(placed(crowd(), [WHOLE]))


# --- the loss -------------------------------------------------------------------------------------------------------


def targets(maps: torch.Tensor, **weights: torch.Tensor) -> Targets:
    return Targets(({'heatmap': maps},), weights)


def test_a_cell_weighs_the_square_of_the_share_of_it_that_counts():
    mask = torch.ones(1, 16, 24, dtype=torch.uint8)
    mask[0, :8, :4] = 0  # half of a cell
    mask[0, 8:, 16:] = 0  # the whole of another
    found = masked(targets(torch.rand(1, 3, 2, 3)), mask).weights_at(0)['heatmap']
    assert found.shape == (1, 3, 2, 3)
    torch.testing.assert_close(found[0, 1], torch.tensor([[0.25, 1, 1], [1, 1, 0]]))


def test_masks_multiply_the_weights_that_a_codec_gives_by_channel_or_cell():
    mask = torch.ones(1, 16, 24, dtype=torch.uint8)
    mask[0, :8, :8] = 0
    channels = torch.tensor([[1.0, 0, 2]])
    found = masked(targets(torch.rand(1, 3, 2, 3), heatmap=channels), mask).weights_at(0)['heatmap']
    torch.testing.assert_close(found[0].amax(dim=(1, 2)), channels[0])
    assert found[0, :, 0, 0].abs().sum() == 0
    whole = channels[..., None, None].expand(1, 3, 2, 3)
    torch.testing.assert_close(
        masked(targets(torch.rand(1, 3, 2, 3), heatmap=whole), mask).weights_at(0)['heatmap'], found
    )


def test_every_stage_has_its_own_grid_and_what_is_no_map_keeps_its_weights():
    two = Targets(({'heatmap': torch.rand(1, 2, 2, 2)}, {'heatmap': torch.rand(1, 2, 4, 4), 'tag': torch.rand(1, 5)}))
    mask = torch.ones(1, 16, 16, dtype=torch.uint8)
    mask[0, :4, :4] = 0
    found = masked(two, mask)
    assert found.weights_at(0)['heatmap'][0, 0, 0, 0] == 0.75**2
    assert found.weights_at(1)['heatmap'][0, 0, 0, 0] == 0
    assert 'tag' not in found.weights_at(1)
    assert masked(two, None) is two


def test_what_does_not_count_gives_no_gradient():
    people = crowd()
    net = model(loss=dict(type='SumSquaredError')).train()
    batch = placed(people, [WHOLE, dict(type='MaskUnlabelled')])
    assert batch.masks.min() == 1
    counted = net.losses(batch)['loss_1']
    batch.masks[:] = 0
    assert net.losses(batch)['loss_1'] == 0
    batch.masks[:, :, :96] = 1
    assert 0 < net.losses(batch)['loss_1'] < counted


def test_joints_that_a_data_set_does_not_annotate_do_not_count():
    net = model(loss=dict(type='SumSquaredError'))
    batch = placed(crowd(), [WHOLE])
    nothing = [{'paf': torch.zeros(1, 26, 16, 24), 'heatmap': torch.zeros(1, 15, 16, 24)}]
    counted = net.losses(batch, nothing)['loss_1']
    batch.defined = torch.ones(1, 14, dtype=torch.bool)
    assert net.losses(batch, nothing)['loss_1'] == counted
    batch.defined[:] = False
    background = net.losses(batch, nothing)['loss_1']
    assert 0 < background < counted


def test_targets_are_drawn_for_the_size_of_the_pictures_and_nobody_is_a_loss_too():
    net = model()
    for pipeline, size in (([WHOLE], (192, 128)), ([dict(type='PlaceWhole', side='shorter')], (192, 128))):
        batch = placed(crowd(), pipeline, size)
        assert torch.isfinite(net.losses(batch)['loss_1'])
    large = placed(crowd(), [WHOLE], (192, 256))
    assert large.images.shape[2:4] == (256, 384)
    assert torch.isfinite(net.losses(large)['loss_1'])
    empty = placed(np.zeros((0, 14, 2), np.float32), [WHOLE])
    assert empty.keypoints.shape == (1, 0, 14, 2)
    assert torch.isfinite(net.losses(empty)['loss_1'])


def test_the_codec_of_the_configs_size_is_the_one_that_was_built():
    net = model()
    assert net.codec_of((192, 128)) is net.codec
    assert net.codec_of((64, 64)) is net.codec_of((64, 64))
    assert net.codec_of((64, 64)).input_size == (64, 64)
    assert isinstance(net.codec, PAF)
