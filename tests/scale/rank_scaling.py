"""Measures training by one and by two processes (gloo), and what a formula makes of the exchange of gradients alone.

Run: python -m tests.scale.rank_scaling FOLDER [STEPS]
"""

import functools
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from poseplug.config.load import load_config
from poseplug.data.synthetic import write_lsp
from poseplug.engine import distributed, launch
from poseplug.engine.loops import TrainLoop
from tests.conftest import ROOT
from tests.engine.test_distributed import run_in_processes

BATCH_SIZE, NUM_WARM_UP = 8, 3  # samples of a process and step; the first steps allocate memory


def train_timed(cfg, folder, rank):
    """Train, and write seconds of processor and of wall-clock time per step, and of an exchange of the gradients."""
    clocks, original_run_step = [], TrainLoop.run_step

    def run_step(self, batches):
        original_run_step(self, batches)
        clocks.append((time.process_time(), time.perf_counter()))

    TrainLoop.run_step = run_step
    with distributed.process_group_context():
        model = launch.run_training(cfg, folder).model
        num_parameters = sum(values.numel() for values in model.parameters())
        exchange = measure_exchange(num_parameters) if dist.is_initialized() else [0.0, 0.0]
    steps = [[b - a for a, b in zip(x, y, strict=True)] for x, y in zip(clocks, clocks[1:], strict=False)]
    result = dict(steps=steps[NUM_WARM_UP:], exchange=exchange, num_parameters=num_parameters)
    (folder / f'rank_{rank}.json').write_text(json.dumps(result))


def measure_exchange(num_parameters: int) -> list[float]:
    """Seconds of processor and of wall-clock time that the sum of all gradients takes."""
    gradients, rounds = torch.zeros(num_parameters), []
    for _ in range(10):
        start = time.process_time(), time.perf_counter()
        dist.all_reduce(gradients)
        rounds.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def measure_ranks(folder: Path, num_ranks: int, num_steps: int) -> tuple[list[float], list[float], int]:
    """Median seconds per step and per exchange, each (processor, wall clock), and the number of parameters."""
    data = folder / 'data'
    if not data.exists():
        write_lsp(data, num_images=80, num_train=64)
    source = dict(type='LSPSource', data_root=str(data), split='train')
    loader = {'train_dataloader.batch_size': BATCH_SIZE, 'train_dataloader.num_workers': 0}
    options = {**loader, 'train_dataloader.dataset.sources': [source], 'train_cfg.max_steps': num_steps}
    cfg = load_config(ROOT / 'configs/cpm/cpm_synthetic.py', {**options, 'param_scheduler': None})
    out = folder / f'ranks_{num_ranks}'
    out.mkdir()
    run_in_processes(functools.partial(train_timed, cfg, out), num_ranks)
    results = [json.loads((out / f'rank_{rank}.json').read_text()) for rank in range(num_ranks)]
    steps = [step for result in results for step in result['steps']]
    medians = [statistics.median(column) for column in zip(*steps, strict=True)]
    return medians, results[0]['exchange'], results[0]['num_parameters']


if __name__ == '__main__':
    folder, num_steps = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 23
    folder.mkdir(parents=True)
    one, _, num_parameters = measure_ranks(folder, 1, num_steps)
    two, exchange, _ = measure_ranks(folder, 2, num_steps)
    print(f'{num_parameters:,} parameters, {BATCH_SIZE} samples of each process per step')
    for name, a, b, c in zip(('processor', 'wall clock'), one, two, exchange, strict=True):
        print(
            f'{name}: {a * 1000:.0f} ms a step of one process, {b * 1000:.0f} ms of two, exchange {c * 1000:.1f} ms: '
            f'{a / b:.2f} of the samples per process, {a / (a + c):.2f} by the formula'
        )
