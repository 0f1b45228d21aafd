"""Training and prediction of instances at cells: what the losses measure, and what is predicted."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.geometry import scaling_matrix, translation_matrix
from poseplug.core.weight_names import weight_name
from poseplug.models.assigners.base import Assigner, Assignment, GroundTruthInstances
from poseplug.models.estimators.one_stage import OneStage
from poseplug.models.estimators.one_stage_criterion import build_score_mask, encode_raw_boxes, extract_ground_truths
from poseplug.models.heads.one_stage import OneStageHead, build_grid_points, decode_boxes
from poseplug.testing import SMALL_SKELETON, create_annotated_record

SIZE = (64, 48)
RTMO = dict(type='RTMOHead', pose_channels=16, dcc=dict(feat_channels=16, num_bins=(12, 16)))
YOLOX = dict(type='YOLOXPoseHead', feat_channels=16)
NECK = dict(
    type='HybridEncoder', out_channels=16, hidden_dim=16, feedforward_channels=16, widen_factor=0.5, deepen_factor=0.33
)
DARKNET = dict(type='CSPDarknet', widen_factor=0.125, deepen_factor=0.33)


def build_estimator(head=RTMO, **settings) -> OneStage:
    torch.manual_seed(0)
    parts = dict(codec=dict(type='DenseInstances', input_size=SIZE), backbone=DARKNET, neck=NECK, head=head)
    return OneStage(SMALL_SKELETON, **{**parts, **settings})


def create_batch(num_instances: int = 2, **changes) -> Batch:
    """Two images of noise, each with `num_instances` instances in a row."""
    generator = torch.Generator().manual_seed(0)
    left = (20.0 * torch.arange(num_instances) + 4)[:, None, None] * torch.tensor([1.0, 0.0])
    keypoints = (left + torch.tensor([[0.0, 4], [12, 8], [6, 30]])).expand(2, num_instances, 3, 2).clone()
    low, high = keypoints.amin(2) - 2, keypoints.amax(2) + 2
    result = Batch.from_instances(
        images=torch.randint(0, 256, (2, 1, SIZE[1], SIZE[0], 3), generator=generator, dtype=torch.uint8),
        keypoints=keypoints,
        visible=torch.full((2, num_instances, 3), 2, dtype=torch.uint8),
        centers=torch.zeros(2, 2),
        records=[
            create_annotated_record(Path(f'{i}.jpg'), str(i), np.zeros((0, 3, 2)), np.zeros((0, 3))) for i in range(2)
        ],
        boxes=torch.cat([low, high], dim=-1),
        areas=(high - low).prod(-1) / 2,
    )
    return replace(result, **changes)


def compute_gradients(net: OneStage, batch: Batch) -> dict[str, torch.Tensor]:
    net.zero_grad()
    torch.stack(list(net.train().losses(batch).values())).sum().backward()
    return {weight_name(n): p.grad for n, p in net.named_parameters()}


@pytest.mark.parametrize(
    ('head', 'names'), [(RTMO, 'score box visible proxy keypoints'), (YOLOX, 'score box visible proxy')]
)
def test_every_loss_is_finite_and_reaches_the_backbone(head, names):
    net = build_estimator(head)
    losses = net.train().losses(create_batch())
    assert set(losses) == {f'loss_{n}' for n in names.split()}
    assert all(torch.isfinite(v) and v > 0 for v in losses.values())
    assert compute_gradients(net, create_batch())['backbone.stem.conv.conv.weight'].any()


@pytest.mark.parametrize('head', [RTMO, YOLOX])
@pytest.mark.parametrize('num_instances', [0, 1])
def test_images_of_no_and_of_one_instance_train_every_parameter(head, num_instances):
    """Without instances: finite losses, of which only the score's is above 0, and all gradients, which DDP needs."""
    net, batch = build_estimator(head), create_batch(num_instances)
    losses = {n: v.item() for n, v in net.train().losses(batch).items()}
    assert all(np.isfinite(v) for v in losses.values())
    assert losses['loss_score'] > 0
    assert any(v for n, v in losses.items() if n != 'loss_score') == bool(num_instances)
    gradients = compute_gradients(net, batch)
    assert not [n for n, g in gradients.items() if g is None or not torch.isfinite(g).all()]


def test_an_image_with_one_positive_cell_trains_a_batch_norm_over_instances():
    net, batch = build_estimator(), create_batch(1)
    batch.valid[1] = False
    net.criterion.assigner.candidate_topk = 1
    assert all(torch.isfinite(v) for v in net.train().losses(batch).values())


def test_padding_instances_change_no_loss():
    """A second row of instances that are not valid."""
    net, batch = build_estimator(), create_batch(2)
    batch.valid[:, 1] = False
    alone = create_batch(2)
    alone = replace(alone, **{n: getattr(alone, n)[:, :1] for n in ('keypoints', 'visible', 'valid', 'boxes', 'areas')})
    for one, other in zip(net.train().losses(batch).values(), net.losses(alone).values(), strict=True):
        assert_close(one, other)


def test_instances_without_labeled_keypoints_in_the_input_are_dropped():
    batch = create_batch(2)
    batch.keypoints[0, 1] += 500
    batch.visible[1, 0, 1:] = 0
    one, other = extract_ground_truths(batch)
    assert (len(one.keypoints), len(other.keypoints)) == (1, 2)
    assert other.labeled.tolist() == [[True, False, False], [True, True, True]]


def test_boxes_are_clipped_to_the_input():
    batch = create_batch(1)
    batch.boxes[0, 0] = torch.tensor([-20.0, 10, 400, 30])
    assert extract_ground_truths(batch)[0].boxes.tolist() == [[-0.5, 10, 63.5, 30]]


def test_masked_cells_are_not_trained_unless_an_instance_is_assigned():
    points = torch.tensor([[7.5, 7.5], [23.5, 7.5], [60, 90]])
    masks = torch.ones(1, 48, 64, dtype=torch.uint8)
    masks[:, :, :16] = 0
    assert build_score_mask(masks, points, torch.zeros(1, 3)).tolist() == [[0, 1, 1]]
    assert build_score_mask(masks, points, torch.tensor([[0.3, 0, 0]])).tolist() == [[1, 1, 1]]
    assert build_score_mask(torch.ones_like(masks), points, torch.zeros(1, 3)).all()


def test_a_masked_image_has_no_score_loss():
    """All is an ignored crowd: the scores of its cells have no loss."""
    net, batch = build_estimator(), create_batch(0, masks=torch.zeros(2, SIZE[1], SIZE[0], dtype=torch.uint8))
    assert net.train().losses(batch)['loss_score'].item() == 0
    assert not compute_gradients(net, batch)['head.scores.score.0.weight'].any()


class FixedAssigner(Assigner):
    """Assigns the first cells to the instances, in order."""

    def __call__(self, fields, ground_truth: GroundTruthInstances) -> Assignment:
        indices = torch.arange(len(ground_truth.keypoints))
        return Assignment(indices, indices, torch.full((len(indices),), 0.5))


class FixedHead(OneStageHead):
    """Returns the fields that it was built with."""

    def __init__(self, fields):
        super().__init__()
        self.fields, self.strides = fields, (16, 32)

    def forward(self, features):
        return [self.fields]

    def decode_keypoints(self, instances):
        return instances['proxy']


def create_fields(batch: Batch, shift_px: float = 0.0) -> dict[str, torch.Tensor]:
    """Fields with all instances at the first cells, `shift_px` to the right, and none at the others."""
    points, strides = build_grid_points([(3, 4), (2, 2)], (16, 32), torch.zeros(1))
    num_cells, num_instances = len(points), batch.keypoints.shape[1]
    fields = {
        'score': torch.full((2, num_cells), -12.0),
        'raw': torch.zeros(2, num_cells, 4),
        'visible': torch.full((2, num_cells, 3), 12.0),
        'proxy': points[:, None].repeat(2, 1, 3, 1),
    }
    fields['score'][:, :num_instances] = 12.0
    fields['proxy'][:, :num_instances] = batch.keypoints + torch.tensor([shift_px, 0.0])
    for i in range(2):
        rows = {'points': points[:num_instances], 'strides': strides[:num_instances]}
        fields['raw'][i, :num_instances] = encode_raw_boxes(
            batch.boxes[i] + shift_px * torch.tensor([1.0, 0, 1, 0]), rows
        )
    return {**fields, 'box': decode_boxes(fields['raw'], points, strides), 'points': points, 'strides': strides}


def build_fixed_estimator(batch: Batch, shift_px: float = 0.0, **settings) -> OneStage:
    net = build_estimator(YOLOX, assigner=FixedAssigner(), **settings)
    net.network.head = net.postprocess.head = FixedHead(create_fields(batch, shift_px))
    return net


def test_perfect_fields_have_a_score_loss_alone_since_the_assigner_gives_a_lower_oks():
    batch = create_batch()
    losses = build_fixed_estimator(batch, loss_weights=dict(raw_box=1.0)).losses(batch)
    for name in ('box', 'visible', 'proxy', 'raw_box'):
        assert losses[f'loss_{name}'].item() == pytest.approx(0, abs=2e-5), name
    assert losses['loss_score'].item() > 1  # a score near 1 where the assigned OKS is 0.5


def test_losses_are_means_over_instances_times_their_weights():
    """Boxes 16 px wide and 30 px high, 4 px off: an IoU of 12/20. A proxy is 1 - exp(-16 / (8 area sigma²)) wrong."""
    batch = create_batch()
    losses = build_fixed_estimator(batch, shift_px=4.0, loss_weights=dict(raw_box=1.0, box=5.0, proxy=30.0)).losses(
        batch
    )
    assert losses['loss_box'].item() == pytest.approx(5 * (1 - 0.6**2), rel=1e-4)
    sigmas = torch.tensor(SMALL_SKELETON.sigmas)
    error = (1 - (-16 / (8 * batch.areas[0, 0] * sigmas**2)).exp()).mean()
    assert losses['loss_proxy'].item() == pytest.approx(30 * error.item(), rel=1e-4)
    assert losses['loss_raw_box'].item() == pytest.approx(4 / 16, rel=1e-4)


def test_the_only_positive_cell_has_its_target_score_also_where_the_rows_of_padding_point_to_it():
    batch = create_batch(1)
    batch.valid[1] = False
    net, targets = build_fixed_estimator(batch), []
    net.criterion.loss['score'].register_forward_pre_hook(lambda _, inputs: targets.append(inputs[1]))
    net.losses(batch)
    expected = torch.zeros_like(targets[0])
    expected[0, 0] = 0.5  # the OKS of the assigner, at the first cell of the first image
    assert_close(targets[0], expected)


def test_the_target_score_is_the_oks_to_the_power_of_overlaps_power():
    batch = create_batch()
    scores = torch.linspace(-4, 4, 81)

    def find_best_score(**settings):
        net = build_fixed_estimator(batch, **settings)
        losses = []
        for s in scores:
            net.network.head.fields['score'][:, :2] = s
            losses.append(net.losses(batch)['loss_score'])
        return scores[torch.stack(losses).argmin()].sigmoid().item()

    assert find_best_score() == pytest.approx(0.5, abs=0.03)
    assert find_best_score(overlaps_power=2.0) == pytest.approx(0.25, abs=0.03)


def test_predictions_are_in_image_pixels_with_boxes_and_scores():
    batch = create_batch()
    batch.image_to_input[:] = torch.from_numpy(translation_matrix(3, -5) @ scaling_matrix(2.0))
    predicted = build_fixed_estimator(batch).eval().predict(batch)
    assert [len(p) for p in predicted] == [2, 2]
    image_keypoints = (batch.keypoints - torch.tensor([3.0, -5])) / 2
    for poses, keypoints, boxes in zip(predicted, image_keypoints, batch.boxes, strict=True):
        order = np.argsort(poses.keypoints[:, 0, 0])
        np.testing.assert_allclose(poses.keypoints[order], keypoints.numpy(), atol=1e-4)
        np.testing.assert_allclose(
            poses.boxes[order], ((boxes - torch.tensor([3.0, -5, 3, -5])) / 2).numpy(), atol=1e-4
        )
        assert (poses.instance_scores > 0.99).all()
        assert (poses.keypoint_scores > 0.99).all()
        assert poses.keypoints.dtype == poses.boxes.dtype == np.float32


def test_low_scores_give_no_instances():
    batch = create_batch()
    net = build_fixed_estimator(batch).eval()
    net.network.head.fields['score'][:] = -9.0
    assert [len(p) for p in net.predict(batch)] == [0, 0]


def create_crowd(num_instances: int = 60) -> Batch:
    """A batch of images of 640 x 384 px with instances in rows of ten."""
    batch, (width, height) = create_batch(1), (640, 384)
    corners = torch.stack(torch.meshgrid(torch.arange(6) * 64, torch.arange(10) * 64, indexing='ij'), -1).flatten(0, 1)
    keypoints = corners.flip(-1)[:num_instances, None] + torch.tensor([[10.0, 8], [50, 30], [30, 56]])
    return replace(
        batch,
        images=torch.zeros(2, 1, height, width, 3, dtype=torch.uint8),
        keypoints=keypoints.expand(2, -1, -1, -1).clone(),
        visible=torch.full((2, num_instances, 3), 2, dtype=torch.uint8),
        boxes=torch.cat([keypoints.amin(1), keypoints.amax(1)], dim=-1).expand(2, -1, -1).clone(),
        areas=torch.full((2, num_instances), 500.0),
        valid=torch.ones(2, num_instances, dtype=torch.bool),
        image_sizes=[(width, height)] * 2,
    )


def build_crowd_estimator(batch: Batch, **codec) -> OneStage:
    """Predicts every instance of a crowd twice, at cells of both levels."""
    net, fields = build_fixed_estimator(create_batch(1)).eval(), {}
    points, strides = build_grid_points([(24, 40), (12, 20)], (16, 32), torch.zeros(1))
    num_instances = batch.keypoints.shape[1]
    for name, value in (('score', -12.0), ('box', 0.0), ('visible', 12.0), ('proxy', 0.0)):
        rest = {'score': (), 'box': (4,), 'visible': (3,), 'proxy': (3, 2)}[name]
        fields[name] = torch.full((2, len(points), *rest), value)
    for first in (0, 500):
        fields['score'][:, first : first + num_instances] = 4.0 - first / 500
        fields['box'][:, first : first + num_instances] = batch.boxes
        fields['proxy'][:, first : first + num_instances] = batch.keypoints
    net.network.head.fields = {**fields, 'points': points, 'strides': strides}
    net.postprocess.codec = replace(net.codec, **codec)
    return net


def test_two_cells_of_each_of_sixty_instances_give_sixty_instances():
    batch = create_crowd(60)
    for poses, keypoints in zip(build_crowd_estimator(batch).predict(batch), batch.keypoints.numpy(), strict=True):
        assert len(poses) == 60
        distances = np.abs(poses.keypoints[:, None] - keypoints[None]).max(axis=(2, 3))
        assert sorted(distances.argmin(axis=1)) == list(range(60))
        assert distances.min(axis=1).max() < 1e-3


def test_instances_beyond_a_limit_are_counted_in_the_log(caplog):
    caplog.set_level('INFO', logger='poseplug')
    batch = create_crowd(60)
    assert [len(p) for p in build_crowd_estimator(batch, max_instances=50).predict(batch)] == [50, 50]
    assert 'max_instances=50 dropped 10 of 60 instances' in caplog.text
    caplog.clear()
    assert [len(p) for p in build_crowd_estimator(batch, nms_pre=55).predict(batch)] == [55, 55]
    assert 'nms_pre=55 dropped 65 of 120 cells above score_threshold' in caplog.text
    caplog.clear()
    build_crowd_estimator(batch).predict(batch)
    assert not caplog.text


def test_instances_in_the_padding_are_dropped():
    """The first image is the upper half of its input: three of six rows of ten remain."""
    batch = replace(create_crowd(60), image_sizes=[(640, 192), (640, 384)])
    assert [len(p) for p in build_crowd_estimator(batch).predict(batch)] == [30, 60]


def test_the_coordinate_classifier_runs_on_the_selected_cells_alone(monkeypatch):
    net, batch = build_estimator().eval(), create_batch()
    row_counts = []
    original_forward = net.network.head.dcc.forward
    monkeypatch.setattr(
        net.network.head.dcc, 'forward', lambda *rows: row_counts.append(len(rows[0])) or original_forward(*rows)
    )
    net.postprocess.codec = replace(net.codec, score_threshold=0.0, max_instances=3)
    assert [len(p) for p in net.predict(batch)] == [row_counts[0] // 2] * 2
    assert 2 <= row_counts[0] <= 6


def test_proxies_learn_from_predicted_keypoints_where_these_are_nearer():
    """With exact predicted keypoints the proxies learn the labels, with wrong ones nothing."""
    batch = create_batch()
    net = build_estimator(assigner=FixedAssigner())
    net.set_phase(proxy_target='keypoints')
    original_method = net.criterion.predict_distributions

    class FixedDistributions:
        def __init__(self, keypoints):
            self.keypoints = keypoints

        def expected_keypoints(self):
            return self.keypoints

    def compute_losses(shift_px):
        def predict_distributions(instances):
            keypoints = torch.cat([t.keypoints for t in extract_ground_truths(batch)])
            return FixedDistributions(keypoints + shift_px)

        net.criterion.predict_distributions = predict_distributions
        net.criterion.loss['keypoints'].forward = lambda *_: torch.zeros(())
        return net.train().losses(batch)

    exact = compute_losses(0.0)
    net.set_phase(proxy_target='labels')
    assert_close(exact['loss_proxy'], compute_losses(0.0)['loss_proxy'])
    net.set_phase(proxy_target='keypoints')
    assert compute_losses(1e4)['loss_proxy'].item() == 0
    assert original_method is not net.criterion.predict_distributions


def test_a_phase_changes_its_settings_and_the_next_starts_from_the_initial_ones():
    net = build_estimator(loss_weights=dict(keypoints=0.01), overlaps_power=0.5)
    assert net.criterion.phase.loss_weights == dict(score=1, box=5, visible=1, proxy=30, keypoints=0.01, raw_box=0)
    phase = net.set_phase(loss_weights=dict(keypoints=5, proxy=10), proxy_target='keypoints', overlaps_power=1.0)
    assert net.criterion.phase is phase
    assert (phase.loss_weights['keypoints'], phase.loss_weights['score'], phase.overlaps_power) == (5, 1, 1.0)
    phase = net.set_phase(loss_weights=dict(raw_box=1))
    assert net.criterion.phase is phase
    assert (phase.loss_weights['keypoints'], phase.loss_weights['raw_box'], phase.proxy_target) == (0.01, 1, 'labels')
    assert phase.overlaps_power == 0.5


def test_batches_are_resized_randomly_in_training_alone():
    net = build_estimator(random_size_range=(96, 96, 32))
    sizes = []
    net.network.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
    net.train().losses(create_batch())
    net.eval().predict(create_batch())
    assert sizes == [(64, 96), (48, 64)]


def test_a_loss_of_weight_0_is_skipped():
    assert 'loss_keypoints' not in build_estimator(loss_weights=dict(keypoints=0.0)).train().losses(create_batch())


def test_a_heatmap_codec_is_refused_by_name():
    message = 'OneStage finds instances at cells, but Heatmap reads maps; set model.codec'
    with pytest.raises(MismatchError, match=message):
        build_estimator(
            codec=dict(type='Heatmap', input_size=(64, 64), stride=32), head=dict(type='HeatmapHead'), neck=None
        )


@pytest.mark.parametrize('settings', [dict(loss=dict(scor=dict(type='L1Loss'))), dict(loss_weights=dict(scor=1.0))])
def test_a_misspelled_loss_is_an_error_with_the_closest_name(settings):
    with pytest.raises(ConfigError, match="names 'scor'; closest: 'score'"):
        build_estimator(**settings)


def test_predicted_keypoints_as_proxy_target_need_a_head_that_predicts_distributions():
    with pytest.raises(ConfigError, match="'keypoints' only where the head gives distributions"):
        build_estimator(YOLOX, proxy_target='keypoints')


def test_several_views_are_refused():
    net, batch = build_estimator().eval(), create_batch()
    batch = replace(
        batch,
        images=batch.images.repeat(1, 2, 1, 1, 1),
        image_to_input=batch.image_to_input.repeat(1, 2, 1, 1),
        view_sizes=[SIZE] * 2,
    )
    with pytest.raises(MismatchError, match='one view'):
        net.predict(batch)


def test_half_precision_trains_with_finite_losses():
    net = build_estimator().train()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = net.losses(create_batch())
    assert all(torch.isfinite(v) for v in losses.values())


def test_neither_mmdet_nor_compiled_operators_nor_torchvision_is_imported():
    """An estimator is built, trained for a step and predicts, in a process of its own."""
    run = (
        'import sys, torch; import tests.models.estimators.test_one_stage as t; net = t.build_estimator().train(); '
        'torch.stack(list(net.losses(t.create_batch()).values())).sum().backward(); '
        'net.eval().predict(t.create_batch()); '
        "print(sorted(n for n in sys.modules if n.partition('.')[0] in ('mmdet', 'mmpose', 'mmcv', 'torchvision')))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, '-c', run], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
