"""Several processes train like one process with the same total batch, and a run may change their number."""

import functools
import os
import signal
import socket
import time

import pytest
import torch
import torch.multiprocessing as mp

from poseplug.core.errors import ConfigError
from poseplug.engine import distributed, launch
from poseplug.engine.hooks.save import SaveHook
from poseplug.engine.loops import TrainLoop
from poseplug.engine.sharding import shard_model
from poseplug.files.weights import load_checkpoint

NO_RANDOMNESS = {
    'model.backbone.norm_cfg': None,
    'model.head.norm_cfg': None,
    'model.head.first_layers': ((1, 16),),
}  # neither batch norm nor dropout
OPTIMIZER = dict(type='SGD', lr=1e-3, momentum=0.9)


def find_free_port() -> int:
    with socket.socket() as free_socket:
        free_socket.bind(('127.0.0.1', 0))
        return free_socket.getsockname()[1]


def run_as_rank(rank, world_size, port, function):
    """Call `function` in a process that looks as if torchrun had started it."""
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world_size),
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), GLOO_SOCKET_IFNAME='lo',
    )  # fmt: skip
    function(rank)


def run_in_processes(function, world_size=2):
    """Call a function with its rank in several processes at once."""
    arguments = (world_size, find_free_port(), function)
    context = mp.start_processes(run_as_rank, args=arguments, nprocs=world_size, join=False, start_method='fork')
    assert context is not None
    while not context.join():
        pass


def train_rank(cfg, folder, resume, rank):
    launch.train(cfg, folder, resume=resume)


def train_until(step, cfg, folder, rank):
    """Train until a step starts, and end without logging or saving anything."""
    original_run_step = TrainLoop.run_step

    def run_step(self, batches):
        if self._iter == step:
            raise InterruptedError
        original_run_step(self, batches)

    TrainLoop.run_step = run_step
    with pytest.raises(InterruptedError):
        launch.train(cfg, folder, resume='auto')


@pytest.fixture
def create_config(tiny_config):
    """A function from the batch size of one process, and further options, to a config without dropout."""

    def create(size, batch_norm=False, **options):
        cfg = tiny_config(**{**({} if batch_norm else NO_RANDOMNESS), 'model.head.first_layers': ((1, 16),), **options})
        cfg.train_dataloader.batch_size, cfg.optim_wrapper.optimizer = size, OPTIMIZER
        return cfg

    return create


def relative_difference(a, b):
    """The largest difference between the weights of two checkpoints, relative to the norm of the second ones."""
    a, b = (x['state_dict'] for x in (a, b))
    assert a.keys() == b.keys()
    return max(((a[n] - b[n]).float().norm() / (b[n].float().norm() + 1e-3)).item() for n in a)


@pytest.mark.parametrize('kind', ['ddp', 'fsdp'])
def test_two_processes_equal_one_with_twice_the_batch(create_config, tmp_path, kind):
    """Weights, averages, momentum and the curve over 6 steps, with clipping, evaluation and frozen parameters."""
    options = {'train_cfg.val_interval': 3, 'freeze': ['^backbone.vgg.*0.*weight$']}
    one = create_config(4, val=True, **options)
    two = create_config(2, val=True, **{'train_cfg.distributed': kind}, **options)
    for cfg in (one, two):
        cfg.optim_wrapper.clip_grad = dict(max_norm=1.0)
    run_in_processes(functools.partial(train_rank, two, tmp_path / 'two', False))
    launch.train(one, tmp_path / 'one')
    a, b = load_checkpoint(tmp_path / 'one'), load_checkpoint(tmp_path / 'two')
    assert relative_difference(b, a) < 1e-4
    assert (len(a['random_state']), len(b['random_state'])) == (1, 2)


def test_with_sync_bn_two_processes_equal_one_with_the_larger_batch_and_accumulation(create_config, tmp_path):
    """Two processes of 1 sample that accumulate 2 batches normalize the samples of one process of 2."""
    one = create_config(2, batch_norm=True, **{'optim_wrapper.accumulative_counts': 2})
    two = create_config(
        1, batch_norm=True, **{'optim_wrapper.accumulative_counts': 2, 'train_cfg.distributed': dict(sync_bn=True)}
    )
    run_in_processes(functools.partial(train_rank, two, tmp_path / 'two', False))
    launch.train(one, tmp_path / 'one')
    assert relative_difference(load_checkpoint(tmp_path / 'two'), load_checkpoint(tmp_path / 'one')) < 1e-4


def test_a_run_resumes_exactly_with_as_many_processes_and_nearly_with_others(
    tiny_config, create_config, tmp_path, are_equal
):
    """With dropout and batch norm in two processes; without them from one process to FSDP in two, and back."""
    cfg = tiny_config()
    cfg.train_dataloader.batch_size = 2
    run_in_processes(functools.partial(train_until, 4, cfg, tmp_path / 'two'))
    run_in_processes(functools.partial(train_rank, cfg, tmp_path / 'two', 'auto'))
    run_in_processes(functools.partial(train_rank, cfg, tmp_path / 'undisturbed', False))
    a, b = load_checkpoint(tmp_path / 'two'), load_checkpoint(tmp_path / 'undisturbed')
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'random_state'):
        assert are_equal(a[part], b[part]), part

    saving = {'default_hooks.checkpoint.interval': 2}
    one, two = create_config(4, **saving), create_config(2, **saving, **{'train_cfg.distributed': 'fsdp'})
    run_in_processes(functools.partial(train_until, 3, one, tmp_path / 'mixed'), world_size=1)
    run_in_processes(functools.partial(train_until, 5, two, tmp_path / 'mixed'))
    launch.train(one, tmp_path / 'mixed', resume=True)
    launch.train(one, tmp_path / 'plain')
    assert relative_difference(load_checkpoint(tmp_path / 'mixed'), load_checkpoint(tmp_path / 'plain')) < 1e-4


@pytest.mark.parametrize(('machines', 'is_shared'), [('1', False), ('2', True)])
def test_a_restarted_process_does_not_find_addresses_of_an_earlier_attempt(monkeypatch, machines, is_shared):
    """On several machines each counts its own attempts, and all attempts share one store."""
    store = torch.distributed.HashStore()
    monkeypatch.setattr(torch.distributed, 'rendezvous', lambda *_, **__: iter([(store, 1, 2)]))
    monkeypatch.setenv('GROUP_WORLD_SIZE', machines)
    for attempt in range(2):
        monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', str(attempt))
        rendezvous = distributed.create_rendezvous()
        assert (rendezvous['rank'], rendezvous['world_size']) == (1, 2)
        assert rendezvous['store'].check(['address of 0']) == (is_shared and attempt > 0)
        rendezvous['store'].set('address of 0', 'here')


@pytest.mark.parametrize(
    'spec', ['dp', dict(type='ddp', wrap_classes=['Block']), dict(type='fsdp', find_unused_parameters=True)]
)
def test_an_unknown_distributed_setting_is_an_error(tiny_config, tmp_path, spec):
    with pytest.raises(ConfigError, match=r"distributed is 'ddp', 'fsdp', or one of"):
        launch.train(tiny_config(**{'train_cfg.distributed': spec}), tmp_path)


def test_a_wrap_class_that_the_model_lacks_is_an_error():
    with pytest.raises(ConfigError, match=r'distributed.wrap_classes: the model has no Block; it has Linear'):
        shard_model(torch.nn.Linear(2, 2), wrap_classes=['Block'])


def test_evaluation_batches_are_distributed_and_merged_in_order(monkeypatch):
    """7 batches for 3 processes: 3 each; two processes repeat the first one, which is not counted again."""
    rank_batches = [list(distributed.RankBatches(range(7), rank, 3)) for rank in range(3)]
    assert rank_batches == [[0, 3, 6], [1, 4, 0], [2, 5, 0]]
    rounds = iter(zip(*rank_batches, strict=True))
    monkeypatch.setattr(distributed, 'all_gather_objects', lambda value: list(next(rounds)))
    assert list(distributed.merge_rank_results(rank_batches[0], 7)) == list(range(7))


def test_a_single_process_is_rank_0_of_1():
    calls = []
    distributed.run_on_main_process(lambda: calls.append(1))
    assert (distributed.get_rank(), distributed.get_world_size(), distributed.all_gather_objects(3), calls) == (
        0,
        1,
        [3],
        [1],
    )
    assert distributed.all_reduce_any(True)
    assert not distributed.all_reduce_any(False)
    with distributed.process_group_context():
        assert distributed.get_world_size() == 1


def train_with_slow_disk(cfg, folder, rank):
    original_save = SaveHook.save_checkpoint

    def save_slowly(self, runner):
        time.sleep(1)
        original_save(self, runner)

    SaveHook.save_checkpoint = save_slowly
    result = launch.train(cfg, folder)
    assert (result.rank, result.checkpoint.name) == (rank, f'step_{result.steps:07d}.pth')


def test_every_process_returns_the_checkpoint_that_the_first_one_writes_last(create_config, tmp_path):
    cfg = create_config(2, **{'default_hooks.checkpoint.interval': 1000})  # the run has fewer steps
    run_in_processes(functools.partial(train_with_slow_disk, cfg, tmp_path / 'two'))


def train_with_signal(cfg, folder, rank):
    """Train; the second process alone receives the scheduler's signal, at step 2."""
    original_run_step = TrainLoop.run_step

    def run_step(self, batches):
        if self._iter == 2 and rank == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        original_run_step(self, batches)

    TrainLoop.run_step = run_step
    with pytest.raises(SystemExit) as raised:
        launch.train(cfg, folder)
    assert raised.value.code == 85
    assert load_checkpoint(folder)['meta']['step'] == 3  # written before any process exits


def test_a_signal_to_one_process_stops_and_saves_all(tiny_config, tmp_path):
    cfg = tiny_config()
    cfg.train_dataloader.batch_size = 2
    run_in_processes(functools.partial(train_with_signal, cfg, tmp_path / 'two'))


def fail_on_main_process(rank):
    def raise_error():
        raise ConfigError('no')

    with (
        distributed.process_group_context(),
        pytest.raises(ConfigError, match='^no$' if rank == 0 else 'first process .*ConfigError: no'),
    ):
        distributed.run_on_main_process(raise_error)


def test_an_error_of_the_first_process_ends_all():
    run_in_processes(fail_on_main_process)
