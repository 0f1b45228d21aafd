"""Two processes that are killed and resumed on shards end with the weights of two undisturbed ones on files.

Run: pytest -m slow tests/scale/test_two_process_shards.py
"""

import functools
import os
import signal

import pytest
from torch.multiprocessing import ProcessExitedException

from poseplug.data.shard_writer import write_shards
from poseplug.data.sources.lsp import LSPSource
from poseplug.engine import dataloaders, launch
from poseplug.engine.loops import TrainLoop
from poseplug.files.weights import load_checkpoint
from tests.engine.test_distributed import run_in_processes, train_rank


def train_until_kill(step, cfg, folder, rank):
    """Train until a step starts, at which the second process is killed and the first one with it."""
    original_run_step = TrainLoop.run_step

    def run_step(self, batches):
        if self._iter == step and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        original_run_step(self, batches)

    TrainLoop.run_step = run_step
    launch.train(cfg, folder)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:This DataLoader will create')  # more workers than cores, as on a machine of one
@pytest.mark.parametrize('num_workers', [0, 1, 2])
def test_killed_processes_on_shards_end_like_undisturbed_ones_on_files(
    tiny_config, tiny_data, tmp_path, monkeypatch, are_equal, num_workers
):
    # on two cores two processes would get one worker each
    monkeypatch.setattr(dataloaders, 'count_usable_cores', lambda: 4)
    source = LSPSource(tiny_data, split='train')
    records, _ = source.load()
    size = max(record.path.stat().st_size for record in records)
    shards = write_shards(records, source.skeleton, tmp_path / 'data', size + 4096)
    options = {'train_dataloader.batch_size': 2, 'train_dataloader.num_workers': num_workers}
    files = tiny_config(**options)
    in_shards = tiny_config(
        **options, **{'train_dataloader.dataset.sources': [dict(type='ShardSource', data_root=str(shards))]}
    )
    run_in_processes(functools.partial(train_rank, files, tmp_path / 'files', False))
    with pytest.raises(ProcessExitedException, match='signal SIGKILL'):
        run_in_processes(functools.partial(train_until_kill, 4, in_shards, tmp_path / 'shards'))
    assert load_checkpoint(tmp_path / 'shards')['meta']['step'] == 3
    run_in_processes(functools.partial(train_rank, in_shards, tmp_path / 'shards', True))
    a, b = load_checkpoint(tmp_path / 'files'), load_checkpoint(tmp_path / 'shards')
    assert a['meta']['step'] == b['meta']['step'] == 6
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'random_state'):
        assert are_equal(a.get(part), b.get(part)), part
