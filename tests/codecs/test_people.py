"""People of cells: what comes back, who suppresses whom, and a mirror."""

import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.people import People, taken
from poseplug.errors import ConfigError
from poseplug.testing import SMALL, mirrored

SIZE = (96, 64)


def codec(**settings) -> People:
    return People(SMALL, SIZE, **settings)


def apart(people: int = 3) -> torch.Tensor:
    """Joints (2, N, 3, 2) of people whose boxes do not meet."""
    near = torch.tensor([[0.0, 0], [20, 3], [8, 40]])
    return torch.stack([near + torch.tensor([30.0 * n + p, 5.0 * p]) for p in range(2) for n in range(people)]).view(
        2, people, 3, 2
    )


def seen(keypoints: torch.Tensor) -> torch.Tensor:
    return torch.full(keypoints.shape[:3], 2)


def cells(scores, boxes) -> dict[str, torch.Tensor]:
    """Fields of one picture whose joints tell the cells apart; scores are chances."""
    count = len(scores)
    return {
        'score': torch.tensor([scores]).logit(),
        'box': torch.tensor([boxes], dtype=torch.float32),
        'visible': torch.zeros(1, count, 3),
        'keypoints': torch.arange(count, dtype=torch.float32)[None, :, None, None].expand(1, count, 3, 2),
    }


def test_decoding_undoes_encoding():
    joints = apart()
    found = codec().decode(codec().encode(joints, seen(joints)).at(0))
    assert found.images.tolist() == [0, 0, 0, 1, 1, 1]
    assert_close(found.keypoints, joints.flatten(0, 1))
    assert (found.scores > 0.999).all()
    assert (found.person_scores > 0.999).all()
    assert_close(found.boxes[0], torch.tensor([0.0, 0, 20, 40]))


def test_who_is_not_real_or_has_no_labelled_joint_is_nobody_and_says_nothing():
    joints = apart()
    people, visible = torch.tensor([[True, False, True]] * 2), seen(joints)
    visible[0, 2] = 0
    joints[:, 1] = float('nan')
    targets = codec().encode(joints, visible, people)
    assert all(torch.isfinite(f).all() for f in targets.at(0).values())
    assert codec().decode(targets.at(0)).images.tolist() == [0, 1, 1]
    assert targets.weights['box'].tolist() == [[1, 0, 0], [1, 0, 1]]


def test_an_unlabelled_joint_is_not_thought_visible_and_does_not_widen_the_box():
    joints, visible = apart(1), seen(apart(1))
    visible[:, :, 2] = 0
    fields = codec().encode(joints, visible).at(0)
    found = codec().decode(fields)
    assert (found.scores[:, 2] < 0.001).all()
    assert_close(found.boxes[0], torch.tensor([0.0, 0, 20, 3]))


def test_people_come_surest_first_and_only_above_the_threshold():
    boxes = [[0, 0, 5, 5], [20, 0, 25, 5], [40, 0, 45, 5], [60, 0, 65, 5]]
    found = codec(threshold=0.3).decode(cells([0.4, 0.9, 0.29, 0.31], boxes))
    assert found.keypoints[:, 0, 0].tolist() == [1, 0, 3]
    assert_close(found.person_scores, torch.tensor([0.9, 0.4, 0.31]))


def test_a_surer_box_suppresses_by_more_than_the_overlap():
    """The second shares 8/12 of the union with the first, the third a third."""
    boxes = [[0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10]]
    assert codec().decode(cells([0.9, 0.8, 0.7], boxes)).keypoints[:, 0, 0].tolist() == [0, 2]
    assert len(codec(overlap=0.7).decode(cells([0.9, 0.8, 0.7], boxes))) == 3
    assert len(codec(overlap=0.2).decode(cells([0.9, 0.8, 0.7], boxes))) == 1


def test_at_most_so_many_people_and_candidates_are_taken():
    boxes = [[20.0 * n, 0, 20 * n + 5, 5] for n in range(6)]
    fields = cells([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], boxes)
    assert codec(most=2).decode(fields).keypoints[:, 0, 0].tolist() == [0, 1]
    assert codec(candidates=4).decode(fields).keypoints[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_a_picture_does_not_depend_on_its_batch():
    chance = torch.Generator().manual_seed(0)
    low = torch.rand(3, 40, 2, generator=chance) * 50
    fields = {
        'score': torch.randn(3, 40, generator=chance),
        'box': torch.cat([low, low + 30], dim=-1),
        'visible': torch.randn(3, 40, 3, generator=chance),
        'keypoints': torch.randn(3, 40, 3, 2, generator=chance),
    }
    whole = codec().decode(fields).split(3)
    for n, poses in enumerate(whole):
        alone = codec().decode({name: f[n : n + 1] for name, f in fields.items()})
        assert 0 < len(alone) < 40
        assert_close(poses.keypoints, alone.keypoints)
        assert_close(poses.boxes, alone.boxes)


@pytest.mark.parametrize('shape', [(0, 5), (2, 0)])
def test_nobody_is_found_in_nothing(shape):
    fields = {
        'score': torch.zeros(shape),
        'box': torch.zeros(*shape, 4),
        'visible': torch.zeros(*shape, 3),
        'keypoints': torch.zeros(*shape, 3, 2),
    }
    assert codec().decode(fields).keypoints.shape == (0, 3, 2)


def test_scores_that_are_no_numbers_are_nobody():
    fields = cells([0.9, 0.8], [[0, 0, 5, 5], [20, 0, 25, 5]])
    fields['score'][0, 0] = float('nan')
    assert codec().decode(fields).keypoints[:, 0, 0].tolist() == [1]


def test_the_mirrored_people_of_a_mirrored_input_are_those_of_the_input():
    joints = apart()
    own = codec().decode(codec().encode(joints, seen(joints)).at(0))
    there = mirrored(codec(), joints)
    back = codec().decode(codec().flip(codec().encode(there, seen(there)).at(0)))
    assert_close(back.keypoints, own.keypoints)
    assert_close(back.boxes, own.boxes)


def test_a_mirror_twice_is_no_mirror():
    fields = codec().encode(apart(), seen(apart())).at(0)
    for name, field in codec().flip(codec().flip(fields)).items():
        assert_close(field, fields[name])


def test_bfloat16_is_read_in_single_precision():
    fields = {n: f.bfloat16() for n, f in codec().encode(apart(), seen(apart())).at(0).items()}
    found = codec().decode(fields)
    assert found.boxes.dtype == torch.float32
    assert_close(found.keypoints, apart().flatten(0, 1), atol=0.5, rtol=0)


def test_what_is_taken_of_cells_is_theirs_also_where_all_pictures_share_it():
    fields = {'score': torch.arange(6.0).view(2, 3), 'points': torch.arange(6.0).view(3, 2)}
    found = taken(fields, torch.tensor([1, 0]), torch.tensor([2, 0]))
    assert found['score'].tolist() == [5, 0]
    assert found['points'].tolist() == [[4, 5], [0, 1]]


def test_settings_are_frozen_and_survive_copying():
    with pytest.raises(FrozenInstanceError):
        codec().threshold = 0.5
    assert copy.deepcopy(codec(most=7)) == pickle.loads(pickle.dumps(codec(most=7))) == codec(most=7)


@pytest.mark.parametrize('settings', [dict(threshold=1.0), dict(overlap=1.5), dict(most=0), dict(candidates=0)])
def test_a_setting_that_cannot_be_is_refused(settings):
    with pytest.raises(ConfigError, match='People: threshold and overlap'):
        codec(**settings)
