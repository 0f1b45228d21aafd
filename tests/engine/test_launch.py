"""The hooks of a run."""

import pytest

from poseplug.core.errors import ConfigError
from poseplug.engine.launch import DEFAULT_HOOKS, merge_default_hooks


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
