"""The short version of every goal of runs: a trial or a few of each, and the table that they are put into."""

import os
import subprocess

import pytest

from poseplug.engine import launch
from poseplug.registry import METRICS
from tests.reliability import crafted, faults, kills, ranks, resumes, table, trials
from tests.reliability.rows import Row

SHORT = dict(
    KILLED_RUNS=3, FAULT_POINTS=2, POINTERS=2, RESUME_CELLS=1, WORKER_COUNTS=2, STOPPED_RUNS=2, LONG_STEPS=10,
    DISK_FAULTS=2, SPOILED_STEPS=2, BIT_FLIPS=30, LOADED_MB=8, CRAFTED_FILES=3, RUN_KINDS=2, RANK_TRIALS=1,
    RANK_STEPS=20, RANKS='fork',
)  # fmt: skip
GOALS = {**kills.GOALS, **resumes.GOALS, **faults.GOALS, **ranks.GOALS, **crafted.GOALS}


@pytest.fixture(scope='module', autouse=True)
def _as_it_was():
    """What trials change of the engine is taken back."""
    usual = launch.Runner
    yield
    launch.Runner = usual
    METRICS._module_dict.pop('RisingScore', None)
    trials.warm.cache_clear()


@pytest.mark.parametrize('goal', GOALS)
def test_a_few_trials_of_each_goal_reach_it(monkeypatch, goal):
    for name, value in SHORT.items():
        monkeypatch.setenv(name, str(value))
    reached, right = GOALS[goal][1]()
    assert right, reached


def test_the_scripts_of_the_table_are_all_that_measure_goals():
    files = {f.stem: f.read_text() for f in table.HERE.glob('*.py') if not f.stem.startswith('test_')}
    scripts = {name for name, text in files.items() if 'print_rows(' in text} - {'rows'}
    assert scripts == set(table.SCRIPTS)


def test_the_table_has_a_line_a_goal_and_bars_are_no_columns():
    rows = [Row('R1', 'a|b', 'two\nlines', True, 1.5), Row('R2', 'c', 'd', False, 2.0)]
    lines = table.table(rows).splitlines()
    assert lines[2:] == ['| R1 | a\\|b | two lines | yes | 1.5 |', '| R2 | c | d | no | 2 |']


def test_a_job_of_a_scheduler_that_saved_is_queued_again(tmp_path, root):
    """srun runs the two tasks of a node; both leave with 85, and scontrol is asked to queue the job again."""
    fakes = {
        'srun': 'shift; for n in 0 1; do SLURM_PROCID=$n SLURM_LOCALID=$n "$@" & done; wait -n; exit $?',
        'scontrol': 'if [ "$1" = show ]; then echo here; else echo "$@" >>"$TOLD"; fi',
        'python': 'echo "$RANK/$WORLD_SIZE $LOCAL_RANK $MASTER_ADDR $*" >>"$TOLD"; exit $CODE',
    }
    for name, code in fakes.items():
        (tmp_path / name).write_text(f'#!/usr/bin/env bash\n{code}\n')
        (tmp_path / name).chmod(0o755)
    for code, queued in ((85, True), (0, False), (1, False)):
        told = tmp_path / f'told_{code}'
        environment = {
            **os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'TOLD': str(told), 'CODE': str(code),
            'SLURM_JOB_ID': '7', 'SLURM_JOB_NODELIST': 'here', 'SLURM_NTASKS': '2', 'SLURM_NTASKS_PER_NODE': '2',
        }  # fmt: skip
        command = ['bash', str(root / 'tools/slurm.sh'), 'config.py', '--work-dir', 'a b']
        done = subprocess.run(command, env=environment, capture_output=True, cwd=root)
        assert done.returncode == code, done.stderr
        lines = told.read_text().splitlines()
        assert {'0/2 0 here tools/train.py config.py --work-dir a b --auto-resume',
                '1/2 1 here tools/train.py config.py --work-dir a b --auto-resume'} >= set(lines[:1])  # fmt: skip
        assert ('requeue 7' in lines) == queued
