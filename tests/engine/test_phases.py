"""Phases of training: what holds at which epoch, that it is told, and that a resumed run is in the same one."""

import logging
from types import SimpleNamespace

import pytest
import torch

from poseplug.config import load_config
from poseplug.datasets.synthetic import write_coco
from poseplug.engine import launch
from poseplug.engine.checkpoint import load
from poseplug.engine.hooks.phases import PhaseHook
from poseplug.errors import ConfigError
from poseplug.models.estimators.top_down import TopDown

TINY = {
    'model.codec.input_size': (64, 64),
    'model.backbone.widen': 0.125,
    'model.neck': dict(type='HybridEncoder', out=16, channels=16, widen=0.5, deepen=0.33, feedforward=16),
    'model.head': dict(type='RTMOHead', width=16, dcc=dict(channels=16, bins=(12, 16))),
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 0,
    'train_cfg.steps': 6,
    'param_scheduler': None,
    'default_hooks.checkpoint.interval': 2,
}
PHASES = {2: dict(proxies='joints', weights=dict(joints=5.0)), 4: dict(weights=dict(raw=1.0), power=1.0)}


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Four drawn pictures of several people in COCO's layout."""
    return write_coco(tmp_path_factory.mktemp('sets') / 'coco', train=4, val=1, seed=3)


@pytest.fixture
def one_stage_config(root, pictures):
    """A function from phases to the config of the smallest RTMO, for six steps of two an epoch."""

    def load(phases):
        options = {**TINY, 'train_dataloader.dataset.sources.0.root': str(pictures)}
        cfg = load_config(root / 'configs/rtmo/rtmo_tiny_synthetic_256.py', options)
        cfg.val_dataloader = None
        cfg.custom_hooks = [dict(type='PhaseHook', phases=phases)]
        return cfg

    return load


class Told:
    """A model that keeps what it was told."""

    def __init__(self):
        self.entered = []

    def enter(self, **settings):
        self.entered.append(settings)
        return settings


def runner(epoch, model=None):
    return SimpleNamespace(epoch=epoch, iter=10 * epoch, bare_model=model or Told())


def test_what_a_phase_names_holds_in_the_later_ones():
    hook = PhaseHook(PHASES)
    assert hook.at(0) == hook.at(1) == {}
    assert hook.at(2) == hook.at(3) == PHASES[2]
    assert hook.at(400) == dict(proxies='joints', weights=dict(joints=5.0, raw=1.0), power=1.0)
    assert PHASES[2] == dict(proxies='joints', weights=dict(joints=5.0))


def test_the_epoch_alone_says_which_phase_it_is():
    """A run that begins at epoch 3, as a resumed one does, is told what one is told that went through all of them."""
    through, later = runner(0), runner(3)
    hook = PhaseHook(PHASES)
    for epoch in range(4):
        through.epoch = epoch
        hook.before_train_epoch(through)
    PhaseHook(PHASES).before_train_epoch(later)
    assert through.bare_model.entered[-1] == later.bare_model.entered[-1] == PHASES[2]


def test_every_switch_is_logged_once(caplog):
    caplog.set_level(logging.INFO, logger='poseplug')
    hook, run = PhaseHook(PHASES), runner(0)
    for epoch in range(6):
        run.epoch, run.iter = epoch, 10 * epoch
        hook.before_train_epoch(run)
    assert [r.message.partition(':')[0] for r in caplog.records] == ['epoch 0', 'epoch 2', 'epoch 4']
    assert "'joints': 5.0" in caplog.records[1].message


def test_a_config_may_name_epochs_as_text():
    assert PhaseHook({'2': dict(power=1.0)}).at(2) == dict(power=1.0)


@pytest.mark.parametrize('phases', [{}, {'late': {}}, {-1: {}}])
def test_phases_that_are_none_are_refused(phases):
    with pytest.raises(ConfigError, match='PhaseHook: phases'):
        PhaseHook(phases)


def test_a_model_without_phases_is_told_to_leave_the_hook_out(tiny_config, tmp_path):
    cfg = tiny_config(custom_hooks=[dict(type='PhaseHook', phases={'1': dict(power=1.0)})])
    with pytest.raises(ConfigError, match=f'{TopDown.__name__} has no phases .no method `enter`.; leave the hook out'):
        launch.train(cfg, tmp_path)


def test_a_misspelt_setting_is_told_before_the_first_step(one_stage_config, tmp_path):
    phases = {'1': dict(proxis='joints')}
    with pytest.raises(ConfigError, match="epoch 1: .*unexpected keyword argument 'proxis'"):
        launch.train(one_stage_config(phases), tmp_path)


@pytest.mark.parametrize(('switch', 'step', 'resumed'), [(2, 3, 'epoch 2'), (1, 5, 'epoch 2')])
def test_the_switch_changes_the_losses_also_of_a_run_that_is_resumed_before_or_after_it(
    one_stage_config, tmp_path, killed_and_resumed, caplog, switch, step, resumed
):
    """Two steps an epoch; at an epoch proxies begin to learn from the joints, and boxes get another loss; killed.

    At step 3 the run resumes at epoch 1 and switches at 2; at step 5 it resumes at 2, beyond its switch at 1. The log
    tells of the whole run, the killed one and the resumed one.
    """
    cfg = one_stage_config({str(switch): dict(proxies='joints', weights=dict(joints=5.0, raw=1.0))})
    cfg.default_hooks.checkpoint.interval = 1
    killed_and_resumed(cfg, step)
    told = [r.message for r in caplog.records if ': trained for' in r.message]
    whole = ['epoch 0', f'epoch {switch}']
    killed = whole[: 1 + (2 * switch <= step)]
    assert [t.partition(':')[0] for t in told] == [*whole, *killed, resumed]
    assert "proxies='joints'" in told[-1]
    switched = load(tmp_path / 'whole')['state_dict']
    launch.train(one_stage_config({'9': dict(power=1.0)}), tmp_path / 'without')
    plain = load(tmp_path / 'without')['state_dict']
    assert any(not torch.equal(plain[n], switched[n]) for n in plain if n.endswith('weight'))
