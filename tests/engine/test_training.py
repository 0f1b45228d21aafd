"""Starting, stopping and overfitting a run."""

import functools
import json
import logging

import pytest
import torch

from poseplug.build import build_model
from poseplug.engine import launch
from poseplug.engine.checkpoint import load, load_weights
from poseplug.engine.loops import EvalLoop, TrainLoop
from poseplug.errors import CheckpointError, ConfigError, NonFiniteLossError


def test_init_starts_from_the_weights_and_nothing_else(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path / 'first')
    cfg = tiny_config(**{'train_cfg.steps': 1, 'optim_wrapper.optimizer.lr': 0.0, 'seed': 5})
    runner = launch.train(cfg, tmp_path / 'second', init=str(tmp_path / 'first'))
    first, second = load(tmp_path / 'first'), runner.model.state_dict()
    names = [n for n, _ in runner.model.named_parameters()]
    assert all(torch.equal(first['state_dict'][n], second[n]) for n in names)
    assert load(tmp_path / 'second')['meta']['step'] == 1


def test_init_from_another_model_names_the_difference(tiny_config, tmp_path):
    torch.save({'other.weight': torch.zeros(3)}, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='missing .*1 not in the model .first: other.weight'):
        launch.train(tiny_config(), tmp_path / 'run', init=str(tmp_path / 'other.pth'))


def by_nan(loss):
    return loss * float('nan')


def instead_infinity(loss):
    return torch.tensor(float('inf'), requires_grad=True)


@pytest.mark.parametrize(('spoil', 'told'), [
    (by_nan, 'loss is nan, loss_1 is nan, loss_2 is nan; the step was not taken'),
    (instead_infinity, 'loss is inf, loss_1 is inf, loss_2 is inf; the step was not taken'),
])  # fmt: skip
def test_a_loss_that_is_not_a_number_stops_before_it_reaches_the_weights(
    tiny_config, tmp_path, monkeypatch, spoil, told
):
    usual = TrainLoop.step

    def poisoned(self, batch):
        if self._iter == 4:
            for loss in self.runner.model.loss.modules():
                loss.register_forward_hook(lambda *found: spoil(found[-1]))
            self.before = {n: p.clone() for n, p in self.runner.model.named_parameters()}
            seen.append(self)
        usual(self, batch)

    seen = []
    monkeypatch.setattr(TrainLoop, 'step', poisoned)
    with pytest.raises(NonFiniteLossError) as error:
        launch.train(tiny_config(), tmp_path)
    assert f'step 5: {told}' in str(error.value)
    assert 'lsp im00' in str(error.value)
    assert '(epoch 1)' in str(error.value)
    model, before = seen[0].runner.model, seen[0].before
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    content = load(tmp_path)
    assert content['meta']['step'] == 3
    assert all(v.isfinite().all() for v in content['state_dict'].values())


def test_overfitting_learns_the_first_samples_without_augmentation_and_measures_on_them(tiny_config):
    cfg = launch.overfit(tiny_config(overfit_steps=40), 3)
    train, val = (launch.build_loader(cfg, f'{part}_dataloader', 0) for part in ('train', 'val'))
    first, again = iter(train), iter(val)
    batches = [next(first), next(first)]
    ids = [[r.id for r in b.records] for b in batches]
    assert sorted(ids[0]) == sorted(ids[1]) == ['im0001.jpg', 'im0002.jpg', 'im0003.jpg']
    by_id = {r.id: image for b in batches[1:] for r, image in zip(b.records, b.images, strict=True)}
    tested = next(again)
    assert all(torch.equal(by_id[r.id], image) for r, image in zip(tested.records, tested.images, strict=True))
    assert cfg.train_cfg == dict(steps=40, val_interval=50)
    assert not cfg.custom_hooks


@pytest.mark.parametrize(('count', 'told'), [
    (0, '--overfit needs at least one sample; got 0'),
    (11, '11 samples were asked for, of the 10 that there are'),
])  # fmt: skip
def test_overfitting_no_sample_or_more_than_there_are_is_an_error(tiny_config, count, told):
    with pytest.raises(ConfigError, match=told):
        launch.build_loader(launch.overfit(tiny_config(), count), 'train_dataloader', 0)


def test_the_checkpoint_of_a_run_holds_the_averaged_weights(tiny_config, tmp_path):
    runner = launch.train(tiny_config(), tmp_path)
    model = build_model(tiny_config())
    load_weights(model, tmp_path)
    average = runner.hooks[[type(h).__name__ for h in runner.hooks].index('EMAHook')].ema_model.module.state_dict()
    assert all(torch.equal(v, average[k]) for k, v in model.state_dict().items())
    assert any(not torch.equal(v, average[k]) for k, v in runner.model.state_dict().items())


def test_averages_follow_the_weights_step_by_step(tiny_config, tmp_path, monkeypatch):
    """a <- 0.75 a + 0.25 w after every step but the first, which begins the average with the weights themselves."""
    seen = []
    usual = TrainLoop.step

    def step(self, batches):
        usual(self, batches)
        seen.append({n: p.detach().clone() for n, p in self.runner.model.named_parameters()})

    monkeypatch.setattr(TrainLoop, 'step', step)
    launch.train(tiny_config(custom_hooks=[dict(type='EMAHook', momentum=0.25)]), tmp_path)
    averages = load(tmp_path)['state_dict']
    for name in seen[0]:
        wanted = seen[0][name]
        for weights in seen[1:]:
            wanted = 0.75 * wanted + 0.25 * weights[name]
        torch.testing.assert_close(averages[name], wanted)


def test_evaluation_measures_the_averaged_weights_and_training_goes_on_with_its_own(tiny_config, tmp_path, monkeypatch):
    measured, kept = [], []
    usual = EvalLoop.run

    def run(self):
        model = self.runner.model
        kept.append({n: v.clone() for n, v in model.state_dict().items()})
        self.runner.val_loop.metrics = functools.partial(noted, self.metrics, model, measured)
        values = usual(self)
        kept.append({n: v.clone() for n, v in model.state_dict().items()})
        return values

    monkeypatch.setattr(EvalLoop, 'run', run)
    launch.train(tiny_config(val=True), tmp_path)
    content = load(tmp_path)
    assert all(torch.equal(v, content['state_dict'][n]) for n, v in measured[-1].items())
    raw = {n.removeprefix('module.'): v for n, v in content['ema_state_dict'].items() if n.startswith('module.')}
    assert all(torch.equal(v, raw[n]) and torch.equal(v, kept[-1][n]) for n, v in kept[-2].items())
    assert any(not torch.equal(v, raw[n]) for n, v in measured[-1].items())


def noted(metrics, model, measured):
    """The metrics of an evaluation, made when its first batch is predicted: the weights it measures are noted."""
    measured.append({n: v.clone() for n, v in model.state_dict().items()})
    return metrics()


def test_the_screen_shows_what_is_trained_and_nothing_of_the_machinery(tiny_config, tmp_path, capfd, caplog):
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


def test_the_files_of_a_run_are_those_of_its_page_in_the_docs(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path)
    names = {p.name for p in tmp_path.iterdir() if p.is_file()}
    assert names == {'checkpoints.json', 'step_0000003.pth', 'step_0000006.pth', 'curve.jsonl', 'cpm_synthetic.py'}
    index = json.loads((tmp_path / 'checkpoints.json').read_text())
    assert index['latest'] == 'step_0000006.pth'


def test_a_loader_of_no_batch_is_an_error(tiny_config):
    with pytest.raises(ConfigError, match='batch_size >= 1'):
        launch.build_loader(tiny_config(**{'train_dataloader.batch_size': 0}), 'train_dataloader', 0)


def test_more_workers_than_cores_are_not_started(tiny_config, monkeypatch):
    monkeypatch.setattr(launch, 'cores', lambda: 2)
    loader = launch.build_loader(tiny_config(**{'train_dataloader.num_workers': 64}), 'train_dataloader', 0)
    assert loader.num_workers == 2


def test_a_work_dir_that_cannot_be_made_is_an_error(tiny_config, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match='Not a directory; name another --work-dir'):
        launch.train(tiny_config(), tmp_path / 'file' / 'run')
