"""The short version of all goals of training runs, with few trials each, and their table."""

import os
import subprocess

import pytest

from poseplug.engine import launch
from poseplug.registry import METRICS
from tests.reliability import crafted, faults, kills, ranks, resumes, table, trials
from tests.reliability.rows import Row

SHORT = dict(
    KILLED_RUNS=3, FAULT_POINTS=2, POINTERS=2, RESUME_CELLS=1, WORKER_COUNTS=2, STOPPED_RUNS=2, LONG_STEPS=10,
    DISK_FAULTS=2, INVALID_STEPS=2, BIT_FLIPS=30, LOADED_MB=8, CRAFTED_FILES=3, RUN_KINDS=2, RANK_TRIALS=1,
    RANK_STEPS=20, RANKS='fork',
)  # fmt: skip
GOALS = {**kills.GOALS, **resumes.GOALS, **faults.GOALS, **ranks.GOALS, **crafted.GOALS}


@pytest.fixture(scope='module', autouse=True)
def _restore_engine():
    """Restore what trials change of the engine."""
    original = launch.Runner
    yield
    launch.Runner = original
    METRICS._module_dict.pop('RisingScore', None)
    trials.warm_up.cache_clear()


@pytest.mark.parametrize('goal', GOALS)
def test_a_few_trials_of_each_goal_reach_it(monkeypatch, goal):
    for name, value in SHORT.items():
        monkeypatch.setenv(name, str(value))
    result, ok = GOALS[goal][1]()
    assert ok, result


def test_the_table_has_all_scripts_that_measure_goals():
    files = {f.stem: f.read_text() for f in table.HERE.glob('*.py') if not f.stem.startswith('test_')}
    scripts = {name for name, text in files.items() if 'print_rows(' in text} - {'rows'}
    assert scripts == set(table.SCRIPTS)


def test_the_table_has_one_line_per_goal_and_bars_in_cells_are_escaped():
    rows = [Row('R1', 'a|b', 'two\nlines', True, 1.5), Row('R2', 'c', 'd', False, 2.0)]
    lines = table.format_table(rows).splitlines()
    assert lines[2:] == ['| R1 | a\\|b | two lines | yes | 1.5 |', '| R2 | c | d | no | 2 |']


def test_a_slurm_job_that_saved_is_requeued(tmp_path, root):
    """srun runs the two tasks of a node; both exit with 85, and scontrol is called to requeue the job."""
    stand_ins = {
        'srun': 'shift; for n in 0 1; do SLURM_PROCID=$n SLURM_LOCALID=$n "$@" & done; wait -n; exit $?',
        'scontrol': 'if [ "$1" = show ]; then echo here; else echo "$@" >>"$LOG"; fi',
        'python': 'echo "$RANK/$WORLD_SIZE $LOCAL_RANK $MASTER_ADDR $*" >>"$LOG"; exit $CODE',
    }
    for name, code in stand_ins.items():
        (tmp_path / name).write_text(f'#!/usr/bin/env bash\n{code}\n')
        (tmp_path / name).chmod(0o755)
    for code, is_requeued in ((85, True), (0, False), (1, False)):
        log = tmp_path / f'log_{code}'
        environment = {
            **os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'LOG': str(log), 'CODE': str(code),
            'SLURM_JOB_ID': '7', 'SLURM_JOB_NODELIST': 'here', 'SLURM_NTASKS': '2', 'SLURM_NTASKS_PER_NODE': '2',
        }  # fmt: skip
        command = ['bash', str(root / 'tools/slurm.sh'), 'config.py', '--work-dir', 'a b']
        process = subprocess.run(command, env=environment, capture_output=True, cwd=root)
        assert process.returncode == code, process.stderr
        lines = log.read_text().splitlines()
        assert {'0/2 0 here tools/train.py config.py --work-dir a b --auto-resume',
                '1/2 1 here tools/train.py config.py --work-dir a b --auto-resume'} >= set(lines[:1])  # fmt: skip
        assert ('requeue 7' in lines) == is_requeued
