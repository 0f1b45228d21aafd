"""tools/compare: our side of the comparison, and how the times of both sides are judged. No other toolbox is needed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / 'tools/compare'
CODEC_ROWS = ('encode msra', 'encode dark', 'encode udp', 'encode simcc', 'decode dark', 'decode udp', 'decode simcc')


@pytest.fixture(scope='module')
def compare():
    """The modules of tools/compare by name, which find each other as they do in their own process."""
    names = ('inputs', 'turns', 'stand_ins', 'rows', 'poseplug_side', 'mmpose_side')
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: __import__(name) for name in names}
    finally:
        sys.path.remove(str(FOLDER))
        for name in names:
            sys.modules.pop(name, None)


class RecordedSide:
    """A side whose turns take the given seconds."""

    def __init__(self, answer, *seconds):
        self.answer, self.seconds = answer, list(seconds)

    def prepare_row(self, row, threads):
        return dict(answer=self.answer, facts={})

    def request_turn(self, row, threads, min_seconds, clock):
        return dict(seconds=self.seconds.pop(0))


def create_row(compare, **settings):
    return compare['rows'].Row('fast', 'instance', **{'other': 'slow', 'turns': 3, **settings})


def measure_row(compare, monkeypatch, row):
    """The result where ours takes 1, 9 and 2 seconds and the other 20, 1 and 30."""
    monkeypatch.setattr(compare['rows'], 'REST_SECONDS', 0)
    ours, other = RecordedSide([1.0, 2.0], 1, 9, 2), RecordedSide([1.5, 1.75], 20, 1, 30)
    return compare['rows'].measure_row(row, ours, other)


def test_the_ratio_is_that_of_the_medians_and_the_answers_are_compared(compare, monkeypatch):
    result = measure_row(compare, monkeypatch, create_row(compare, min_ratio=10))
    assert (result.ours, result.other, result.ratio, result.target, result.reached) == (2, 20, 10, '>= 10', True)
    assert result.details['answers differ by at most'] == 0.5


def test_a_row_without_a_target_is_not_judged(compare, monkeypatch):
    result = measure_row(compare, monkeypatch, create_row(compare))
    assert (result.ratio, result.target, result.reached) == (10, '', None)


def test_a_missed_target_is_shown_as_missed(compare, monkeypatch):
    assert measure_row(compare, monkeypatch, create_row(compare, min_ratio=10.5)).reached is False
    result = measure_row(compare, monkeypatch, create_row(compare, max_ratio=0.05))
    assert (result.ratio, result.target, result.reached) == (0.1, '<= 0.05', False)


def test_requested_threads_replace_those_of_a_row_and_several_need_the_wall_clock(compare):
    row = create_row(compare, clock='cpu')
    assert row.with_threads(None) is row
    assert (row.with_threads(1).threads, row.with_threads(1).clock) == (1, 'cpu')
    assert (row.with_threads(2).threads, row.with_threads(2).clock) == (2, 'wall')


def test_every_row_exists_on_the_sides_that_it_names(compare):
    for row in compare['rows'].ROWS:
        assert {row.name, row.base or row.name} <= set(compare['poseplug_side'].ROWS)
        assert row.other is None or row.other in compare['mmpose_side'].ROWS


@pytest.mark.parametrize('name', CODEC_ROWS)
def test_our_side_answers_one_sum_or_two_numbers_per_keypoint(compare, name):
    task = compare['poseplug_side'].ROWS[name](Path())
    answer = np.array(task.convert_result(task.action()), dtype=float)
    assert task.num_units == 32
    assert answer.shape == (32 * 17 * (1 if name in CODEC_ROWS[:3] else 2),)
    assert np.isfinite(answer).all()


def test_dark_decodes_the_positions_at_which_the_heatmaps_were_drawn(compare):
    task = compare['poseplug_side'].ROWS['decode dark'](Path())
    cells = np.array(task.convert_result(task.action())).reshape(32, 17, 2) / 4
    size = np.array(compare['inputs'].GRID_SIZE)
    expected = np.random.default_rng(1).uniform(3, size - 4, (32, 17, 2))
    assert np.quantile(abs(cells - expected), 0.95) < 0.1


@pytest.mark.parametrize('num_clusters', [1000, 50])
def test_suppression_keeps_the_highest_scoring_instance_of_each_cluster(compare, num_clusters):
    _, scores, _ = compare['inputs'].create_clusters(1000, num_clusters)
    task = compare['poseplug_side'].suppress_clusters(num_clusters)(Path())
    clusters = np.arange(1000) % num_clusters
    best = [max(np.flatnonzero(clusters == c), key=lambda i: scores[i]) for c in range(num_clusters)]
    assert sorted(task.convert_result(task.action())) == sorted(best)


def test_our_side_assigns_about_as_many_cells_as_the_other(compare):
    task = compare['poseplug_side'].ROWS['simota'](Path())
    assert task.convert_result(task.action()) == [403]


def test_a_turn_lasts_as_long_as_requested(compare, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['side', '.'])
    calls, num_threads = [], torch.get_num_threads()
    rows = {'count': lambda data_root: compare['turns'].Task(lambda: calls.append(1), num_units=2)}
    tasks: dict = {}
    first = compare['turns'].run_turn(rows, tasks, 'count', num_threads, 0.0, 'wall')
    assert (first, len(calls)) == (dict(answer=None, facts={}), 1)
    short = compare['turns'].run_turn(rows, tasks, 'count', num_threads, 0.0, 'wall')
    assert len(calls) == 2
    assert short['seconds'] > 0
    long = compare['turns'].run_turn(rows, tasks, 'count', num_threads, 0.01, 'cpu')
    assert 0.01 <= 2 * long['seconds'] * (len(calls) - 2) < 0.5


def test_a_comparison_needs_another_python_and_known_rows(root):
    def get_error(*args: str) -> str:
        command = [sys.executable, 'tools/benchmark.py', '--against', 'mmpose', *args]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        process = subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment)
        assert process.returncode
        return process.stderr

    assert 'needs --mmpose-python' in get_error()
    assert 'no row begins with encod udp' in get_error('--mmpose-python', sys.executable, 'encod udp')
