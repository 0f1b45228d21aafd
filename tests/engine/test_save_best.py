"""Which checkpoint is the best: by the direction of the score, which its metric declares."""

from types import SimpleNamespace

import pytest

from poseplug.core.errors import ConfigError, PluginError
from poseplug.engine import launch
from poseplug.engine.hooks.save import SaveHook
from poseplug.evaluation.base import Metric, MetricResult
from poseplug.files.checkpoint_folder import BEST_CHECKPOINT_FILE, list_checkpoints
from poseplug.files.weights import load_checkpoint
from poseplug.registry import METRICS


def run_evaluations(hook: SaveHook, values: list[float], lower_is_better: frozenset[str]) -> list[int]:
    """The evaluations after which `best.pth` was written."""
    written = []
    hook._write_file = lambda runner, name: written.append(runner.position)
    for position, value in enumerate(values):
        scores = MetricResult({hook.save_best: value}, lower_is_better=lower_is_better)
        runner = SimpleNamespace(
            iter=position, position=position, val_loop=SimpleNamespace(result=SimpleNamespace(scores=scores))
        )
        hook.after_val_epoch(runner, scores.values)
    return written


def test_a_lower_score_replaces_the_best_one_where_lower_is_better_and_a_higher_one_elsewhere():
    values = [5.0, 7.0, float('nan'), 3.0, 4.0, -1.0, float('inf')]
    assert run_evaluations(SaveHook(save_best='EPE'), values, frozenset({'EPE'})) == [0, 3, 5]
    assert run_evaluations(SaveHook(save_best='AP'), values, frozenset({'EPE'})) == [0, 1]


def test_a_score_that_is_not_finite_is_reported_and_not_compared(caplog):
    with caplog.at_level('WARNING', logger='poseplug'):
        assert run_evaluations(SaveHook(save_best='EPE'), [float('nan'), 5.0], frozenset({'EPE'})) == [1]
    assert caplog.messages == ['step 0: EPE is nan, which is not compared; the best checkpoint stays as it is']


def test_the_best_value_of_another_score_is_not_restored():
    hook = SaveHook(save_best='EPE')
    hook.best_score = 3.0
    checkpoint = {'meta': {'step': 4}}
    hook.before_save_checkpoint(None, checkpoint)
    same, other = SaveHook(save_best='EPE'), SaveHook(save_best='PCK@0.2')
    for resumed in (same, other):
        resumed.after_load_checkpoint(SimpleNamespace(is_resumed=True), checkpoint)
    assert (same.best_score, other.best_score) == (3.0, None)


class TwoWayScores(Metric):
    """A metric of a plugin: of its two scores one falls as models get better; nothing but that is declared."""

    def __init__(self, skeleton):
        self.skeleton, self.count = skeleton, 0

    def update(self, predictions, record):
        self.count += len(predictions)

    def compute(self):
        values = {'rising': float(self.count), 'falling': -float(self.count)}
        return MetricResult(values, lower_is_better=frozenset({'falling'}))


class SecondCallFails(TwoWayScores):
    """A metric of a plugin that fails in the second evaluation of a run, whose weights are averages."""

    num_calls = 0

    def compute(self):
        SecondCallFails.num_calls += 1
        if SecondCallFails.num_calls > 2:  # the first call tries it on annotations
            raise RuntimeError('no space left')
        return super().compute()


def test_a_metric_that_fails_costs_no_training(tiny_config, tmp_path, monkeypatch, are_equal):
    monkeypatch.setitem(METRICS.module_dict, 'SecondCallFails', SecondCallFails)
    options = {
        'train_cfg.val_interval': 2,
        'default_hooks': dict(checkpoint=dict(type='SaveHook', interval=100)),
        'custom_hooks': [dict(type='EMAHook', momentum=0.1, update_buffers=True)],
    }
    expected = launch.train(tiny_config(**options, **{'train_cfg.max_steps': 4}), tmp_path / 'undisturbed')
    cfg = tiny_config(val=True, **options, val_evaluator=dict(type='SecondCallFails'))
    with pytest.raises(PluginError, match='metric SecondCallFails failed in compute: RuntimeError: no space left'):
        launch.train(cfg, tmp_path / 'failed')
    [file] = list_checkpoints(tmp_path / 'failed')
    assert file.name == 'step_0000004.pth'
    saved, wanted = load_checkpoint(file), load_checkpoint(expected.checkpoint)
    assert are_equal(saved['state_dict'], wanted['state_dict'])
    cfg.val_evaluator = dict(type='PCK')
    assert launch.train(cfg, tmp_path / 'failed', resume=True).steps == 6


def train_with(tiny_config, folder, evaluator, save_best):
    hooks = dict(checkpoint=dict(type='SaveHook', save_best=save_best))
    options = {'default_hooks': hooks, 'val_evaluator': evaluator, 'train_cfg.max_steps': 2}
    return launch.train(tiny_config(val=True, **options), folder)


@pytest.mark.parametrize('evaluator', [dict(type='EPE'), [dict(type='PCK'), dict(type='EPE')]])
def test_training_keeps_the_least_error(tiny_config, tmp_path, evaluator):
    result = train_with(tiny_config, tmp_path, evaluator, 'EPE')
    assert result.best_checkpoint == tmp_path / BEST_CHECKPOINT_FILE


@pytest.mark.parametrize('save_best', ['EPEE', 'epe', 'AP', 'falls'])
def test_a_score_that_no_metric_returns_is_refused_before_the_first_step(tiny_config, tmp_path, monkeypatch, save_best):
    monkeypatch.setitem(METRICS.module_dict, 'TwoWayScores', TwoWayScores)
    evaluator = [dict(type='EPE'), dict(type='TwoWayScores')]
    names = r'val_evaluator returns EPE, rising, falling'
    with pytest.raises(ConfigError, match=rf"no score is called save_best='{save_best}'.*{names}"):
        train_with(tiny_config, tmp_path, evaluator, save_best)
    assert list_checkpoints(tmp_path) == []
    assert not list(tmp_path.glob('curve.jsonl'))


def test_saving_the_best_without_evaluations_is_a_warning(tiny_config, tmp_path, caplog):
    hooks = dict(checkpoint=dict(type='SaveHook', save_best='PCK@0.2'))
    with caplog.at_level('WARNING', logger='poseplug'):
        launch.train(tiny_config(default_hooks=hooks, **{'train_cfg.max_steps': 1}), tmp_path)
    assert "save_best='PCK@0.2' saves nothing: the config has no val_dataloader" in caplog.text


TORSOLESS = dict(name='mine', keypoints=[f'k{i}' for i in range(14)], sigmas=[0.05] * 14)


@pytest.mark.parametrize(
    ('evaluator', 'message'),
    [
        (dict(type='PCK'), "val_evaluator: skeleton 'mine' names no torso, which PCK divides by"),
        (dict(type='PCKh', head_size='keypoints'), "val_evaluator: skeleton 'mine' names no head"),
        (dict(type='OnSkeleton', target_skeleton='lsp', metric=dict(type='PCK')), 'val_evaluator: OnSkeleton: '),
        (None, r"val_evaluator \(not set: PCK\): skeleton 'mine' names no torso"),
    ],
)
def test_what_a_metric_needs_of_the_skeleton_is_checked_before_the_data_are_read(
    tiny_config, tmp_path, evaluator, message
):
    cfg = tiny_config(val=True)
    cfg.skeleton, cfg.val_evaluator = TORSOLESS, evaluator
    cfg.train_dataloader.dataset.sources[0].data_root = 'nowhere'
    with pytest.raises(ConfigError, match=message):
        launch.train(cfg, tmp_path)


def test_what_a_metric_needs_of_the_annotations_is_checked_before_the_first_step(tiny_config, tmp_path):
    """LSP's layout has no head sizes, which MPII's has."""
    message = r'val_evaluator: PCKh can measure none of the 4 annotated samples: .* no head size of them'
    with pytest.raises(ConfigError, match=message):
        train_with(tiny_config, tmp_path, dict(type='PCKh'), None)
    assert list_checkpoints(tmp_path) == []


def test_a_metric_that_only_the_test_would_lack_something_for_is_a_warning(tiny_config, tmp_path, caplog):
    cfg = tiny_config(**{'train_cfg.max_steps': 1})
    cfg.test_evaluator = dict(type='OKSAP')  # the skeleton 'lsp' has no sigmas
    with caplog.at_level('WARNING', logger='poseplug'):
        launch.train(cfg, tmp_path)
    assert 'cannot be tested with this config: test_evaluator: skeleton' in caplog.text
    with pytest.raises(ConfigError, match="test_evaluator: skeleton 'lsp'.* has no sigmas, which OKS needs"):
        launch.test(cfg, tmp_path)
