from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.models.estimators.multi_top_down import MultiTopDown
from poseplug.models.estimators.top_down import TopDown
from poseplug.registry.skeletons import get_skeleton
from poseplug.testing import create_annotated_record

MERGED_SKELETON = get_skeleton('lsp+coco')
CODEC = dict(type='Heatmap', input_size=(32, 32), stride=8, sigma_px=8.0)
TRUNK = dict(type='CPMTrunk', num_trunks=1, channels=(4, 5, 6), kernel_sizes=(3, 3, 3), init_std=None)
DECODERS = dict(
    lsp=dict(skeleton='lsp', sources=('lsp', 'lspet')),
    coco=dict(skeleton='coco', sources=('coco',), head=dict(type='HeatmapHead', conv_layers=((3, 4),), norm_cfg=None)),
)


def build_estimator(**settings) -> MultiTopDown:
    torch.manual_seed(0)
    return MultiTopDown(
        **{
            'skeleton': MERGED_SKELETON,
            'backbone': TRUNK,
            'decoders': DECODERS,
            'codec': CODEC,
            'head': dict(type='HeatmapHead'),
            **settings,
        }
    )


def create_batch(*sources: str) -> Batch:
    """Random images of 32 px with one instance of all keypoints each."""
    generator, count = torch.Generator().manual_seed(1), len(sources)
    keypoints = np.zeros((1, len(MERGED_SKELETON), 2), np.float32)
    return Batch.from_instances(
        images=torch.randint(0, 256, (count, 1, 32, 32, 3), generator=generator, dtype=torch.uint8),
        keypoints=32 * torch.rand(count, 1, len(MERGED_SKELETON), 2, generator=generator),
        visible=torch.full((count, 1, len(MERGED_SKELETON)), 2),
        records=[
            create_annotated_record(Path(f'{i}.jpg'), str(i), keypoints, keypoints[..., 0], source=s)
            for i, s in enumerate(sources)
        ],
    )


def build_single_estimator(name: str, net: MultiTopDown) -> TopDown:
    """An estimator of one decoder alone, with the same weights."""
    decoder = net.network.decoders[name]
    return TopDown(decoder.codec.skeleton, decoder.codec, net.network.backbone, decoder.head).eval()


def test_each_decoder_has_the_loss_of_its_images_alone_by_its_fraction_of_the_batch():
    net, mixed_batch = build_estimator(), create_batch('lsp', 'coco', 'lspet')
    losses = net.losses(mixed_batch)
    for name, rows in (('lsp', [0, 2]), ('coco', [1])):
        codec = net.network.decoders[name].codec
        indices = [MERGED_SKELETON.index(j) for j in codec.skeleton.keypoints]
        stages = build_single_estimator(name, net).network(mixed_batch.images[rows, 0], mixed_batch.centers[rows])
        keypoints, visible = mixed_batch.keypoints[rows][:, :, indices], mixed_batch.visible[rows][:, :, indices]
        targets = codec.encode(keypoints, visible, mixed_batch.valid[rows])
        expected = net.criterion.decoders[name].compute_target_losses(stages, targets)
        assert_close(losses[f'{name}.loss_1'], expected['loss_1'] * len(rows) / 3)
    assert set(losses) == {'lsp.loss_1', 'coco.loss_1'}


def test_a_decoder_without_images_has_no_gradient():
    net = build_estimator()
    torch.stack(list(net.losses(create_batch('coco', 'coco')).values())).sum().backward()
    assert all(p.grad is None for p in net.network.decoders['lsp'].parameters())
    assert all(
        p.grad is not None for p in (*net.network.backbone.parameters(), *net.network.decoders['coco'].parameters())
    )


def test_the_active_decoder_predicts_its_keypoints_and_the_others_have_score_0():
    net, batch = build_estimator(active_decoder='coco').eval(), create_batch('lsp', 'lsp')
    predicted = net.predict(batch)
    expected = build_single_estimator('coco', net).predict(batch)
    indices = MERGED_SKELETON.indices_in(net.network.decoders['coco'].codec.skeleton)
    for poses, expected_poses in zip(predicted, expected, strict=True):
        np.testing.assert_array_equal(
            poses.keypoints[:, indices >= 0], expected_poses.keypoints[:, indices[indices >= 0]]
        )
        assert not poses.keypoint_scores[:, indices < 0].any()


def test_one_set_of_weights_serves_every_decoder():
    one, other = build_estimator(), build_estimator(active_decoder='coco')
    other.load_state_dict(one.state_dict())
    names = list(one.state_dict())
    assert len(names) == len(set(names))
    assert sum(n.startswith('backbone.') for n in names) == len(
        build_single_estimator('lsp', one).network.backbone.state_dict()
    )


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(active_decoder='cocoo'), "model.active_decoder='cocoo' is no decoder; closest: 'coco'"),
        (dict(skeleton='lsp'), "'coco' predicts 'nose', which the skeleton 'lsp' of the data lacks.*union"),
        (dict(head=None), 'model.decoders.lsp has no head; give it one, or model.head'),
        (dict(decoders=dict(lsp=dict(skeleton='lsp', source=('lsp',)))), "has no setting 'source'; closest: 'sources'"),
        (dict(decoders={}), 'need one input_size and crop_rule; got no decoder'),
    ],
)
def test_a_wrong_setting_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_estimator(**settings)


def test_an_image_without_a_decoder_is_an_error():
    with pytest.raises(ConfigError, match=r"'sources' of model.decoders names lsp, lspet, coco, and not.*'mpii'"):
        build_estimator().losses(create_batch('lsp', 'mpii'))


class ExpertBackbone(torch.nn.Module):
    """A backbone that adds another number for every data set, and keeps the indices that it received."""

    experts, out_channels, strides = ('coco', 'lsp'), (3,), (8,)

    def forward(self, images, source_indices):
        self.received_indices = source_indices.tolist()
        return (torch.nn.functional.avg_pool2d(images, 8) + source_indices[:, None, None, None],)


def test_a_backbone_with_experts_receives_each_images_decoder():
    net = build_estimator(backbone=ExpertBackbone())
    net.losses(create_batch('lsp', 'coco', 'lspet'))
    assert net.network.backbone.received_indices == [1, 0, 1]
    net.eval().predict(create_batch('coco', 'coco'))
    assert net.network.backbone.received_indices == [1, 1]
