"""Instances of cells: what is decoded, which boxes suppress others, and flipped fields."""

import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.dense_instances import DenseInstances, gather_cell_fields
from poseplug.core.errors import ConfigError
from poseplug.testing import SMALL_SKELETON, flip_input_keypoints

SIZE = (96, 64)


def build(**settings) -> DenseInstances:
    return DenseInstances(SMALL_SKELETON, SIZE, **settings)


def separate_instances(count: int = 3) -> torch.Tensor:
    """Keypoints (2, N, 3, 2) of instances whose boxes do not meet."""
    instance = torch.tensor([[0.0, 0], [20, 3], [8, 40]])
    offsets = [torch.tensor([30.0 * n + image, 5.0 * image]) for image in range(2) for n in range(count)]
    return torch.stack([instance + offset for offset in offsets]).view(2, count, 3, 2)


def all_visible(keypoints: torch.Tensor) -> torch.Tensor:
    return torch.full(keypoints.shape[:3], 2)


def build_fields(scores, boxes) -> dict[str, torch.Tensor]:
    """Fields of one image whose keypoints are the numbers of the cells; scores are probabilities."""
    count = len(scores)
    numbers = torch.arange(count, dtype=torch.float32)
    return {
        'score': torch.tensor([scores]).logit(),
        'box': torch.tensor([boxes], dtype=torch.float32),
        'visible': torch.zeros(1, count, 3),
        'keypoints': numbers[None, :, None, None].expand(1, count, 3, 2),
    }


def test_decoding_undoes_encoding():
    keypoints = separate_instances()
    poses = build().decode(build().encode(keypoints, all_visible(keypoints)).stage_fields(0))
    assert poses.image_indices.tolist() == [0, 0, 0, 1, 1, 1]
    assert_close(poses.keypoints, keypoints.flatten(0, 1))
    assert (poses.keypoint_scores > 0.999).all()
    assert (poses.instance_scores > 0.999).all()
    assert_close(poses.boxes[0], torch.tensor([0.0, 0, 20, 40]))


def test_padding_and_instances_without_a_labeled_keypoint_are_not_decoded_and_have_no_weight():
    keypoints = separate_instances()
    valid, visible = torch.tensor([[True, False, True]] * 2), all_visible(keypoints)
    visible[0, 2] = 0
    keypoints[:, 1] = float('nan')
    targets = build().encode(keypoints, visible, valid)
    assert all(torch.isfinite(f).all() for f in targets.stage_fields(0).values())
    assert build().decode(targets.stage_fields(0)).image_indices.tolist() == [0, 1, 1]
    assert targets.weights['box'].tolist() == [[1, 0, 0], [1, 0, 1]]


def test_an_unlabeled_keypoint_has_no_score_and_does_not_widen_the_box():
    keypoints, visible = separate_instances(1), all_visible(separate_instances(1))
    visible[:, :, 2] = 0
    fields = build().encode(keypoints, visible).stage_fields(0)
    poses = build().decode(fields)
    assert (poses.keypoint_scores[:, 2] < 0.001).all()
    assert_close(poses.boxes[0], torch.tensor([0.0, 0, 20, 3]))


def test_instances_are_sorted_by_score_and_above_the_threshold():
    boxes = [[0, 0, 5, 5], [20, 0, 25, 5], [40, 0, 45, 5], [60, 0, 65, 5]]
    poses = build(score_threshold=0.3).decode(build_fields([0.4, 0.9, 0.29, 0.31], boxes))
    assert poses.keypoints[:, 0, 0].tolist() == [1, 0, 3]
    assert_close(poses.instance_scores, torch.tensor([0.9, 0.4, 0.31]))


def test_a_higher_scoring_box_suppresses_by_more_than_the_threshold():
    """The second shares 8/12 of the union with the first, the third a third."""
    boxes = [[0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10]]
    assert build().decode(build_fields([0.9, 0.8, 0.7], boxes)).keypoints[:, 0, 0].tolist() == [0, 2]
    assert len(build(nms_threshold=0.7).decode(build_fields([0.9, 0.8, 0.7], boxes))) == 3
    assert len(build(nms_threshold=0.2).decode(build_fields([0.9, 0.8, 0.7], boxes))) == 1


def test_the_numbers_of_instances_and_candidates_are_limited():
    boxes = [[20.0 * n, 0, 20 * n + 5, 5] for n in range(6)]
    fields = build_fields([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], boxes)
    assert build(max_instances=2).decode(fields).keypoints[:, 0, 0].tolist() == [0, 1]
    assert build(nms_pre=4).decode(fields).keypoints[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_what_the_limits_drop_is_logged(caplog):
    caplog.set_level('INFO', logger='poseplug')
    boxes = [[20.0 * n, 0, 20 * n + 5, 5] for n in range(6)]
    fields = build_fields([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], boxes)
    build(nms_pre=6, max_instances=6).decode(fields)
    assert caplog.text == ''
    build(nms_pre=4, max_instances=3).decode(fields)
    assert (
        'image 0: nms_pre=4 dropped 2 of 6 cells above score_threshold, max_instances=3 dropped 1 of 4 instances'
        in caplog.text
    )


def test_an_image_does_not_depend_on_its_batch():
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(3, 40, 2, generator=generator) * 50
    fields = {
        'score': torch.randn(3, 40, generator=generator),
        'box': torch.cat([low, low + 30], dim=-1),
        'visible': torch.randn(3, 40, 3, generator=generator),
        'keypoints': torch.randn(3, 40, 3, 2, generator=generator),
    }
    whole = build().decode(fields).split_by_image(3)
    for n, poses in enumerate(whole):
        alone = build().decode({name: f[n : n + 1] for name, f in fields.items()})
        assert 0 < len(alone) < 40
        assert_close(poses.keypoints, alone.keypoints)
        assert_close(poses.boxes, alone.boxes)


@pytest.mark.parametrize('shape', [(0, 5), (2, 0)])
def test_no_cell_has_no_instance(shape):
    fields = {
        'score': torch.zeros(shape),
        'box': torch.zeros(*shape, 4),
        'visible': torch.zeros(*shape, 3),
        'keypoints': torch.zeros(*shape, 3, 2),
    }
    assert build().decode(fields).keypoints.shape == (0, 3, 2)


def test_scores_of_nan_are_no_instance():
    fields = build_fields([0.9, 0.8], [[0, 0, 5, 5], [20, 0, 25, 5]])
    fields['score'][0, 0] = float('nan')
    assert build().decode(fields).keypoints[:, 0, 0].tolist() == [1]


def test_flipped_fields_of_flipped_instances_are_decoded_to_the_instances():
    keypoints = separate_instances()
    poses = build().decode(build().encode(keypoints, all_visible(keypoints)).stage_fields(0))
    flipped = flip_input_keypoints(build(), keypoints)
    unflipped = build().decode(build().flip(build().encode(flipped, all_visible(flipped)).stage_fields(0)))
    assert_close(unflipped.keypoints, poses.keypoints)
    assert_close(unflipped.boxes, poses.boxes)


def test_flipping_twice_is_the_identity():
    fields = build().encode(separate_instances(), all_visible(separate_instances())).stage_fields(0)
    for name, field in build().flip(build().flip(fields)).items():
        assert_close(field, fields[name])


def test_bfloat16_is_decoded_in_single_precision():
    fields = {
        n: f.bfloat16()
        for n, f in build().encode(separate_instances(), all_visible(separate_instances())).stage_fields(0).items()
    }
    poses = build().decode(fields)
    assert poses.boxes.dtype == torch.float32
    assert_close(poses.keypoints, separate_instances().flatten(0, 1), atol=0.5, rtol=0)


def test_fields_are_gathered_by_cell_also_where_they_are_common_to_all_images():
    fields = {'score': torch.arange(6.0).view(2, 3), 'points': torch.arange(6.0).view(3, 2)}
    fields['strides'] = torch.tensor([8.0, 16.0, 32.0])
    gathered = gather_cell_fields(fields, torch.tensor([1, 0]), torch.tensor([2, 0]))
    assert gathered['score'].tolist() == [5, 0]
    assert gathered['points'].tolist() == [[4, 5], [0, 1]]
    assert gathered['strides'].tolist() == [32, 8]


def test_settings_are_frozen_and_survive_copying():
    with pytest.raises(FrozenInstanceError):
        build().score_threshold = 0.5
    assert (
        copy.deepcopy(build(max_instances=7))
        == pickle.loads(pickle.dumps(build(max_instances=7)))
        == build(max_instances=7)
    )


@pytest.mark.parametrize(
    'settings', [dict(score_threshold=1.0), dict(nms_threshold=1.5), dict(max_instances=0), dict(nms_pre=0)]
)
def test_a_setting_that_cannot_be_is_an_error(settings):
    with pytest.raises(ConfigError, match=f'DenseInstances: {next(iter(settings))} is '):
        build(**settings)
