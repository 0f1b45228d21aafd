"""What a run is started with."""

import pytest

from poseplug.engine.launch import DEFAULT_HOOKS, hooks
from poseplug.errors import ConfigError


def test_a_usual_hook_takes_a_setting_without_its_type():
    assert hooks({'progress': {'interval': 4}})['progress'] == {'type': 'ProgressHook', 'interval': 4}


def test_a_usual_hook_can_be_replaced_or_left_out_and_the_others_stay():
    joined = hooks({'progress': None, 'checkpoint': {'type': 'OtherHook'}})
    assert joined['progress'] is None
    assert joined['checkpoint'] == {'type': 'OtherHook'}
    assert joined['finite'] == DEFAULT_HOOKS['finite']


def test_a_hook_of_an_unknown_name_needs_a_type():
    with pytest.raises(ConfigError, match=r"default_hooks\.progres has no 'type'.*known: .*progress"):
        hooks({'progres': {'interval': 4}})
