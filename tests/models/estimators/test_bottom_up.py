"""All instances of an image: from annotated keypoints to fields of any size and view, and back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from poseplug.codecs.base import Targets
from poseplug.codecs.paf import PAF
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.geometry import flip_matrix, transform_points
from poseplug.core.poses import Poses
from poseplug.core.sample import Sample, SampleKey
from poseplug.data.collate import collate
from poseplug.grouping.image_instances import poses_to_image
from poseplug.models.estimators.bottom_up import BottomUp
from poseplug.models.estimators.criterion import mask_target_weights
from poseplug.models.heads.heatmap import HeatmapHead
from poseplug.registry import TRANSFORMS
from poseplug.skeletons.lsp import LSP
from poseplug.testing import create_annotated_record

IMAGE_SIZE = (300, 200)
STANDING_POSE = np.array(
    [(-8, 60), (-8, 35), (-7, 10), (7, 10), (8, 35), (8, 60), (-20, 5), (-18, -12), (-12, -30), (12, -30), (18, -12),
     (20, 5), (0, -34), (0, -55)], np.float32
)  # fmt: skip


class Blocks(nn.Module):
    """A backbone that averages blocks of 8x8 px."""

    out_channels, strides = (3,), (8,)

    def forward(self, images):
        return (nn.functional.avg_pool2d(images, 8),)


def build_estimator(instances: np.ndarray | None = None, **settings) -> BottomUp:
    """An estimator; with `instances` (N, 14, 2; image px) its network predicts exactly their fields."""
    torch.manual_seed(0)
    codec = settings.pop('codec', dict(type='PAF', input_size=(192, 128)))
    head = settings.pop('head', dict(type='HeatmapHead'))
    net = BottomUp('lsp', codec=codec, backbone=Blocks(), head=head, **settings).eval()
    if instances is not None:
        net.network.forward = OracleNetwork(net, instances)
    return net


class OracleNetwork:
    """Draws the fields of known instances at the size of the images; a dark first column marks a flipped image."""

    def __init__(self, net: BottomUp, instances: np.ndarray):
        self.net, self.instances, self.image_to_input, self.sizes = net, instances, {}, []

    def __call__(self, images, centers, source_indices=None):
        size = (images.shape[2], images.shape[1])
        self.sizes.append(size)
        points, order = transform_points(self.image_to_input[size], self.instances.astype(float)), slice(None)
        if images[0, 0, 0, 0] == 0:
            points, order = transform_points(flip_matrix(size[0]), points), LSP.flip_indices
        keypoints = torch.from_numpy(points[:, order]).float()[None]
        return [self.net.postprocess.get_codec(size).encode(keypoints, torch.ones(keypoints.shape[:3])).stage_fields(0)]


def create_batch(instances, pipeline, size=(192, 128), count=1):
    """A batch of `count` times the same image of the instances, with a dark last column."""
    image = np.full((*IMAGE_SIZE[::-1], 3), 255, np.uint8)
    record = create_annotated_record(Path('p.jpg'), 'p', instances, np.full(instances.shape[:2], 2, np.uint8), 'test')
    samples = []
    for n in range(count):
        rng = np.random.Generator(np.random.Philox(n))
        sample = Sample(record, LSP, image, rng, SampleKey(0, n), instances, record.instances.visible)
        for spec in (*pipeline, dict(type='Warp')):
            sample = TRANSFORMS.build(spec, input_size=size)(sample)
        sample.inputs[:, :, -1] = 0
        for v, (width, _) in enumerate(sample.view_sizes):
            sample.inputs[v, :, 0] = 255
            sample.inputs[v, :, width - 1] = 0
        samples.append(sample)
    return collate(samples)


def create_instances(count: int = 3) -> np.ndarray:
    """`count` instances side by side in the image, each of another height."""
    poses = [STANDING_POSE * (1 + 0.15 * n) + (60 + 85 * n, 90 + 5 * n) for n in range(count)]
    return np.array(poses, np.float32).reshape(-1, 14, 2)


def predict_last_stage(net: BottomUp, batch) -> list[Poses]:
    """The instances of the last stage; the network gets the matrices of the batch's views."""
    net.network.forward.image_to_input = dict(zip(batch.view_sizes, batch.image_to_input[0].numpy(), strict=True))
    return net.predict(batch)


def max_matched_distance(poses: Poses, instances: np.ndarray) -> float:
    """The largest keypoint distance of predicted instances to the annotated ones, each of which is matched once."""
    distances = np.linalg.norm(poses.keypoints[:, None] - instances[None], axis=-1).max(axis=-1)
    assert sorted(distances.argmin(axis=1)) == list(range(len(instances)))
    return float(distances.min(axis=1).max())


FIT_IMAGE = dict(type='FitImage', size_divisor=8)


@pytest.mark.parametrize(
    'pipeline',
    [
        [FIT_IMAGE],
        [dict(type='FitImage', side='longer')],
        [dict(type='LetterboxImage', fill_fraction=1.0, side='longer')],
        [FIT_IMAGE, dict(type='MultiScaleImage', scales=(1.0, 1.5, 2.0), size_divisor=8)],
        [FIT_IMAGE, dict(type='MultiScaleImage', scales=(2.0, 1.0, 1.5))],
    ],
)
@pytest.mark.parametrize('flip', [False, True])
def test_all_instances_are_predicted_at_their_image_positions(pipeline, flip):
    instances = create_instances()
    net = build_estimator(instances, flip_test=flip)
    batch = create_batch(instances, pipeline)
    (poses,) = predict_last_stage(net, batch)
    assert max_matched_distance(poses, instances) < 2.5
    assert len(net.network.forward.sizes) == batch.images.shape[1] * (1 + flip)
    assert (np.diff(poses.instance_scores) <= 0).all()


@pytest.mark.parametrize('scales', [(1.0,), (1.0, 1.5, 2.0)])
@pytest.mark.parametrize('flip', [False, True])
def test_instances_grouped_by_tags_are_predicted_at_their_image_positions(scales, flip):
    """Tags of several views are those of the first; those of its flipped image are further channels."""
    instances = create_instances()
    heatmap_codec = dict(type='Heatmap', offset=3.5, refine='taylor')
    net = build_estimator(
        instances, flip_test=flip, codec=dict(type='Tags', input_size=(192, 128), stride=8, heatmap_codec=heatmap_codec)
    )
    (poses,) = predict_last_stage(
        net, create_batch(instances, [FIT_IMAGE, dict(type='MultiScaleImage', scales=scales, size_divisor=8)])
    )
    assert len(poses) == 3
    assert max_matched_distance(poses, instances) < 2.5
    assert len(net.network.forward.sizes) == len(scales) * (1 + flip)


def test_boxes_bound_the_predicted_keypoints():
    instances = create_instances(1)
    net = build_estimator(instances)
    (poses,) = predict_last_stage(net, create_batch(instances, [FIT_IMAGE]))
    points = poses.keypoints[0]
    np.testing.assert_allclose(poses.boxes, [[*points.min(axis=0), *points.max(axis=0)]], atol=1e-4)
    half_visible = Poses(np.array([[(1, 2), (9, 9)]]), np.array([[0.5, 0]]), np.ones(1), visibility=np.array([[2, 0]]))
    assert poses_to_image(half_visible, np.diag([2.0, 2, 1])).boxes.tolist() == [[2, 4, 2, 4]]


def test_images_without_instances_give_empty_predictions():
    net = build_estimator(np.zeros((0, 14, 2), np.float32))
    batch = create_batch(create_instances(), [FIT_IMAGE], count=2)
    assert [len(p) for p in predict_last_stage(net, batch)] == [0, 0]
    assert net.predict(batch)[0].boxes.shape == (0, 4)


def test_all_stages_are_decoded_on_request():
    assert len(build_estimator().predict_stages(create_batch(create_instances(), [FIT_IMAGE]))) == 1


def test_padding_to_a_larger_batch_does_not_change_the_predictions():
    """Padding lies at the right and below, and changes no matrix."""
    instances = create_instances(2)
    net = build_estimator(instances)
    small = create_batch(instances, [FIT_IMAGE])
    alone = predict_last_stage(net, small)[0]
    large = create_batch(instances, [FIT_IMAGE])
    padded = nn.functional.pad(large.images, (0, 0, 0, 64, 0, 32), value=128)
    padded_batch = type(large)(**{**vars(large), 'images': padded, 'view_sizes': [(256, 160)]})
    poses = predict_last_stage(net, padded_batch)[0]
    np.testing.assert_allclose(poses.keypoints, alone.keypoints, atol=1e-3)


def test_a_codec_of_one_instance_is_refused():
    with pytest.raises(MismatchError, match=r'CPMHeatmap reads one instance.*codec\.type to one of .*PAF'):
        build_estimator(codec=dict(type='CPMHeatmap', input_size=(64, 64)))
    with pytest.raises(MismatchError, match=r'PAF with single_instance=True.*single_instance=False'):
        build_estimator(codec=dict(type='PAF', input_size=(64, 64), single_instance=True))


class OneRowMoreHead(HeatmapHead):
    """A head that predicts one row too many."""

    def forward(self, features):
        (stage,) = super().forward(features)
        return [{name: nn.functional.pad(maps, (0, 0, 0, 1)) for name, maps in stage.items()}]


def test_fields_of_another_size_than_the_images_are_refused_by_name():
    net = build_estimator(head=dict(type=OneRowMoreHead))
    with pytest.raises(MismatchError, match=r"OneRowMoreHead predicts .*'paf': \(26, 17, 24\).*multiples"):
        net.predict(create_batch(create_instances(), [FIT_IMAGE]))


# --- the loss -------------------------------------------------------------------------------------------------------


def create_targets(maps: torch.Tensor, **weights: torch.Tensor) -> Targets:
    return Targets(({'heatmap': maps},), weights)


def test_the_weight_of_a_cell_is_the_square_of_its_unmasked_fraction():
    mask = torch.ones(1, 16, 24, dtype=torch.uint8)
    mask[0, :8, :4] = 0  # half of one cell
    mask[0, 8:, 16:] = 0  # all of another
    weights = mask_target_weights(create_targets(torch.rand(1, 3, 2, 3)), mask).stage_field_weights(0)['heatmap']
    assert weights.shape == (1, 3, 2, 3)
    torch.testing.assert_close(weights[0, 1], torch.tensor([[0.25, 1, 1], [1, 1, 0]]))


def test_masks_multiply_the_codecs_weights_of_channels_or_cells():
    mask = torch.ones(1, 16, 24, dtype=torch.uint8)
    mask[0, :8, :8] = 0
    channels = torch.tensor([[1.0, 0, 2]])
    weights = mask_target_weights(create_targets(torch.rand(1, 3, 2, 3), heatmap=channels), mask).stage_field_weights(
        0
    )['heatmap']
    torch.testing.assert_close(weights[0].amax(dim=(1, 2)), channels[0])
    assert weights[0, :, 0, 0].abs().sum() == 0
    expanded = channels[..., None, None].expand(1, 3, 2, 3)
    torch.testing.assert_close(
        mask_target_weights(create_targets(torch.rand(1, 3, 2, 3), heatmap=expanded), mask).stage_field_weights(0)[
            'heatmap'
        ],
        weights,
    )


def test_every_stage_has_its_own_grid_and_fields_without_a_grid_keep_their_weights():
    two_stages = Targets(
        ({'heatmap': torch.rand(1, 2, 2, 2)}, {'heatmap': torch.rand(1, 2, 4, 4), 'tag': torch.rand(1, 5)})
    )
    mask = torch.ones(1, 16, 16, dtype=torch.uint8)
    mask[0, :4, :4] = 0
    weights = mask_target_weights(two_stages, mask)
    assert weights.stage_field_weights(0)['heatmap'][0, 0, 0, 0] == 0.75**2
    assert weights.stage_field_weights(1)['heatmap'][0, 0, 0, 0] == 0
    assert 'tag' not in weights.stage_field_weights(1)
    unmasked = mask_target_weights(two_stages, torch.ones(1, 16, 16, dtype=torch.uint8))
    assert all((unmasked.stage_field_weights(stage)['heatmap'] == 1).all() for stage in (0, 1))


def test_binary_weights_count_a_cell_of_which_more_than_half_is_unmasked():
    targets = Targets(({'heatmap': torch.rand(1, 2, 2, 2)},))
    mask = torch.ones(1, 16, 16, dtype=torch.uint8)
    mask[0, :4, :8] = 0  # half of the first cell
    mask[0, 8:, 8:11] = 0  # 3 of 8 columns of the last one
    weights = mask_target_weights(targets, mask, 'binary').stage_field_weights(0)['heatmap'][0, 0]
    assert weights.tolist() == [[0, 1], [1, 1]]
    squares = mask_target_weights(targets, mask).stage_field_weights(0)['heatmap'][0, 0]
    assert squares.tolist() == [[0.25, 1], [1, 0.625**2]]
    assert build_estimator(mask_weights='binary').criterion.mask_weights == 'binary'
    with pytest.raises(ConfigError, match="mask_weights is 'square' or 'binary'; got 'cells'"):
        build_estimator(mask_weights='cells')


def test_masked_cells_have_no_loss():
    instances = create_instances()
    net = build_estimator(loss=dict(type='SumSquaredError')).train()
    batch = create_batch(instances, [FIT_IMAGE, dict(type='MaskIgnoredRegions')])
    assert batch.masks.min() == 1
    unmasked_loss = net.losses(batch)['loss_1']
    batch.masks[:] = 0
    assert net.losses(batch)['loss_1'] == 0
    batch.masks[:, :, :96] = 1
    assert 0 < net.losses(batch)['loss_1'] < unmasked_loss


def test_keypoints_that_a_data_set_does_not_annotate_have_no_loss():
    net = build_estimator(loss=dict(type='SumSquaredError'))
    batch = create_batch(create_instances(), [FIT_IMAGE])
    zero_fields = [{'paf': torch.zeros(1, 26, 16, 24), 'heatmap': torch.zeros(1, 15, 16, 24)}]
    unmasked_loss = net.criterion(zero_fields, batch)['loss_1']
    assert batch.annotated_keypoints.all()
    batch.annotated_keypoints[:] = False
    background = net.criterion(zero_fields, batch)['loss_1']
    assert 0 < background < unmasked_loss


def test_targets_have_the_size_of_the_images_and_no_instances_are_a_loss_too():
    net = build_estimator()
    for pipeline, size in (([FIT_IMAGE], (192, 128)), ([dict(type='FitImage', side='shorter')], (192, 128))):
        batch = create_batch(create_instances(), pipeline, size)
        assert torch.isfinite(net.losses(batch)['loss_1'])
    large = create_batch(create_instances(), [FIT_IMAGE], (192, 256))
    assert large.images.shape[2:4] == (256, 384)
    assert torch.isfinite(net.losses(large)['loss_1'])
    empty = create_batch(np.zeros((0, 14, 2), np.float32), [FIT_IMAGE])
    assert empty.keypoints.shape == (1, 0, 14, 2)
    assert torch.isfinite(net.losses(empty)['loss_1'])


def test_the_codec_of_the_configs_input_size_is_the_built_one():
    net = build_estimator()
    assert net.postprocess.get_codec((192, 128)) is net.codec
    assert net.postprocess.get_codec((64, 64)) is net.postprocess.get_codec((64, 64))
    assert net.postprocess.get_codec((64, 64)).input_size == (64, 64)
    assert isinstance(net.codec, PAF)


def test_a_codec_that_cannot_be_told_the_annotated_keypoints_is_refused(monkeypatch):
    monkeypatch.setattr(PAF, 'encode', lambda self, keypoints, visible, valid=None: None)
    with pytest.raises(MismatchError, match='PAF.encode has no argument annotated_keypoints'):
        build_estimator()
