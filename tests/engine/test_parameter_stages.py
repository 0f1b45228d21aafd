"""Which stage a parameter belongs to, and freezing by stage."""

import pytest
import torch

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.engine.launch import run_training
from poseplug.engine.parameter_stages import find_parameter_stages, resolve_freeze
from poseplug.files.weights import load_checkpoint


def test_a_parameter_belongs_to_the_first_stage_that_uses_it():
    stages = find_parameter_stages(build_model(load_config('cpm_lsp_368')))
    parts = {name: stage for name, stage in stages.items() if name.endswith('weight')}
    assert {s for n, s in parts.items() if n.startswith(('backbone.trunks.0', 'head.first', 'head.predict.0'))} == {1}
    # the later stages have one trunk in common
    assert {s for n, s in parts.items() if n.startswith(('backbone.trunks.1', 'head.contexts.0'))} == {2}
    assert {s for n, s in parts.items() if n.startswith(('head.contexts.4', 'head.predict.5'))} == {6}


def test_what_feeds_the_next_hourglass_belongs_to_it():
    stages = find_parameter_stages(build_model(load_config('hourglass4_coco_128x96')))
    assert {s for n, s in stages.items() if n.startswith(('head.stacks.0', 'head.predict.0', 'backbone'))} == {1}
    assert {s for n, s in stages.items() if n.startswith(('head.merges.0', 'head.remaps.0', 'head.stacks.1'))} == {2}


def test_frozen_stages_keep_weights_and_statistics(tiny_config, tmp_path):
    torch.manual_seed(0)
    cfg = tiny_config(freeze=dict(stages=[1]), custom_hooks=None, **{'train_cfg.max_steps': 2})
    stages = find_parameter_stages(build_model(cfg))
    run_training(cfg, tmp_path / 'run')
    after = load_checkpoint(tmp_path / 'run/step_0000002.pth')['state_dict']
    torch.manual_seed(0)
    before = build_model(cfg).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in changed if stages.get(name) == 1 or name.startswith(('backbone', 'head.first'))} == set()
    assert any(name.startswith('head.contexts.0') and name.endswith('running_mean') for name in changed)


def test_stages_for_the_first_epochs_become_patterns(tiny_config):
    model = build_model(tiny_config())
    spec = resolve_freeze(dict(stages=2, epochs=3), model)
    assert spec['epochs'] == 3
    assert any('contexts' in pattern for pattern in spec['patterns'])
    assert resolve_freeze(['^backbone'], model) == ['^backbone']


@pytest.mark.parametrize('stages', [[0], [3], [], ['a']])
def test_stages_that_the_model_lacks_are_refused(tiny_config, stages):
    with pytest.raises(ConfigError, match=r'freeze: stages are numbers from 1 to 2, such as \[1\]; got'):
        resolve_freeze(dict(stages=stages), build_model(tiny_config()))
