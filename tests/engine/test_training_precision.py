"""The precision of a run: what computes in which format, how 'auto' chooses, and that a resume keeps the choice."""

import logging
import re
import time

import pytest
import torch
from torch import nn

from poseplug.config.run_options import change_run_options
from poseplug.core.errors import ConfigError
from poseplug.engine import launch, training_precision
from poseplug.engine.training_precision import TrainingPrecision, measure_gradients
from poseplug.files.weights import load_checkpoint

BF16 = {'precision': 'bf16'}


@pytest.fixture
def bf16_cpu(monkeypatch):
    """A CPU that computes with bfloat16, as far as its flags say."""
    monkeypatch.setattr(training_precision, 'has_bfloat16_instructions', lambda: True)


@pytest.fixture
def set_speed(monkeypatch):
    """A function that sets the seconds of a step by precision, by a clock of its own."""
    clock = [0.0]
    monkeypatch.setattr(training_precision.time, 'perf_counter', lambda: clock[0])

    def create_steps(precision, seconds, losses=None):
        def compute_gradients():
            clock[0] += seconds[precision.name].pop(0)
            return (losses or dict(fp32=1.0, bf16=1.0))[precision.name]

        return compute_gradients

    return create_steps


# --- in which format is computed --------------------------------------------------------------------------------------


def record_dtypes(monkeypatch, cfg, folder):
    """The output types of the convolutions of a run, in training and in evaluation."""
    dtypes = {True: set(), False: set()}
    original_forward = nn.Conv2d.forward

    def forward(self, x):
        result = original_forward(self, x)
        dtypes[self.training].add(result.dtype)
        return result

    monkeypatch.setattr(nn.Conv2d, 'forward', forward)
    launch.train(cfg, folder)
    return dtypes


def test_bf16_computes_the_network_in_bfloat16_and_keeps_everything_else(tiny_config, tmp_path, monkeypatch):
    dtypes = record_dtypes(monkeypatch, tiny_config(val=True, **BF16), tmp_path)
    assert dtypes == {True: {torch.bfloat16}, False: {torch.float32}}
    content = load_checkpoint(tmp_path)
    for part in ('state_dict', 'ema_state_dict'):
        assert {v.dtype for v in content[part].values() if v.is_floating_point()} == {torch.float32}
    assert {v.dtype for s in content['optimizer']['state'].values() for v in s.values()} == {torch.float32}
    assert content['meta']['precision'] == {'name': 'bf16', 'reason': 'as set', 'step_seconds': {}}


def test_the_settings_of_the_optimizer_stay(tiny_config, tmp_path):
    groups = {}
    for name, options in (('fp32', {}), ('bf16', BF16)):
        runner = launch.run_training(tiny_config(**{'train_cfg.max_steps': 1, **options}), tmp_path / name)
        state = runner.optim_wrapper.optimizer.state_dict()['param_groups']
        groups[name] = (type(runner.optim_wrapper), state)
    assert groups['fp32'] == groups['bf16']
    assert len({group['weight_decay'] for group in groups['bf16'][1]}) == 2  # biases have none


def test_bf16_is_what_the_optimizer_wrapper_of_autocast_computes(tiny_config, tmp_path):
    losses = []
    for name, options in (('setting', BF16), ('wrapper', {'optim_wrapper.type': 'AutocastOptimWrapper'})):
        cfg = tiny_config(**options)
        cfg.optim_wrapper = dict(type=cfg.optim_wrapper.type, optimizer=dict(type='SGD', lr=1e-3))
        launch.train(cfg, tmp_path / name)
        losses.append(load_checkpoint(tmp_path / name)['state_dict'])
    assert all(torch.equal(value, losses[1][name]) for name, value in losses[0].items())


def test_a_precision_that_there_is_not_and_two_that_are_set_are_refused(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match="precision is one of fp32, bf16, auto; got 'fp16'"):
        launch.train(tiny_config(precision='fp16'), tmp_path / 'a')
    both = {**BF16, 'optim_wrapper.type': 'AutocastOptimWrapper'}
    with pytest.raises(ConfigError, match="precision='bf16' and optim_wrapper.type='AutocastOptimWrapper' both choose"):
        launch.train(tiny_config(**both), tmp_path / 'b')


# --- the choice of 'auto' ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('seconds', 'losses', 'name', 'reason'), [
    (dict(fp32=2.0, bf16=1.0), None, 'bf16', 'takes: fp32 2000.0 ms, bf16 1000.0 ms'),
    (dict(fp32=1.0, bf16=2.0), None, 'fp32', 'takes: fp32 1000.0 ms, bf16 2000.0 ms'),
    (dict(fp32=1.04, bf16=1.0), None, 'fp32', 'fp32 1040.0 ms'),  # a gain that is not worth the rounding
    (dict(fp32=2.0, bf16=1.0), dict(fp32=1.0, bf16=1.05), 'fp32', r'the loss differs by 5.0 % \(at most 2\)'),
    (dict(fp32=2.0, bf16=1.0), dict(fp32=1.0, bf16=float('nan')), 'fp32', 'the loss differs by nan %'),
    (dict(fp32=2.0, bf16=1.0), dict(fp32=0.0, bf16=0.0), 'bf16', 'takes'),
    # the first of each prepares the kernels; of the others the fastest counts
    (dict(fp32=(1.0, 9.0, 2.0, 9.0), bf16=(9.0, 9.0, 9.0, 1.0)), None, 'bf16', 'fp32 2000.0 ms, bf16 1000.0 ms'),
], ids=str)  # fmt: skip
def test_auto_takes_bf16_where_it_is_faster_and_close(bf16_cpu, set_speed, caplog, seconds, losses, name, reason):
    precision = TrainingPrecision('auto')
    assert precision.is_open
    with caplog.at_level(logging.INFO, 'poseplug'):
        steps = {key: [*value] if isinstance(value, tuple) else [value] * 4 for key, value in seconds.items()}
        precision.choose_precision(set_speed(precision, steps, losses))
    assert (precision.name, precision.is_open) == (name, False)
    assert re.search(reason, precision.reason)
    assert f'precision {name}: ' in caplog.text


def test_auto_does_not_measure_a_cpu_without_the_instructions(monkeypatch):
    monkeypatch.setattr(training_precision, 'has_bfloat16_instructions', lambda: False)
    precision = TrainingPrecision('auto')
    assert (precision.name, precision.reason) == ('fp32', 'this CPU has no instructions for bf16')
    assert TrainingPrecision('auto', 'cuda').is_open


def test_measuring_leaves_weights_statistics_gradients_and_random_numbers_as_they_are():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, state = torch.rand(2, 3, 8, 8), torch.get_rng_state()
    loss = measure_gradients(model, lambda: dict(a=model(x).square().mean(), b=model(x).abs().mean()))
    assert loss > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize('chosen', ['fp32', 'bf16'])
def test_a_run_of_auto_computes_exactly_as_one_of_the_chosen_precision(
    bf16_cpu, tiny_config, tmp_path, monkeypatch, chosen
):
    monkeypatch.setattr(training_precision, '_MAX_LOSS_DIFFERENCE', 1.0)
    monkeypatch.setattr(training_precision, '_MIN_GAIN', 0.0 if chosen == 'bf16' else 1e9)
    options = {'train_cfg.max_steps': 3, 'model.head.first_layers': ((1, 16, 0.5),)}  # with dropout
    for setting in ('auto', chosen):
        launch.train(tiny_config(**options, precision=setting), tmp_path / setting)
    one, other = (load_checkpoint(tmp_path / setting) for setting in ('auto', chosen))
    assert one['meta']['precision']['name'] == chosen
    assert set(one['meta']['precision']['step_seconds']) == {'fp32', 'bf16'}
    assert all(torch.equal(value, other['state_dict'][name]) for name, value in one['state_dict'].items())


# --- resume -----------------------------------------------------------------------------------------------------------


def test_a_resumed_run_keeps_the_choice_and_ends_like_an_undisturbed_one(
    bf16_cpu, tiny_config, assert_resumes_exactly, monkeypatch
):
    monkeypatch.setattr(training_precision, '_MAX_LOSS_DIFFERENCE', 1.0)
    monkeypatch.setattr(training_precision, '_MIN_GAIN', 0.0)
    original_choose, counts = TrainingPrecision.choose_precision, []

    def choose_precision(self, compute_gradients):
        counts.append(1)
        original_choose(self, compute_gradients)

    monkeypatch.setattr(TrainingPrecision, 'choose_precision', choose_precision)
    content = assert_resumes_exactly(tiny_config(precision='auto'), 4)
    assert content['meta']['precision']['name'] == 'bf16'
    assert len(counts) == 2  # of the undisturbed run, and of the interrupted one before its interruption


def test_a_choice_is_kept_on_another_cpu_and_changed_only_on_request(bf16_cpu, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(training_precision, '_MAX_LOSS_DIFFERENCE', 1.0)
    monkeypatch.setattr(training_precision, '_MIN_GAIN', 0.0)
    launch.train(tiny_config(**{'train_cfg.max_steps': 2, 'precision': 'auto'}), tmp_path)
    monkeypatch.setattr(training_precision, 'has_bfloat16_instructions', lambda: False)
    longer = {'train_cfg.max_steps': 4}
    launch.train(tiny_config(**longer, precision='auto'), tmp_path, resume=True, resume_with=['train_cfg'])
    assert load_checkpoint(tmp_path)['meta']['precision']['name'] == 'bf16'
    with pytest.raises(ConfigError, match="precision: 'auto' in the checkpoint, 'fp32' now"):
        launch.train(tiny_config(**longer, precision='fp32'), tmp_path, resume=True)
    longest = tiny_config(**{'train_cfg.max_steps': 5, 'precision': 'fp32'})
    launch.train(longest, tmp_path, resume=True, resume_with=['train_cfg', 'precision'])
    assert load_checkpoint(tmp_path)['meta']['precision']['name'] == 'fp32'


def test_the_command_sets_the_precision(tiny_config):
    assert change_run_options(tiny_config(), precision='auto').precision == 'auto'
    assert tiny_config().get('precision') is None


def test_a_clock_measures_real_steps(bf16_cpu):
    precision = TrainingPrecision('auto')
    precision.choose_precision(lambda: time.sleep(0.02 if precision.name == 'fp32' else 0.001) or 1.0)
    assert precision.name == 'bf16'
    assert precision.step_seconds['fp32'] >= 0.02
