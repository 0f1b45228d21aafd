"""A search whose process is killed at several points, and started again, ends with the trials of an undisturbed one.

Run: pytest -m slow tests/scale/test_killed_search.py
"""

import csv
import json
import signal
import subprocess
import sys
import time

import pytest

from poseplug.files.weights import load_checkpoint
from tests.analysis.test_tuning import CONFIG, RATE, add_validation
from tests.conftest import format_cli_options, tiny_options

NUM_TRIALS = 4
# A process is killed as soon as it has written this: a checkpoint within a training, the settings of a trial that has
# not begun, and the result of a trial.
KILLS = ('trials/0000/run/step_*.pth', 'trials/0001/settings.json', 'trials/0002/trial.json')


@pytest.fixture
def start_search(tiny_data, tmp_path):
    """A function that starts `poseplug tune` with a folder for its results."""
    hooks = dict(checkpoint=dict(type='SaveHook', interval=1), progress=dict(type='ProgressHook', interval=1))
    options = {**tiny_options(tiny_data), 'param_scheduler': None, 'default_hooks': hooks}
    space = tmp_path / 'space.json'
    space.write_text(json.dumps({RATE: dict(low=1e-4, high=1e-2, log=True), 'model.supervision': ['all', 'last']}))
    arguments = ['--space', space, '--trials', str(NUM_TRIALS), *format_cli_options(add_validation(options))]

    def start(out):
        command = [sys.executable, '-m', 'poseplug', 'tune', CONFIG, '--out', out, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def finish_search(process):
    """Wait for a search to end; returns what it printed."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return output


def kill_search(process, out, pattern):
    """Kill a search by SIGKILL as soon as it has written a file."""
    while not list(out.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def read_trials(out):
    """The rows of a search without the seconds, which a killed one has not, and without its folder's name."""
    with (out / 'rows.csv').open() as lines:
        return [{key: value for key, value in row.items() if key != 'seconds'} for row in csv.DictReader(lines)]


@pytest.mark.slow
def test_a_search_that_is_killed_and_resumed_ends_with_the_same_best(start_search, tmp_path, are_equal):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    printed = finish_search(start_search(whole))
    for pattern in KILLS:
        kill_search(start_search(killed), killed, pattern)
        assert not (killed / 'rows.csv').exists()
    resumed = finish_search(start_search(killed))
    assert read_trials(killed) == read_trials(whole)
    assert len(read_trials(whole)) == NUM_TRIALS
    # the lines of the best trial and of its command
    best = [
        [line for line in text.replace(str(out), '').splitlines() if line.startswith(('Best', 'Train with'))]
        for text, out in ((printed, whole), (resumed, killed))
    ]
    assert best[0] == best[1]
    assert best[0]
    for number in range(NUM_TRIALS):
        weights = [load_checkpoint(out / f'trials/{number:04}/run') for out in (whole, killed)]
        for part in ('state_dict', 'optimizer', 'random_state'):
            assert are_equal(weights[0][part], weights[1][part]), (number, part)
