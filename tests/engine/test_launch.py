"""Training and testing as functions, and the hooks of a run."""

import pytest

from poseplug.config.settings import DEFAULT_HOOKS, merge_default_hooks
from poseplug.core.errors import ConfigError
from poseplug.engine import launch


def test_a_config_file_is_trained_and_tested_by_two_calls(tiny_config, tmp_path, monkeypatch):
    """With an option, in the default work dir; the result names the checkpoint and has the scores of its evaluation."""
    monkeypatch.setenv('POSEPLUG_WORK', str(tmp_path))
    config = tmp_path / 'tiny.py'
    config.write_text(tiny_config(val=True).pretty_text)
    result = launch.train(config, options={'train_cfg.max_steps': 2})
    assert (result.work_dir, result.steps, result.rank) == (tmp_path / 'tiny', 2, 0)
    assert result.checkpoint == result.work_dir / 'step_0000002.pth'
    assert result.scores['PCK@0.2'] == launch.test(str(config), result.checkpoint).values['PCK@0.2']


def test_a_run_is_resumed_and_without_evaluation_has_no_scores(tiny_config, tmp_path):
    launch.train(tiny_config(**{'train_cfg.max_steps': 3}), tmp_path)
    result = launch.train(tiny_config(), tmp_path, resume='auto', resume_with=['train_cfg'])
    assert (result.steps, result.scores, result.best_checkpoint) == (6, {}, None)


def test_options_of_a_loaded_config_are_an_error(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match='options change the config of a file'):
        launch.train(tiny_config(), tmp_path, options={'seed': 1})


def test_a_default_hook_is_changed_by_settings_without_a_type():
    assert merge_default_hooks({'progress': {'interval': 4}})['progress'] == {'type': 'ProgressHook', 'interval': 4}


def test_a_default_hook_can_be_replaced_or_switched_off_and_the_others_stay():
    hooks = merge_default_hooks({'progress': None, 'checkpoint': {'type': 'OtherHook'}})
    assert hooks['progress'] is None
    assert hooks['checkpoint'] == {'type': 'OtherHook'}
    assert hooks['check_invalid_loss'] == DEFAULT_HOOKS['check_invalid_loss']


def test_a_hook_of_an_unknown_name_needs_a_type():
    with pytest.raises(ConfigError, match=r"default_hooks\.progres has no 'type'.*default hooks: .*progress"):
        merge_default_hooks({'progres': {'interval': 4}})
