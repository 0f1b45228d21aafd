"""Every head of maps carries part affinity fields beside heatmaps."""

import pytest
import torch

from poseplug.models.estimators.top_down import TopDown
from poseplug.registry import MODELS
from poseplug.sample import Batch
from tests.test_contracts import SETTINGS, ours

SIZE = (64, 96)
HEADS = [name for name in ours(MODELS, 'models.heads') if 'maps' in MODELS.get(name).predicts]


def model(head: str) -> TopDown:
    torch.manual_seed(0)
    settings = {n: v for n, v in SETTINGS[head].items() if n != 'limbs'}
    return TopDown(
        skeleton='coco18',
        codec=dict(type='PAF', input_size=SIZE, subject=True),
        backbone=dict(type='ResNet', depth=18, width=4, out_strides=(8, 16)),
        head=dict(type=head, **settings),
        loss=dict(type='SumSquaredError'),
    )


def batch() -> Batch:
    """Two pictures of noise with three people each."""
    chance = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.randint(0, 256, (2, 1, SIZE[1], SIZE[0], 3), generator=chance, dtype=torch.uint8),
        keypoints=torch.rand(2, 3, 18, 2, generator=chance) * SIZE[0],
        visible=torch.full((2, 3, 18), 2),
        people=torch.ones(2, 3, dtype=torch.bool),
        centers=torch.full((2, 2), 32.0),
        matrices=torch.eye(3, dtype=torch.float64).repeat(2, 1, 1, 1),
        sizes=[SIZE] * 2,
        records=[],
        draws=[],
    )


def test_there_are_the_heads_of_all_families():
    families = {'CPMHead', 'CPNHead', 'DeconvHead', 'HeatmapHead', 'HourglassHead', 'OpenPoseHead', 'PAFStagesHead'}
    assert families <= set(HEADS)


@pytest.mark.parametrize('head', HEADS)
def test_it_learns_limbs_and_joints_and_finds_the_subject_of_every_crop(head):
    net, b = model(head).train(), batch()
    stages = net(b.images[:, 0], b.centers)
    for maps in stages[-1].values():
        maps.retain_grad()
    torch.stack(list(net.losses(b, stages).values())).sum().backward()
    assert {name: tuple(maps.shape[1:]) for name, maps in stages[-1].items()} == {
        'paf': (38, 12, 8),
        'heatmap': (19, 12, 8),
    }
    assert all(maps.grad.abs().sum() > 0 for maps in stages[-1].values())
    found = net.eval().predict(b)[-1]
    assert [poses.keypoints.shape for poses in found] == [(1, 18, 2)] * 2
