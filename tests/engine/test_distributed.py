"""Several processes train one model as one process would at the same total batch, and a run may change between them."""

import functools
import os
import signal
import socket

import pytest
import torch
import torch.multiprocessing as mp

from poseplug.engine import distributed, launch
from poseplug.engine.checkpoint import load
from poseplug.engine.loops import TrainLoop
from poseplug.errors import ConfigError

PLAIN = {'model.backbone.norm': None, 'model.head.norm': None, 'model.head.first': ((1, 16),)}  # no part of chance
SOLVER = dict(type='SGD', lr=1e-3, momentum=0.9)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


def as_rank(rank, world, port, act):
    """In a process of its own: act as torchrun would start it."""
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world),
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), GLOO_SOCKET_IFNAME='lo',
    )  # fmt: skip
    act(rank)


def together(act, world=2):
    """Run a function in `world` processes at once."""
    context = mp.start_processes(as_rank, args=(world, free_port(), act), nprocs=world, join=False, start_method='fork')
    assert context is not None
    while not context.join():
        pass


def trained(cfg, folder, resume, rank):
    launch.train(cfg, folder, resume=resume)


def ended_at(step, cfg, folder, rank):
    """Train until a step begins; nothing is told, nothing is saved."""
    usual = TrainLoop.step

    def taken(self, batches):
        if self._iter == step:
            raise InterruptedError
        usual(self, batches)

    TrainLoop.step = taken
    with pytest.raises(InterruptedError):
        launch.train(cfg, folder, resume='auto')


@pytest.fixture
def config(tiny_config):
    """A function from the batch of one process, and further options, to a config without chance in the network."""

    def made(size, batch_norm=False, **options):
        cfg = tiny_config(**{**({} if batch_norm else PLAIN), 'model.head.first': ((1, 16),), **options})
        cfg.train_dataloader.batch_size, cfg.optim_wrapper.optimizer = size, SOLVER
        return cfg

    return made


def apart(a, b):
    """How far the weights of a checkpoint lie from another's, relative to how far these moved from 0."""
    a, b = (x['state_dict'] for x in (a, b))
    assert a.keys() == b.keys()
    return max(((a[n] - b[n]).float().norm() / (b[n].float().norm() + 1e-3)).item() for n in a)


@pytest.mark.parametrize('kind', ['ddp', 'fsdp'])
def test_two_processes_are_one_of_twice_the_batch(config, tmp_path, kind):
    """Weights, averages, momentum and the curve over 6 steps, with clipping, evaluation and frozen parameters."""
    options = {'train_cfg.val_interval': 3, 'freeze': ['^backbone.vgg.*0.*weight$']}
    one, two = config(4, val=True, **options), config(2, val=True, **{'train_cfg.distributed': kind}, **options)
    for cfg in (one, two):
        cfg.optim_wrapper.clip_grad = dict(max_norm=1.0)
    together(functools.partial(trained, two, tmp_path / 'two', False))
    launch.train(one, tmp_path / 'one')
    a, b = load(tmp_path / 'one'), load(tmp_path / 'two')
    assert apart(b, a) < 1e-4
    assert (len(a['random']), len(b['random'])) == (1, 2)


def test_with_shared_norms_batch_norm_sees_the_larger_batch_and_accumulation_counts_too(config, tmp_path):
    """Two processes of 1 that accumulate 2 see, at a time, what one process of 2 does."""
    one = config(2, batch_norm=True, **{'optim_wrapper.accumulative_counts': 2})
    two = config(
        1, batch_norm=True, **{'optim_wrapper.accumulative_counts': 2, 'train_cfg.distributed': dict(sync_bn=True)}
    )
    together(functools.partial(trained, two, tmp_path / 'two', False))
    launch.train(one, tmp_path / 'one')
    assert apart(load(tmp_path / 'two'), load(tmp_path / 'one')) < 1e-4


def test_a_run_goes_on_exactly_with_as_many_processes_and_nearly_with_others(tiny_config, config, tmp_path, equal):
    """With dropout and batch norm in two processes; from one process to two in parts, and back, without."""
    cfg = tiny_config()
    cfg.train_dataloader.batch_size = 2
    together(functools.partial(ended_at, 4, cfg, tmp_path / 'two'))
    together(functools.partial(trained, cfg, tmp_path / 'two', 'auto'))
    together(functools.partial(trained, cfg, tmp_path / 'whole', False))
    a, b = load(tmp_path / 'two'), load(tmp_path / 'whole')
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'random'):
        assert equal(a[part], b[part]), part

    saved = {'default_hooks.checkpoint.interval': 2}
    one, two = config(4, **saved), config(2, **saved, **{'train_cfg.distributed': 'fsdp'})
    together(functools.partial(ended_at, 3, one, tmp_path / 'mixed'), world=1)
    together(functools.partial(ended_at, 5, two, tmp_path / 'mixed'))
    launch.train(one, tmp_path / 'mixed', resume=True)
    launch.train(one, tmp_path / 'plain')
    assert apart(load(tmp_path / 'mixed'), load(tmp_path / 'plain')) < 1e-4


@pytest.mark.parametrize(('machines', 'kept'), [('1', False), ('2', True)])
def test_a_process_that_torchrun_starts_again_does_not_find_addresses_of_the_dead(monkeypatch, machines, kept):
    """On several machines attempts are counted by each for itself, and one place serves all."""
    store = torch.distributed.HashStore()
    monkeypatch.setattr(torch.distributed, 'rendezvous', lambda *_, **__: iter([(store, 1, 2)]))
    monkeypatch.setenv('GROUP_WORLD_SIZE', machines)
    for attempt in range(2):
        monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', str(attempt))
        found = distributed.meeting()
        assert (found['rank'], found['world_size']) == (1, 2)
        assert found['store'].check(['address of 0']) == (kept and attempt > 0)
        found['store'].set('address of 0', 'here')


@pytest.mark.parametrize('spec', ['dp', dict(type='ddp', units=['Block']), dict(type='fsdp', unused=True)])
def test_an_unknown_way_of_sharing_is_an_error(tiny_config, tmp_path, spec):
    with pytest.raises(ConfigError, match=r"distributed is 'ddp', 'fsdp', or one of"):
        launch.train(tiny_config(**{'train_cfg.distributed': spec}), tmp_path)


def test_parts_of_a_class_that_the_model_lacks_are_an_error():
    with pytest.raises(ConfigError, match=r'distributed.units: the model has no Block; it has Linear'):
        distributed.shard(torch.nn.Linear(2, 2), units=['Block'])


def test_batches_of_an_evaluation_are_dealt_out_and_come_back_in_order(monkeypatch):
    """7 batches for 3 processes: 3 each; two take the first once more, which nobody counts."""
    shares = [list(distributed.Share(range(7), rank, 3)) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4, 0], [2, 5, 0]]
    rounds = iter(zip(*shares, strict=True))
    monkeypatch.setattr(distributed, 'gathered', lambda own: list(next(rounds)))
    assert list(distributed.everyones(shares[0], 7)) == list(range(7))


def test_a_process_alone_agrees_with_itself():
    calls = []
    distributed.in_turn(lambda: calls.append(1))
    assert (distributed.rank(), distributed.world(), distributed.gathered(3), calls) == (0, 1, [3], [1])
    assert distributed.anywhere(True)
    assert not distributed.anywhere(False)
    with distributed.group():
        assert distributed.world() == 1


def asked_to_leave(cfg, folder, rank):
    """The second process alone is sent the scheduler's signal, at step 2."""
    usual = TrainLoop.step

    def taken(self, batches):
        if self._iter == 2 and rank == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        usual(self, batches)

    TrainLoop.step = taken
    with pytest.raises(SystemExit) as left:
        launch.train(cfg, folder)
    assert left.value.code == 85
    assert load(folder)['meta']['step'] == 3  # whoever leaves, the checkpoint is there


def test_a_signal_to_one_process_has_all_save_and_leave(tiny_config, tmp_path):
    cfg = tiny_config()
    cfg.train_dataloader.batch_size = 2
    together(functools.partial(asked_to_leave, cfg, tmp_path / 'two'))


def fails_first(rank):
    def act():
        raise ConfigError('no')

    with (
        distributed.group(),
        pytest.raises(ConfigError, match='^no$' if rank == 0 else 'first process .*ConfigError: no'),
    ):
        distributed.in_turn(act)


def test_an_error_of_the_first_process_ends_all():
    together(fails_first)
