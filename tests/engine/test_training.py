"""Starting, stopping and overfitting a run."""

import functools
import json
import logging

import pytest
import torch

from poseplug.config.build import build_model
from poseplug.core.errors import CheckpointError, ConfigError, NonFiniteLossError
from poseplug.core.weight_names import weight_name
from poseplug.engine import dataloaders, launch
from poseplug.engine.eval_loop import EvalLoop
from poseplug.engine.loops import TrainLoop
from poseplug.engine.overfit import build_overfit_config
from poseplug.files.weights import load_checkpoint, load_weights


def test_init_starts_from_the_weights_and_nothing_else(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path / 'first')
    cfg = tiny_config(**{'train_cfg.max_steps': 1, 'optim_wrapper.optimizer.lr': 0.0, 'seed': 5})
    runner = launch.run_training(cfg, tmp_path / 'second', init=str(tmp_path / 'first'))
    first, second = load_checkpoint(tmp_path / 'first'), runner.model.state_dict()
    names = [weight_name(n) for n, _ in runner.model.named_parameters()]
    assert all(torch.equal(first['state_dict'][n], second[n]) for n in names)
    assert load_checkpoint(tmp_path / 'second')['meta']['step'] == 1


def test_init_from_another_model_names_the_difference(tiny_config, tmp_path):
    torch.save({'other.weight': torch.zeros(3)}, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='missing .*1 not in the model .first: other.weight'):
        launch.train(tiny_config(), tmp_path / 'run', init=str(tmp_path / 'other.pth'))


def multiply_by_nan(loss):
    return loss * float('nan')


def replace_by_infinity(loss):
    return torch.tensor(float('inf'), requires_grad=True)


@pytest.mark.parametrize(('corrupt', 'message'), [
    (multiply_by_nan, 'loss is nan, loss_1 is nan, loss_2 is nan; the step was not taken'),
    (replace_by_infinity, 'loss is inf, loss_1 is inf, loss_2 is inf; the step was not taken'),
])  # fmt: skip
def test_a_non_finite_loss_stops_the_run_before_it_changes_the_weights(
    tiny_config, tmp_path, monkeypatch, corrupt, message
):
    original_run_step = TrainLoop.run_step

    def run_step(self, batches):
        if self._iter == 4:
            for loss in self.runner.model.criterion.loss.modules():
                loss.register_forward_hook(lambda *arguments: corrupt(arguments[-1]))
            self.before = {n: p.clone() for n, p in self.runner.model.named_parameters()}
            loops.append(self)
        original_run_step(self, batches)

    loops = []
    monkeypatch.setattr(TrainLoop, 'run_step', run_step)
    with pytest.raises(NonFiniteLossError) as error:
        launch.train(tiny_config(), tmp_path)
    assert f'step 5: {message}' in str(error.value)
    assert 'lsp im00' in str(error.value)
    assert '(epoch 1)' in str(error.value)
    model, before = loops[0].runner.model, loops[0].before
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    content = load_checkpoint(tmp_path)
    assert content['meta']['step'] == 3
    assert all(v.isfinite().all() for v in content['state_dict'].values())


def test_overfitting_trains_and_evaluates_on_the_first_samples_without_augmentation(tiny_config):
    cfg = build_overfit_config(tiny_config(overfit_steps=40), 3)
    train, val = (dataloaders.build_dataloader(cfg, f'{part}_dataloader', 0) for part in ('train', 'val'))
    train_batches, val_batches = iter(train), iter(val)
    batches = [next(train_batches), next(train_batches)]
    ids = [[r.id for r in b.records] for b in batches]
    assert sorted(ids[0]) == sorted(ids[1]) == ['im0001.jpg', 'im0002.jpg', 'im0003.jpg']
    by_id = {r.id: image for b in batches[1:] for r, image in zip(b.records, b.images, strict=True)}
    val_batch = next(val_batches)
    assert all(torch.equal(by_id[r.id], image) for r, image in zip(val_batch.records, val_batch.images, strict=True))
    assert cfg.train_cfg == dict(max_steps=40, val_interval=50)
    assert [hook.type for hook in cfg.custom_hooks] == ['EMAHook']  # as in training


@pytest.mark.parametrize(('count', 'message'), [
    (0, '--overfit needs at least one sample; got 0'),
    (11, '11 samples were requested, but the data set has 10'),
])  # fmt: skip
def test_overfitting_too_few_or_too_many_samples_is_an_error(tiny_config, count, message):
    with pytest.raises(ConfigError, match=message):
        dataloaders.build_dataloader(build_overfit_config(tiny_config(), count), 'train_dataloader', 0)


def test_the_checkpoint_of_a_run_holds_the_averaged_weights(tiny_config, tmp_path):
    runner = launch.run_training(tiny_config(), tmp_path)
    model = build_model(tiny_config())
    load_weights(model, tmp_path)
    average = runner.hooks[[type(h).__name__ for h in runner.hooks].index('EMAHook')].ema_model.module.state_dict()
    assert all(torch.equal(v, average[k]) for k, v in model.state_dict().items())
    assert any(not torch.equal(v, average[k]) for k, v in runner.model.state_dict().items())


def test_averaged_weights_are_updated_in_every_step(tiny_config, tmp_path, monkeypatch):
    """a <- d a + (1 - d) w, d = min(0.75, (1 + t) / (10 + t)), after every step but the first: there a = w."""
    weights_by_step = []
    original_run_step = TrainLoop.run_step

    def run_step(self, batches):
        original_run_step(self, batches)
        weights_by_step.append({weight_name(n): p.detach().clone() for n, p in self.runner.model.named_parameters()})

    monkeypatch.setattr(TrainLoop, 'run_step', run_step)
    launch.train(tiny_config(custom_hooks=[dict(type='EMAHook', momentum=0.25)]), tmp_path)
    averages = load_checkpoint(tmp_path)['state_dict']
    for name in weights_by_step[0]:
        expected = weights_by_step[0][name]
        for decay, weights in zip((2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15), weights_by_step[1:], strict=True):
            expected = decay * expected + (1 - decay) * weights[name]
        torch.testing.assert_close(averages[name], expected)


def test_evaluation_uses_the_averaged_weights_and_training_its_own(tiny_config, tmp_path, monkeypatch):
    evaluated, states = [], []
    original_run = EvalLoop.run

    def run(self):
        model = self.runner.model
        states.append({n: v.clone() for n, v in model.state_dict().items()})
        self.runner.val_loop.create_metrics = functools.partial(record_weights, self.create_metrics, model, evaluated)
        values = original_run(self)
        states.append({n: v.clone() for n, v in model.state_dict().items()})
        return values

    monkeypatch.setattr(EvalLoop, 'run', run)
    launch.train(tiny_config(val=True), tmp_path)
    content = load_checkpoint(tmp_path)
    assert all(torch.equal(v, content['state_dict'][n]) for n, v in evaluated[-1].items())
    raw = {n.removeprefix('module.'): v for n, v in content['ema_state_dict'].items() if n.startswith('module.')}
    assert all(torch.equal(v, raw[n]) and torch.equal(v, states[-1][n]) for n, v in states[-2].items())
    assert any(not torch.equal(v, raw[n]) for n, v in evaluated[-1].items())


def record_weights(create_metrics, model, evaluated):
    """Create the metrics at the first predicted batch, and record the weights at that time."""
    evaluated.append({n: v.clone() for n, v in model.state_dict().items()})
    return create_metrics()


def test_the_screen_shows_the_progress_and_no_internals(tiny_config, tmp_path, capfd, caplog):
    caplog.set_level(logging.INFO, 'poseplug')
    launch.train(tiny_config(val=True), tmp_path)
    lines = [r.message for r in caplog.records]
    assert lines[0].startswith('training on ') or lines[0].endswith('dropped: none')
    assert sum(line.startswith('training on ') for line in lines) == 1
    assert lines[-1].startswith('step 6: PCK@0.1 ')
    out, err = capfd.readouterr()
    assert out == ''
    assert err.startswith('training 6/6, ')
    assert len(err.splitlines()) == 1


def test_the_files_of_a_run_are_the_documented_ones(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path)
    names = {p.name for p in tmp_path.iterdir() if p.is_file()}
    assert names == {'checkpoints.json', 'step_0000003.pth', 'step_0000006.pth', 'curve.jsonl', 'cpm_synthetic.py'}
    index = json.loads((tmp_path / 'checkpoints.json').read_text())
    assert index['latest'] == 'step_0000006.pth'


def test_a_batch_size_of_0_is_an_error(tiny_config):
    with pytest.raises(ConfigError, match='batch_size >= 1'):
        dataloaders.build_dataloader(tiny_config(**{'train_dataloader.batch_size': 0}), 'train_dataloader', 0)


def test_more_workers_than_cores_are_not_started(tiny_config, monkeypatch):
    monkeypatch.setattr(dataloaders, 'count_usable_cores', lambda: 2)
    loader = dataloaders.build_dataloader(tiny_config(**{'train_dataloader.num_workers': 64}), 'train_dataloader', 0)
    assert loader.num_workers == 2


def test_a_work_dir_that_cannot_be_created_is_an_error(tiny_config, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match='Not a directory; name another --work-dir'):
        launch.train(tiny_config(), tmp_path / 'file' / 'run')
