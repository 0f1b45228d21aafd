"""Speed and wait for data in the training curve, with a clock that is set by hand."""

import json
from types import SimpleNamespace

import torch

from poseplug.engine.hooks.progress import CURVE_FILE, ProgressHook


def test_an_evaluation_counts_neither_as_training_nor_as_waiting(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr('poseplug.engine.hooks.progress.time', SimpleNamespace(perf_counter=lambda: clock.now))
    runner = SimpleNamespace(
        iter=0,
        max_iters=4,
        rank=0,
        world_size=1,
        work_dir=str(tmp_path),
        visualizer=None,
        train_loop=SimpleNamespace(step_batches=[range(4)]),  # four samples a step
        optim_wrapper=SimpleNamespace(get_lr=lambda: {'lr': [0.1]}),
    )
    hook = ProgressHook(interval=2, tensorboard=False)

    def run_step(wait_seconds, step_seconds):
        clock.now += wait_seconds
        hook.before_train_iter(runner, runner.iter)
        clock.now += step_seconds
        hook.after_train_iter(runner, runner.iter, outputs={'loss': torch.tensor(1.0)})
        runner.iter += 1

    def evaluate(seconds):
        hook.before_val(runner)
        clock.now += seconds
        hook.after_val_epoch(runner, {'PCK@0.2': 50.0})
        clock.now += 7.0  # other hooks save the weights
        hook.after_val(runner)

    hook.before_train(runner)
    run_step(0.5, 1.5)
    evaluate(100.0)  # in the middle of an interval
    run_step(0.5, 1.5)
    evaluate(100.0)  # between two intervals
    run_step(1.5, 0.5)
    run_step(1.5, 0.5)
    hook.after_run(runner)
    lines = [json.loads(line) for line in (tmp_path / CURVE_FILE).read_text().splitlines()]
    rows = [line for line in lines if 'samples_per_second' in line]
    # 2 steps of 4 samples in 2 x 2 seconds
    assert [row['samples_per_second'] for row in rows] == [2.0, 2.0]
    assert [row['data_wait_fraction'] for row in rows] == [0.25, 0.75]
