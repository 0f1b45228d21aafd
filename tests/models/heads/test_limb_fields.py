"""Every head of maps carries part affinity fields beside heatmaps."""

import pytest
import torch

from poseplug.core.batch import Batch
from poseplug.models.estimators.top_down import TopDown
from poseplug.registry import MODELS
from tests.test_contracts import SETTINGS, list_builtin_parts

SIZE = (64, 96)
HEADS = [name for name in list_builtin_parts(MODELS, 'models.heads') if 'maps' in MODELS.get(name).field_kinds]


def build_model(head: str) -> TopDown:
    torch.manual_seed(0)
    settings = {n: v for n, v in SETTINGS[head].items() if n != 'limb_field'}
    return TopDown(
        skeleton='coco18',
        codec=dict(type='PAF', input_size=SIZE, single_instance=True),
        backbone=dict(type='ResNet', depth=18, base_channels=4, out_strides=(8, 16)),
        head=dict(type=head, **settings),
        loss=dict(type='SumSquaredError'),
    )


def random_batch() -> Batch:
    """Two images of noise with three people each."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 1, SIZE[1], SIZE[0], 3), generator=generator, dtype=torch.uint8)
    keypoints = torch.rand(2, 3, 18, 2, generator=generator) * SIZE[0]
    visible = torch.full((2, 3, 18), 2)
    return Batch.from_instances(images, keypoints, visible, centers=torch.full((2, 2), 32.0))


def test_there_are_the_heads_of_all_families():
    families = {'CPMHead', 'CPNHead', 'DeconvHead', 'HeatmapHead', 'HourglassHead', 'OpenPoseHead', 'PAFStagesHead'}
    assert families <= set(HEADS)


@pytest.mark.parametrize('head', HEADS)
def test_it_learns_limbs_and_keypoints_and_finds_the_subject_of_every_crop(head):
    net, batch = build_model(head).train(), random_batch()
    stages = net.network(batch.images[:, 0], batch.centers)
    for maps in stages[-1].values():
        maps.retain_grad()
    torch.stack(list(net.criterion(stages, batch).values())).sum().backward()
    assert {name: tuple(maps.shape[1:]) for name, maps in stages[-1].items()} == {
        'paf': (38, 12, 8),
        'heatmap': (19, 12, 8),
    }
    assert all(maps.grad.abs().sum() > 0 for maps in stages[-1].values())
    predicted = net.eval().predict(batch)
    assert [poses.keypoints.shape for poses in predicted] == [(1, 18, 2)] * 2
