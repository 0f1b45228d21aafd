"""Training and predicting of people at cells: what the losses are of, and what comes back."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.errors import ConfigError, MismatchError
from poseplug.geometry import scaling, translation
from poseplug.models.assigners.base import Assigner, Assignment, Truth
from poseplug.models.estimators.one_stage import OneStage, counting, raw_of, truths
from poseplug.models.heads.one_stage import OneStageHead, boxes_of, grid_points
from poseplug.sample import Batch, Record
from poseplug.testing import SMALL

SIZE = (64, 48)
RTMO = dict(type='RTMOHead', width=16, dcc=dict(channels=16, bins=(12, 16)))
YOLOX = dict(type='YOLOXPoseHead', width=16)
NECK = dict(type='HybridEncoder', out=16, channels=16, feedforward=16, widen=0.5, deepen=0.33)
DARKNET = dict(type='CSPDarknet', widen=0.125, deepen=0.33)


def model(head=RTMO, **settings) -> OneStage:
    torch.manual_seed(0)
    parts = dict(codec=dict(type='People', input_size=SIZE), backbone=DARKNET, neck=NECK, head=head)
    return OneStage(SMALL, **{**parts, **settings})


def batch(people: int = 2, **changes) -> Batch:
    """Two pictures of noise, in each so many people in a row."""
    chance = torch.Generator().manual_seed(0)
    left = (20.0 * torch.arange(people) + 4)[:, None, None] * torch.tensor([1.0, 0.0])
    joints = (left + torch.tensor([[0.0, 4], [12, 8], [6, 30]])).expand(2, people, 3, 2).clone()
    low, high = joints.amin(2) - 2, joints.amax(2) + 2
    made = Batch(
        images=torch.randint(0, 256, (2, 1, SIZE[1], SIZE[0], 3), generator=chance, dtype=torch.uint8),
        keypoints=joints,
        visible=torch.full((2, people, 3), 2, dtype=torch.uint8),
        people=torch.ones(2, people, dtype=torch.bool),
        centers=torch.zeros(2, 2),
        matrices=torch.eye(3, dtype=torch.float64).repeat(2, 1, 1, 1),
        sizes=[SIZE] * 2,
        records=[Record(Path(f'{i}.jpg'), str(i), np.zeros((0, 3, 2)), np.zeros((0, 3))) for i in range(2)],
        draws=[],
        boxes=torch.cat([low, high], dim=-1),
        areas=(high - low).prod(-1) / 2,
    )
    return replace(made, **changes)


def gradients(net: OneStage, given: Batch) -> dict[str, torch.Tensor]:
    net.zero_grad()
    torch.stack(list(net.train().losses(given).values())).sum().backward()
    return {n: p.grad for n, p in net.named_parameters()}


@pytest.mark.parametrize(
    ('head', 'names'), [(RTMO, 'score box visible proxy joints'), (YOLOX, 'score box visible proxy')]
)
def test_every_loss_is_finite_and_reaches_the_backbone(head, names):
    net = model(head)
    losses = net.train().losses(batch())
    assert set(losses) == {f'loss_{n}' for n in names.split()}
    assert all(torch.isfinite(v) and v > 0 for v in losses.values())
    assert gradients(net, batch())['backbone.stem.conv.conv.weight'].any()


@pytest.mark.parametrize('head', [RTMO, YOLOX])
@pytest.mark.parametrize('people', [0, 1])
def test_pictures_of_nobody_and_of_one_person_train_every_parameter(head, people):
    """Nobody: finite losses, of which only the score's is above 0, and a gradient for everything, for DDP."""
    net, given = model(head), batch(people)
    losses = {n: v.item() for n, v in net.train().losses(given).items()}
    assert all(np.isfinite(v) for v in losses.values())
    assert losses['loss_score'] > 0
    assert any(v for n, v in losses.items() if n != 'loss_score') == bool(people)
    found = gradients(net, given)
    assert not [n for n, g in found.items() if g is None or not torch.isfinite(g).all()]


def test_a_picture_of_one_cell_trains_a_batch_norm_over_people():
    net, given = model(), batch(1)
    given.people[1] = False
    net.assigner.best = 1
    assert all(torch.isfinite(v) for v in net.train().losses(given).values())


def test_nobody_among_somebody_changes_nothing():
    """Padding: a second row of people who are not real."""
    net, given = model(), batch(2)
    given.people[:, 1] = False
    alone = batch(2)
    alone = replace(
        alone, **{n: getattr(alone, n)[:, :1] for n in ('keypoints', 'visible', 'people', 'boxes', 'areas')}
    )
    for one, other in zip(net.train().losses(given).values(), net.losses(alone).values(), strict=True):
        assert_close(one, other)


def test_people_whose_labelled_joints_left_the_input_are_nobody():
    given = batch(2)
    given.keypoints[0, 1] += 500
    given.visible[1, 0, 1:] = 0
    one, other = truths(given)
    assert (len(one.keypoints), len(other.keypoints)) == (1, 2)
    assert other.labelled.tolist() == [[True, False, False], [True, True, True]]


def test_boxes_end_with_the_input():
    given = batch(1)
    given.boxes[0, 0] = torch.tensor([-20.0, 10, 400, 30])
    assert truths(given)[0].boxes.tolist() == [[-0.5, 10, 63.5, 30]]


def test_cells_on_what_does_not_count_learn_nothing_unless_they_shall_find_somebody():
    points = torch.tensor([[7.5, 7.5], [23.5, 7.5], [60, 90]])
    masks = torch.ones(1, 48, 64, dtype=torch.uint8)
    masks[:, :, :16] = 0
    assert counting(masks, points, torch.zeros(1, 3)).tolist() == [[0, 1, 1]]
    assert counting(masks, points, torch.tensor([[0.3, 0, 0]])).tolist() == [[1, 1, 1]]
    assert counting(None, points, torch.zeros(1, 3)) is None


def test_a_crowd_teaches_no_score():
    """All is a crowd: whether cells there are sure or not costs nothing."""
    net, given = model(), batch(0, masks=torch.zeros(2, SIZE[1], SIZE[0], dtype=torch.uint8))
    assert net.train().losses(given)['loss_score'].item() == 0
    assert not gradients(net, given)['head.scores.score.0.weight'].any()


class Fixed(Assigner):
    """The same cells for everybody, in turn."""

    def __call__(self, fields, truth: Truth) -> Assignment:
        people = torch.arange(len(truth.keypoints))
        return Assignment(people, people, torch.full((len(people),), 0.5))


class Knowing(OneStageHead):
    """Says what it is told to say."""

    def __init__(self, told):
        super().__init__()
        self.told, self.strides = told, (16, 32)

    def forward(self, features):
        return [self.told]

    def joints(self, people):
        return people['proxy']


def told(given: Batch, off: float = 0.0) -> dict[str, torch.Tensor]:
    """What finds everybody at the first cells, `off` px to the right, and nobody elsewhere."""
    points, strides = grid_points([(3, 4), (2, 2)], (16, 32), torch.zeros(1))
    cells, people = len(points), given.keypoints.shape[1]
    fields = {
        'score': torch.full((2, cells), -12.0),
        'raw': torch.zeros(2, cells, 4),
        'visible': torch.full((2, cells, 3), 12.0),
        'proxy': points[:, None].repeat(2, 1, 3, 1),
    }
    fields['score'][:, :people] = 12.0
    fields['proxy'][:, :people] = given.keypoints + torch.tensor([off, 0.0])
    for i in range(2):
        rows = {'points': points[:people], 'strides': strides[:people]}
        fields['raw'][i, :people] = raw_of(given.boxes[i] + off * torch.tensor([1.0, 0, 1, 0]), rows)
    return {**fields, 'box': boxes_of(fields['raw'], points, strides), 'points': points, 'strides': strides}


def knowing(given: Batch, off: float = 0.0, **settings) -> OneStage:
    net = model(YOLOX, assigner=Fixed(), **settings)
    net.head = Knowing(told(given, off))
    return net


def test_who_knows_everything_pays_for_nothing_but_the_doubt_of_the_assigner():
    given = batch()
    losses = knowing(given, weights=dict(raw=1.0)).losses(given)
    for name in ('box', 'visible', 'proxy', 'raw'):
        assert losses[f'loss_{name}'].item() == pytest.approx(0, abs=2e-5), name
    assert losses['loss_score'].item() > 1  # sure, where the likeness is told to be a half


def test_losses_are_means_over_people_times_their_weights():
    """Boxes 16 px wide and 30 px high, 4 px off: an IoU of 12/20. A proxy is 1 - exp(-16 / (8 area sigma²)) wrong."""
    given = batch()
    losses = knowing(given, off=4.0, weights=dict(raw=1.0, box=5.0, proxy=30.0)).losses(given)
    assert losses['loss_box'].item() == pytest.approx(5 * (1 - 0.6**2), rel=1e-4)
    sigmas = torch.tensor(SMALL.sigmas)
    wrong = (1 - (-16 / (8 * given.areas[0, 0] * sigmas**2)).exp()).mean()
    assert losses['loss_proxy'].item() == pytest.approx(30 * wrong.item(), rel=1e-4)
    assert losses['loss_raw'].item() == pytest.approx(4 / 16, rel=1e-4)


def test_the_wanted_score_is_the_likeness_to_the_power_asked_for():
    given = batch()
    scores = torch.linspace(-4, 4, 81)

    def best(**settings):
        net = knowing(given, **settings)
        costs = []
        for s in scores:
            net.head.told['score'][:, :2] = s
            costs.append(net.losses(given)['loss_score'])
        return scores[torch.stack(costs).argmin()].sigmoid().item()

    assert best() == pytest.approx(0.5, abs=0.03)
    assert best(power=2.0) == pytest.approx(0.25, abs=0.03)


def test_predictions_come_back_to_the_picture_with_boxes_and_scores():
    given = batch()
    given.matrices[:] = torch.from_numpy(translation(3, -5) @ scaling(2.0))
    found = knowing(given).eval().predict(given)[0]
    assert [len(p) for p in found] == [2, 2]
    back = (given.keypoints - torch.tensor([3.0, -5])) / 2
    for poses, joints, boxes in zip(found, back, given.boxes, strict=True):
        order = np.argsort(poses.keypoints[:, 0, 0])
        np.testing.assert_allclose(poses.keypoints[order], joints.numpy(), atol=1e-4)
        np.testing.assert_allclose(
            poses.boxes[order], ((boxes - torch.tensor([3.0, -5, 3, -5])) / 2).numpy(), atol=1e-4
        )
        assert (poses.person_scores > 0.99).all()
        assert (poses.scores > 0.99).all()
        assert poses.keypoints.dtype == poses.boxes.dtype == np.float32


def test_nobody_is_found_where_no_cell_is_sure():
    given = batch()
    net = knowing(given).eval()
    net.head.told['score'][:] = -9.0
    assert [len(p) for p in net.predict(given)[0]] == [0, 0]


def crowd(people: int = 60) -> Batch:
    """A picture of 640 x 384 px in which people stand in rows of ten."""
    given, (width, height) = batch(1), (640, 384)
    places = torch.stack(torch.meshgrid(torch.arange(6) * 64, torch.arange(10) * 64, indexing='ij'), -1).flatten(0, 1)
    joints = places.flip(-1)[:people, None] + torch.tensor([[10.0, 8], [50, 30], [30, 56]])
    return replace(
        given,
        images=torch.zeros(2, 1, height, width, 3, dtype=torch.uint8),
        keypoints=joints.expand(2, -1, -1, -1).clone(),
        visible=torch.full((2, people, 3), 2, dtype=torch.uint8),
        boxes=torch.cat([joints.amin(1), joints.amax(1)], dim=-1).expand(2, -1, -1).clone(),
        areas=torch.full((2, people), 500.0),
        people=torch.ones(2, people, dtype=torch.bool),
        sizes=[(width, height)] * 2,
    )


def crowded(given: Batch, **codec) -> OneStage:
    """Finds everybody of a crowd twice over, at cells of both levels."""
    net, fields = knowing(batch(1)).eval(), {}
    points, strides = grid_points([(24, 40), (12, 20)], (16, 32), torch.zeros(1))
    people = given.keypoints.shape[1]
    for name, value in (('score', -12.0), ('box', 0.0), ('visible', 12.0), ('proxy', 0.0)):
        rest = {'score': (), 'box': (4,), 'visible': (3,), 'proxy': (3, 2)}[name]
        fields[name] = torch.full((2, len(points), *rest), value)
    for first in (0, 500):
        fields['score'][:, first : first + people] = 4.0 - first / 500
        fields['box'][:, first : first + people] = given.boxes
        fields['proxy'][:, first : first + people] = given.keypoints
    net.head.told, net.codec = {**fields, 'points': points, 'strides': strides}, replace(net.codec, **codec)
    return net


def test_sixty_people_are_sixty_though_two_cells_find_each():
    given = crowd(60)
    for poses, joints in zip(crowded(given).predict(given)[0], given.keypoints.numpy(), strict=True):
        assert len(poses) == 60
        away = np.abs(poses.keypoints[:, None] - joints[None]).max(axis=(2, 3))
        assert sorted(away.argmin(axis=1)) == list(range(60))
        assert away.min(axis=1).max() < 1e-3


def test_whom_a_limit_cuts_off_is_counted_in_the_log(caplog):
    caplog.set_level('INFO', logger='poseplug')
    given = crowd(60)
    assert [len(p) for p in crowded(given, most=50).predict(given)[0]] == [50, 50]
    assert '10 of 60 people were one too many (most=50)' in caplog.text
    caplog.clear()
    assert [len(p) for p in crowded(given, candidates=55).predict(given)[0]] == [55, 55]
    assert '65 of 120 sure cells were no candidates (candidates=55)' in caplog.text
    caplog.clear()
    crowded(given).predict(given)
    assert not caplog.text


def test_who_stands_in_what_fills_up_the_input_is_nobody():
    """The picture is the upper half of the input: three rows of ten remain of six."""
    given = replace(crowd(60), sizes=[(640, 192), (640, 384)])
    assert [len(p) for p in crowded(given).predict(given)[0]] == [30, 60]


def test_the_classifier_is_asked_for_those_alone_who_stay(monkeypatch):
    net, given = model().eval(), batch()
    asked = []
    usual = net.head.dcc.forward
    monkeypatch.setattr(net.head.dcc, 'forward', lambda *rows: asked.append(len(rows[0])) or usual(*rows))
    net.codec = replace(net.codec, threshold=0.0, most=3)
    assert [len(p) for p in net.predict(given)[0]] == [asked[0] // 2] * 2
    assert 2 <= asked[0] <= 6


def test_after_the_switch_proxies_learn_from_nearer_joints_alone():
    """A classifier that is right everywhere: proxies learn what the labels say; one that is wrong: nothing."""
    given = batch()
    net = model(assigner=Fixed())
    net.enter(proxies='joints')
    usual = net.head.distributions

    class Told:
        def __init__(self, joints):
            self.at = joints

        def expectation(self):
            return self.at

    def losses(away):
        def distributions(people):
            truth = torch.cat([t.keypoints for t in truths(given)])
            return Told(truth + away)

        net.head.distributions = distributions
        net.loss['joints'].forward = lambda *_: torch.zeros(())
        return net.train().losses(given)

    right = losses(0.0)
    net.enter(proxies='labels')
    assert_close(right['loss_proxy'], losses(0.0)['loss_proxy'])
    net.enter(proxies='joints')
    assert losses(1e4)['loss_proxy'].item() == 0
    assert usual is not net.head.distributions


def test_a_phase_changes_what_it_names_and_the_next_begins_from_the_start():
    net = model(weights=dict(joints=0.01), power=0.5)
    assert net.phase.weights == dict(score=1, box=5, visible=1, proxy=30, joints=0.01, raw=0)
    net.enter(weights=dict(joints=5, proxy=10), proxies='joints', power=1.0)
    assert (net.phase.weights['joints'], net.phase.weights['score'], net.phase.power) == (5, 1, 1.0)
    net.enter(weights=dict(raw=1))
    assert (net.phase.weights['joints'], net.phase.weights['raw'], net.phase.proxies) == (0.01, 1, 'labels')
    assert net.phase.power == 0.5


def test_a_loss_without_weight_is_left_out():
    assert 'loss_joints' not in model(weights=dict(joints=0.0)).train().losses(batch())


def test_what_maps_are_for_is_refused_by_name():
    with pytest.raises(MismatchError, match='OneStage finds people at cells, but Heatmap reads maps; set model.codec'):
        model(codec=dict(type='Heatmap', input_size=(64, 64), stride=32), head=dict(type='HeatmapHead'), neck=None)


@pytest.mark.parametrize('settings', [dict(loss=dict(scor=dict(type='L1'))), dict(weights=dict(scor=1.0))])
def test_a_misspelt_loss_is_told_the_closest(settings):
    with pytest.raises(ConfigError, match="names 'scor'; closest: 'score'"):
        model(**settings)


def test_joints_teach_only_where_the_head_has_them():
    with pytest.raises(ConfigError, match="'joints' only where the head gives distributions"):
        model(YOLOX, proxies='joints')


def test_several_views_are_refused():
    net, given = model().eval(), batch()
    given = replace(given, images=given.images.repeat(1, 2, 1, 1, 1), matrices=given.matrices.repeat(1, 2, 1, 1))
    with pytest.raises(MismatchError, match='one view'):
        net.predict(given)


def test_half_precision_trains_with_finite_losses():
    net = model().train()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = net.losses(batch())
    assert all(torch.isfinite(v) for v in losses.values())


def test_neither_mmdet_nor_compiled_operators_nor_torchvision_is_imported():
    """Built, trained a step and asked, in a process of its own."""
    run = (
        'import sys, torch; import tests.models.estimators.test_one_stage as t; net = t.model().train(); '
        'torch.stack(list(net.losses(t.batch()).values())).sum().backward(); net.eval().predict(t.batch()); '
        "print(sorted(n for n in sys.modules if n.partition('.')[0] in ('mmdet', 'mmpose', 'mmcv', 'torchvision')))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, '-c', run], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
