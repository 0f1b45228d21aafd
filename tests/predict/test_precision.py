"""Reduced precision, its check, the flip test and the threads of a prediction."""

import json

import numpy as np
import pytest
import torch

from poseplug import Predictor
from poseplug.core import processors
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.predict import precision
from poseplug.predict.precision import PrecisionChoice, measure_differences, set_num_threads


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (120, 90, 3), dtype=np.uint8)


@pytest.fixture
def instructions(monkeypatch):
    monkeypatch.setattr(precision, 'has_bfloat16_instructions', lambda: True)


def test_bf16_and_fp32_agree_closely_and_differ(image):
    full, reduced = (Predictor(device='cpu', precision=name)(image)[0] for name in ('fp32', 'bf16'))
    assert full.keypoint_scores.dtype == reduced.keypoint_scores.dtype == np.float32
    assert 0 < np.abs(full.keypoint_scores - reduced.keypoint_scores).max() < 0.05


@pytest.mark.parametrize(('offset', 'expected'), [(0.05, 'bf16'), (0.2, 'fp32')])
def test_auto_takes_bf16_if_the_keypoints_of_the_first_inputs_stay(instructions, image, monkeypatch, offset, expected):
    predictor = Predictor(device='cpu', precision='auto')
    network, original, used = predictor.model.network, predictor.model.predict, []

    def predict(batch):
        used.append(network.compute_dtype)
        shift = 0.0 if network.compute_dtype is None else offset
        network.compute_dtype, before = None, network.compute_dtype
        poses = original(batch)
        network.compute_dtype = before
        return [Poses(each.keypoints + shift, each.keypoint_scores + 1, each.instance_scores) for each in poses]

    monkeypatch.setattr(predictor.model, 'predict', predict)
    results = predictor([image] * 12, batch_size=4)
    assert len(results) == 12
    assert predictor.precision.name == expected
    assert predictor.precision.reason.startswith(f'{expected}: in 8 inputs bf16 moves keypoints by ')
    low = torch.bfloat16
    assert used == [None, low, None, low, low if expected == 'bf16' else None]
    # What is returned while it is checked is fp32's.
    assert np.array_equal(results[0].keypoints, results[7].keypoints)
    assert np.allclose(results[8].keypoints - results[0].keypoints, offset if expected == 'bf16' else 0, atol=1e-3)


def test_auto_is_fp32_without_instructions_or_before_the_check(monkeypatch, image):
    monkeypatch.setattr(precision, 'has_bfloat16_instructions', lambda: False)
    predictor = Predictor(device='cpu', precision='auto')
    assert (predictor.precision.name, predictor.precision.is_open) == ('fp32', False)
    assert 'no instructions for bf16' in predictor.precision.reason
    monkeypatch.setattr(precision, 'has_bfloat16_instructions', lambda: True)
    predictor = Predictor(device='cpu', precision='auto')
    predictor(image)
    assert predictor.precision.reason == 'fp32: fewer than 8 inputs, not checked'
    assert predictor.model.network.compute_dtype is None


def test_differences_are_those_of_keypoints_that_score_enough():
    points = np.array([[[0.0, 0.0], [5.0, 5.0]]])
    poses = Poses(points, np.array([[0.9, 0.01]]), np.array([0.5]))
    other = Poses(points + [[[3, 4], [9, 9]]], np.array([[0.9, 0.01]]), np.array([0.5]))
    assert measure_differences(poses, other).tolist() == [5.0]
    assert measure_differences(poses, other[[]]).tolist() == [np.inf]


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="one of auto, fp32, bf16, fp16; got 'int8'"):
        PrecisionChoice(None, 'int8')


def test_threads_are_those_that_are_asked_for_or_the_processors_that_are_allowed(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
        monkeypatch.setattr(precision, 'count_allowed_processors', lambda: 1.5)
        torch.set_num_threads(3)
        assert set_num_threads() == torch.get_num_threads() == 1
        assert set_num_threads(2) == torch.get_num_threads() == 2
        monkeypatch.setenv('OMP_NUM_THREADS', '7')
        assert set_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_processors_are_limited_by_affinity_and_quota(monkeypatch):
    monkeypatch.setattr(processors.os, 'sched_getaffinity', lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(processors.Path, 'read_text', lambda self: '150000 100000')
    assert processors.count_allowed_processors() == 1.5
    monkeypatch.setattr(processors.Path, 'read_text', lambda self: 'max 100000')
    assert processors.count_allowed_processors() == 4


def test_without_flip_test_the_command_predicts_as_the_model_without_it(command, image, tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / 'a.png'), image)
    words = ('predict', tmp_path / 'a.png', '--device', 'cpu', '--threads', '1')
    code, printed, error = command(*words, '--no-flip', '--precision', 'bf16', '--out', tmp_path / 'out')
    assert code == 0, error
    assert 'precision: bf16, as asked for' in printed
    (written,) = json.loads((tmp_path / 'out' / 'results.json').read_text())['images'][0]['instances']
    flipped, plain = (Predictor(device='cpu', flip_test=value)(image)[0] for value in (None, False))
    scores = np.array(written['keypoints'])[:, 2]
    assert np.abs(scores - plain.keypoint_scores[0]).max() < np.abs(scores - flipped.keypoint_scores[0]).max()
