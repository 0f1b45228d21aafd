from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.errors import ConfigError
from poseplug.models.estimators.multi_top_down import MultiTopDown
from poseplug.models.estimators.top_down import TopDown
from poseplug.sample import Batch, Record
from poseplug.skeleton import get_skeleton

BOTH = get_skeleton('lsp+coco')
CODEC = dict(type='Heatmap', input_size=(32, 32), stride=8, sigma=8.0)
TRUNK = dict(type='CPMTrunk', trunks=1, channels=(4, 5, 6), kernels=(3, 3, 3), init_std=None)
DECODERS = dict(
    lsp=dict(skeleton='lsp', sources=('lsp', 'lspet')),
    coco=dict(skeleton='coco', sources=('coco',), head=dict(type='HeatmapHead', hidden=((3, 4),), norm=None)),
)


def model(**settings) -> MultiTopDown:
    torch.manual_seed(0)
    return MultiTopDown(
        **{
            'skeleton': BOTH,
            'backbone': TRUNK,
            'decoders': DECODERS,
            'codec': CODEC,
            'head': dict(type='HeatmapHead'),
            **settings,
        }
    )


def batch(*sources: str) -> Batch:
    """Random pictures of 32 px with one person of all joints each."""
    chance, count = torch.Generator().manual_seed(1), len(sources)
    joints = np.zeros((1, len(BOTH), 2), np.float32)
    return Batch(
        images=torch.randint(0, 256, (count, 1, 32, 32, 3), generator=chance, dtype=torch.uint8),
        keypoints=32 * torch.rand(count, 1, len(BOTH), 2, generator=chance),
        visible=torch.full((count, 1, len(BOTH)), 2),
        people=torch.ones(count, 1, dtype=torch.bool),
        centers=torch.full((count, 2), 15.5),
        matrices=torch.eye(3, dtype=torch.float64).repeat(count, 1, 1, 1),
        sizes=[(32, 32)] * count,
        records=[Record(Path(f'{i}.jpg'), str(i), joints, joints[..., 0], source=s) for i, s in enumerate(sources)],
        draws=[],
    )


def alone(name: str, net: MultiTopDown) -> TopDown:
    """An estimator of one decoder alone, with the same weights."""
    decoder = net.decoders[name]
    return TopDown(decoder.skeleton, decoder.codec, net.backbone, decoder.head).eval()


def test_each_decoder_learns_its_pictures_as_if_it_were_alone_by_its_share():
    net, mixed = model(), batch('lsp', 'coco', 'lspet')
    losses = net.losses(mixed)
    for name, rows in (('lsp', [0, 2]), ('coco', [1])):
        decoder = net.decoders[name]
        own = [BOTH.index(j) for j in decoder.skeleton.joints]
        stages = alone(name, net)(mixed.images[rows, 0], mixed.centers[rows])
        wanted = decoder.stage_losses(
            stages, mixed.keypoints[rows][:, :, own], mixed.visible[rows][:, :, own], mixed.people[rows]
        )
        assert_close(losses[f'{name}.loss_1'], wanted['loss_1'] * len(rows) / 3)
    assert set(losses) == {'lsp.loss_1', 'coco.loss_1'}


def test_a_decoder_without_pictures_learns_nothing():
    net = model()
    torch.stack(list(net.losses(batch('coco', 'coco')).values())).sum().backward()
    assert all(p.grad is None for p in net.decoders['lsp'].parameters())
    assert all(p.grad is not None for p in (*net.backbone.parameters(), *net.decoders['coco'].parameters()))


def test_the_decoder_in_use_predicts_its_joints_and_leaves_the_others_unsure():
    net, pictures = model(use='coco').eval(), batch('lsp', 'lsp')
    (found,) = net.predict(pictures)
    (wanted,) = alone('coco', net).predict(pictures)
    places = BOTH.mapping(net.decoders['coco'].skeleton)
    for poses, truth in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(poses.keypoints[:, places >= 0], truth.keypoints[:, places[places >= 0]])
        assert not poses.scores[:, places < 0].any()


def test_one_set_of_weights_serves_every_decoder():
    one, other = model(), model(use='coco')
    other.load_state_dict(one.state_dict())
    names = list(one.state_dict())
    assert len(names) == len(set(names))
    assert sum(n.startswith('backbone.') for n in names) == len(alone('lsp', one).backbone.state_dict())


@pytest.mark.parametrize(
    ('settings', 'told'),
    [
        (dict(use='cocoo'), "model.use='cocoo' is no decoder; closest: 'coco'"),
        (dict(skeleton='lsp'), "'coco' predicts 'nose', which the skeleton 'lsp' of the data lacks.*union"),
        (dict(head=None), 'model.decoders.lsp has no head; give it one, or model.head'),
        (dict(decoders=dict(lsp=dict(skeleton='lsp', source=('lsp',)))), "has no setting 'source'; closest: 'sources'"),
        (dict(decoders={}), 'need one input_size; got no decoder'),
    ],
)
def test_a_setting_that_cannot_be_is_told(settings, told):
    with pytest.raises(ConfigError, match=told):
        model(**settings)


def test_a_picture_of_no_decoder_is_told():
    with pytest.raises(ConfigError, match=r"'sources' of model.decoders names lsp, lspet, coco, and not.*'mpii'"):
        model().losses(batch('lsp', 'mpii'))


class Experts(torch.nn.Module):
    """A backbone that adds a number of its own for every data set, and keeps what it was told."""

    experts, out_channels, strides = ('coco', 'lsp'), (3,), (8,)

    def forward(self, images, domains):
        self.told = domains.tolist()
        return (torch.nn.functional.avg_pool2d(images, 8) + domains[:, None, None, None],)


def test_a_backbone_with_experts_is_told_each_pictures_decoder():
    net = model(backbone=Experts())
    net.losses(batch('lsp', 'coco', 'lspet'))
    assert net.backbone.told == [1, 0, 1]
    net.eval().predict(batch('coco', 'coco'))
    assert net.backbone.told == [1, 1]
