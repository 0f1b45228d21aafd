"""Training phases: the settings of each epoch, their log, and the phase of a resumed run."""

import logging
from types import SimpleNamespace

import pytest
import torch

from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.data.synthetic import write_coco
from poseplug.engine import launch
from poseplug.engine.hooks.phases import PhaseHook
from poseplug.files.weights import load_checkpoint
from poseplug.models.estimators.top_down import TopDown

TINY = {
    'model.codec.input_size': (64, 64),
    'model.backbone.widen_factor': 0.125,
    'model.neck': dict(
        type='HybridEncoder',
        out_channels=16,
        hidden_dim=16,
        widen_factor=0.5,
        deepen_factor=0.33,
        feedforward_channels=16,
    ),
    'model.head': dict(type='RTMOHead', pose_channels=16, dcc=dict(feat_channels=16, num_bins=(12, 16))),
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 0,
    'train_cfg.max_steps': 6,
    'param_scheduler': None,
    'default_hooks.checkpoint.interval': 2,
}
PHASES = {
    2: dict(proxy_target='keypoints', loss_weights=dict(keypoints=5.0)),
    4: dict(loss_weights=dict(raw_box=1.0), overlaps_power=1.0),
}


@pytest.fixture(scope='module')
def synthetic_images(tmp_path_factory):
    """Four synthetic images of several people in COCO's layout."""
    return write_coco(tmp_path_factory.mktemp('sets') / 'coco', num_train=4, num_val=1, seed=3)


@pytest.fixture
def one_stage_config(root, synthetic_images):
    """A function from phases to the config of the smallest RTMO, for six steps of two an epoch."""

    def load(phases):
        options = {**TINY, 'train_dataloader.dataset.sources.0.data_root': str(synthetic_images)}
        cfg = load_config(root / 'configs/rtmo/rtmo_tiny_synthetic_256.py', options)
        cfg.val_dataloader = None
        cfg.custom_hooks = [dict(type='PhaseHook', phases=phases)]
        return cfg

    return load


class PhaseRecorder:
    """A model that records the settings of its phases."""

    def __init__(self):
        self.phases = []

    def set_phase(self, **settings):
        self.phases.append(settings)
        return settings


def create_runner(epoch, model=None):
    """A run of 6 epochs of 10 steps."""
    position = dict(epoch=epoch, iter=10 * epoch, max_iters=60, train_loop=SimpleNamespace(steps_per_epoch=10))
    return SimpleNamespace(**position, bare_model=model or PhaseRecorder())


def start_hook(phases, runner=None):
    hook = PhaseHook(phases)
    hook.before_train(runner or create_runner(0))
    return hook


def test_the_settings_of_a_phase_hold_in_the_later_ones():
    hook = start_hook(PHASES)
    assert hook.get_phase_settings(0) == hook.get_phase_settings(19) == {}
    assert hook.get_phase_settings(20) == hook.get_phase_settings(39) == PHASES[2]
    assert hook.get_phase_settings(4000) == dict(
        proxy_target='keypoints', loss_weights=dict(keypoints=5.0, raw_box=1.0), overlaps_power=1.0
    )
    assert PHASES[2] == dict(proxy_target='keypoints', loss_weights=dict(keypoints=5.0))


def test_the_phase_follows_from_the_step_alone():
    """A run that starts at epoch 3, as a resumed one does, has the phase of one that started at epoch 0."""
    undisturbed, resumed = create_runner(0), create_runner(3)
    hook = start_hook(PHASES, undisturbed)
    for step in range(31):
        undisturbed.iter = step
        hook.before_train_iter(undisturbed, step)
    start_hook(PHASES, resumed).before_train_iter(resumed, 30)
    assert undisturbed.bare_model.phases[-1] == resumed.bare_model.phases[-1] == PHASES[2]


def test_every_new_phase_is_set_in_its_first_step_and_logged_once(caplog):
    caplog.set_level(logging.INFO, logger='poseplug')
    run = create_runner(0)
    hook = start_hook(PHASES, run)
    for step in range(60):
        run.epoch, run.iter = step // 10, step
        hook.before_train_iter(run, step)
        assert run.bare_model.phases[-1] == hook.get_phase_settings(step)
    assert [r.message.partition(':')[0] for r in caplog.records] == ['epoch 0', 'epoch 2', 'epoch 4']
    assert "'keypoints': 5.0" in caplog.records[1].message


def test_epochs_may_be_strings():
    hook = start_hook({'2': dict(overlaps_power=1.0)})
    assert (hook.get_phase_settings(19), hook.get_phase_settings(20)) == ({}, dict(overlaps_power=1.0))


@pytest.mark.parametrize('fraction', [0.25, '0.25'])
def test_a_phase_may_begin_at_a_fraction_of_the_run(fraction):
    hook = start_hook({fraction: dict(overlaps_power=1.0), 3: dict(proxy_target='keypoints')})
    assert (hook.get_phase_settings(14), hook.get_phase_settings(15)) == ({}, dict(overlaps_power=1.0))
    assert hook.get_phase_settings(30) == dict(overlaps_power=1.0, proxy_target='keypoints')


def test_phases_may_be_listed_in_any_order():
    hook = start_hook({4: dict(overlaps_power=1.0), 0.25: dict(overlaps_power=0.5), 1: dict(overlaps_power=0.25)})
    assert [hook.get_phase_settings(step)['overlaps_power'] for step in (10, 15, 39, 40)] == [0.25, 0.5, 0.5, 1.0]
    run = create_runner(5)
    hook.before_train_iter(run, 50)
    assert run.bare_model.phases == [dict(overlaps_power=1.0)]


def test_a_phase_after_the_end_of_the_run_is_reported(caplog):
    start_hook({2: dict(overlaps_power=1.0), 6: dict(proxy_target='keypoints')})
    (message,) = [r.message for r in caplog.records]
    assert message == 'PhaseHook: the phase from 6 begins at step 60, which is not reached: the run has 60 steps'


@pytest.mark.parametrize('phases', [{}, {'late': {}}, {-1: {}}, ['2']])
def test_wrong_phases_are_refused(phases):
    with pytest.raises(ConfigError, match='PhaseHook: phases'):
        PhaseHook(phases)


def test_a_model_without_phases_is_an_error(tiny_config, tmp_path):
    cfg = tiny_config(custom_hooks=[dict(type='PhaseHook', phases={'1': dict(overlaps_power=1.0)})])
    with pytest.raises(ConfigError, match=f'{TopDown.__name__} has no phases .no method `set_phase`.; remove the hook'):
        launch.train(cfg, tmp_path)


def test_a_misspelled_setting_is_an_error_before_the_first_step(one_stage_config, tmp_path):
    phases = {'1': dict(proxy_targt='keypoints')}
    with pytest.raises(ConfigError, match="the phase from 1: .*unexpected keyword argument 'proxy_targt'"):
        launch.train(one_stage_config(phases), tmp_path)


@pytest.mark.parametrize(('switch', 'step', 'resumed'), [(2, 3, 'epoch 2'), (1, 5, 'epoch 2')])
def test_a_phase_changes_the_losses_of_a_run_that_is_resumed_before_or_after_it(
    one_stage_config, tmp_path, assert_resumes_exactly, caplog, switch, step, resumed
):
    """With two steps per epoch, at one epoch proxies start to learn from the predicted keypoints, with a further loss.

    A run killed at step 3 resumes at epoch 1, before its new phase at 2; one killed at step 5 resumes at 2, after its
    new phase at 1. The log has the phases of the undisturbed run, the killed one and the resumed one.
    """
    cfg = one_stage_config({str(switch): dict(proxy_target='keypoints', loss_weights=dict(keypoints=5.0, raw_box=1.0))})
    cfg.default_hooks.checkpoint.interval = 1
    assert_resumes_exactly(cfg, step)
    messages = [r.message for r in caplog.records if ': training phase' in r.message]
    undisturbed = ['epoch 0', f'epoch {switch}']
    killed = undisturbed[: 1 + (2 * switch <= step)]
    assert [m.partition(':')[0] for m in messages] == [*undisturbed, *killed, resumed]
    assert "proxy_target='keypoints'" in messages[-1]
    switched = load_checkpoint(tmp_path / 'undisturbed')['state_dict']
    launch.train(one_stage_config({'9': dict(overlaps_power=1.0)}), tmp_path / 'without')
    plain = load_checkpoint(tmp_path / 'without')['state_dict']
    assert any(not torch.equal(plain[n], switched[n]) for n in plain if n.endswith('weight'))
