"""tools/compare: our side of the comparison, and what is made of both sides' times. It needs no other toolbox."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / 'tools/compare'
BATCH = ('encode msra', 'encode dark', 'encode udp', 'encode simcc', 'decode dark', 'decode udp', 'decode simcc')


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


class Recorded:
    """A side whose turns take the given seconds."""

    def __init__(self, answer, *seconds):
        self.answer, self.seconds, self.asked = answer, list(seconds), []

    def prepare(self, row, threads):
        return dict(answer=self.answer, facts={})

    def ask(self, row, threads, lasting, clock):
        self.asked.append((row, threads, lasting, clock))
        return dict(seconds=self.seconds.pop(0))


def row_of(compare, **settings):
    return compare['rows'].Row('fast', 'person', **{'other': 'slow', 'turns': 3, **settings})


def measured(compare, monkeypatch, row):
    """The result where ours takes 1, 9 and 2 seconds and the other 20, 1 and 30."""
    monkeypatch.setattr(compare['rows'], 'REST', 0)
    return compare['rows'].measure(row, Recorded([1.0, 2.0], 1, 9, 2), Recorded([1.5, 1.75], 20, 1, 30))


def test_the_ratio_is_that_of_the_medians_and_the_answers_are_compared(compare, monkeypatch):
    result = measured(compare, monkeypatch, row_of(compare, least=10))
    assert (result.ours, result.other, result.ratio, result.target, result.reached) == (2, 20, 10, '>= 10', True)
    assert result.details['answers differ by at most'] == 0.5


def test_a_row_without_a_target_is_not_judged(compare, monkeypatch):
    result = measured(compare, monkeypatch, row_of(compare))
    assert (result.ratio, result.target, result.reached) == (10, '', None)


def test_a_missed_target_is_shown_as_missed(compare, monkeypatch):
    assert measured(compare, monkeypatch, row_of(compare, least=10.5)).reached is False


def test_threads_that_are_asked_for_replace_those_of_a_row_and_need_the_clock_on_the_wall(compare):
    row = row_of(compare, clock='cpu')
    assert row.on(None) is row
    assert (row.on(1).threads, row.on(1).clock) == (1, 'cpu')
    assert (row.on(2).threads, row.on(2).clock) == (2, 'wall')


def test_every_row_is_known_to_the_sides_that_it_names(compare):
    for row in compare['rows'].ROWS:
        assert {row.name, row.base or row.name} <= set(compare['poseplug_side'].ROWS)
        assert row.other is None or row.other in compare['mmpose_side'].ROWS


@pytest.mark.parametrize('name', BATCH)
def test_our_side_answers_two_numbers_or_one_sum_a_joint(compare, name):
    task = compare['poseplug_side'].ROWS[name](Path())
    answer = np.array(task.answer(task.action()), dtype=float)
    assert task.units == 32
    assert answer.shape == (32 * 17 * (1 if name in BATCH[:3] else 2),)
    assert np.isfinite(answer).all()


def test_the_places_that_dark_reads_in_the_maps_are_those_where_they_were_drawn(compare):
    task = compare['poseplug_side'].ROWS['decode dark'](Path())
    cells = np.array(task.answer(task.action())).reshape(32, 17, 2) / 4
    size = np.array(compare['inputs'].GRID)
    drawn = np.random.default_rng(1).uniform(3, size - 4, (32, 17, 2))
    assert np.quantile(abs(cells - drawn), 0.95) < 0.1


@pytest.mark.parametrize('clusters', [1000, 50])
def test_the_people_kept_are_the_best_of_each_cluster(compare, clusters):
    _, scores, _ = compare['inputs'].crowd(1000, clusters)
    task = compare['poseplug_side'].suppression(clusters)(Path())
    groups = np.arange(1000) % clusters
    best = [max(np.flatnonzero(groups == g), key=lambda i: scores[i]) for g in range(clusters)]
    assert sorted(task.answer(task.action())) == sorted(best)


def test_a_turn_goes_on_for_as_long_as_it_is_asked_to(compare, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['side', '.'])
    calls, cores = [], torch.get_num_threads()
    rows = {'count': lambda root: compare['turns'].Task(lambda: calls.append(1), units=2)}
    tasks: dict = {}
    first = compare['turns'].turn(rows, tasks, 'count', cores, 0.0, 'wall')
    assert (first, len(calls)) == (dict(answer=None, facts={}), 1)
    once = compare['turns'].turn(rows, tasks, 'count', cores, 0.0, 'wall')
    assert len(calls) == 2
    assert once['seconds'] > 0
    many = compare['turns'].turn(rows, tasks, 'count', cores, 0.01, 'cpu')
    assert 0.01 <= 2 * many['seconds'] * (len(calls) - 2) < 0.5


def test_a_comparison_says_which_python_and_which_rows_it_needs(root, tmp_path):
    def told(*arguments: str) -> str:
        command = [sys.executable, 'tools/benchmark.py', '--against', 'mmpose', *arguments]
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'}
        )
        assert done.returncode
        return done.stderr

    assert 'needs --mmpose-python' in told()
    assert 'no row begins with encod udp' in told('--mmpose-python', sys.executable, 'encod udp')
