from __future__ import annotations

import gc
from pathlib import Path

import pytest

from poseplug.build import build_model
from poseplug.config import load_config
from poseplug.errors import ConfigError

ROOT = Path(__file__).parents[1]
LITE = ROOT / 'configs' / 'cpm' / 'cpm_lsp_lite.py'
BASE = """
skeleton = 'lsp'
model = dict(
    type='TopDown',
    codec=dict(type='CPMHeatmap', input_size=(64, 64), sigma=9.0, refine='dark'),
    backbone=dict(type='CPMVGGTrunk', vgg=(4, 4, 4, 4), extra=(4,)),
    head=dict(type='CPMHead', stages=2, norm='BN'),
    supervision='last',
)
"""
TYPOS = """_base_ = ['base.py']
model = dict(
    head=dict(
        satges=3,
    ),
    pixels=dict(men=(1, 2, 3)),
    hed=dict(type='Whatever'),
)
place = dict(type='PlacePictur')
train_dataloder = dict()
train_dataloader = dict(
    batch_sise=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='LSPSource', hlaf='train')],
        pipeline=[place, dict(type='PlaceBySource', rules=dict(lsp=dict(type='PlaceBox', pading=1)))],
    ),
)
custom_hooks = [dict(type='EMAHok')]
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdmW', lr=1), constructor='RuleConstuctor')
train_cfg = dict(epoch=3)
seed = 'x'
"""
FOUND = """
typos.py:4, model.head.satges: CPMHead has no argument 'satges'; closest: 'stages'
typos.py:6, model.pixels.men: the pixels have no setting 'men'; closest: 'mean'
typos.py:7, model.hed: TopDown has no argument 'hed'; closest: 'head'
typos.py:9, train_dataloader.dataset.pipeline.0.type: transform 'PlacePictur' is not registered; closest: 'PlacePicture'
typos.py:10, train_dataloder: nothing reads 'train_dataloder'; closest: 'train_dataloader'
typos.py:12, train_dataloader.batch_sise: a loader has no setting 'batch_sise'; closest: 'batch_size'
typos.py:15, train_dataloader.dataset.sources.0.hlaf: LSPSource has no argument 'hlaf'; closest: 'half'
typos.py:16, train_dataloader.dataset.pipeline.1.rules.lsp.pading: PlaceBox has no argument 'pading'; closest: 'padding'
typos.py:19, custom_hooks.0.type: hook 'EMAHok' is not registered; closest: 'EMAHook'
typos.py:20, optim_wrapper.constructor: optimizer constructor 'RuleConstuctor' is not registered; closest: 'RuleCons
typos.py:20, optim_wrapper.optimizer.type: optimizer 'AdmW' is not registered; closest: 'AdamW'
typos.py:21, train_cfg.epoch: TrainLoop has no argument 'epoch'; closest: 'epochs'
typos.py:22, seed: seed is a whole number; got 'x'
"""


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A small config in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path('base.py').write_text(BASE)
    return Path('base.py')


def told(path, options=None, training=True) -> str:
    """What loading a config says is wrong."""
    with pytest.raises(ConfigError) as error:
        load_config(path, options, training)
    return str(error.value)


def test_everything_that_is_wrong_is_told_at_once_with_file_line_and_key(base):
    Path('typos.py').write_text(TYPOS)
    found = told('typos.py').splitlines()
    wanted = FOUND.strip().splitlines()
    assert len(found) == len(wanted)
    for line in wanted:
        assert any(f.startswith(line) for f in found), line


def test_what_the_base_says_is_blamed_on_the_base(base):
    base.write_text(BASE.replace("'CPMHead'", "'CPMHaed'"))
    Path('child.py').write_text("_base_ = 'base.py'\nmodel = dict(head=dict(stages=3))\n")
    assert told('child.py').startswith(
        "base.py:7, model.head.type: model 'CPMHaed' is not registered; closest: 'CPMHead'"
    )


@pytest.mark.parametrize('path', sorted(p.relative_to(ROOT) for p in (ROOT / 'configs').glob('[!_]*/*.py')), ids=str)
def test_every_config_of_the_house_is_sound(path):
    assert load_config(ROOT / path, training=True).model.type


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('model.hed.type', 'HeatmapHead', "--cfg-options, model.hed: TopDown has no argument 'hed'; closest: 'head'"),
        ('modl.head.type', 'HeatmapHead', "--cfg-options modl.head.type: the config has no 'modl'; closest: 'model'"),
        ('model.head.type', 'HeatmpHead', "--cfg-options, model.head.type: model 'HeatmpHead' is not registered; clos"),
        ('model.codec.sigm', 3, "--cfg-options, model.codec.sigm: CPMHeatmap has no argument 'sigm'; closest: 'sigma'"),
        ('model.codec', 3, "--cfg-options, model.codec: a codec is written as dict(type='Name', ...); got 3"),
        (
            'model.head.norm.x',
            3,
            '--cfg-options model.head.norm.x=3 does not fit the config, which has model.head.norm=',
        ),
        ('skeleton', 'lps', "--cfg-options, skeleton: skeleton 'lps' is not registered; closest: 'lsp'"),
        ('seed.x', 3, "--cfg-options, seed: seed is a whole number; got {'x': 3}"),
        ('train_cfg.epoch', 3, "--cfg-options, train_cfg.epoch: TrainLoop has no argument 'epoch'; closest: 'epochs'"),
    ],
)
def test_an_option_that_fits_nowhere_is_an_error_with_the_closest_key(base, key, value, message):
    assert told(base, {key: value}).startswith(message)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # mmengine leaves its copy open
@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model = dict(\n', "bad.py:1: this is not Python: '(' was never closed"),
        ("_base_ = 'absent.py'\n", 'bad.py cannot be read: FileNotFoundError'),
        ('x = 1 / 0\n', 'bad.py cannot be read: ZeroDivisionError'),
        ('model = dict(type=3)\n', 'bad.py:1, model.type: a type is the name of a model or a class; got 3'),
        ("model = dict(type='TopDown')\n", 'bad.py:1, model: TopDown needs codec, backbone, head; given: nothing'),
    ],
)
def test_a_file_that_is_no_config_is_told(base, text, message):
    Path('bad.py').write_text(text)
    assert told('bad.py').startswith(message)
    gc.collect()


def test_a_config_that_is_absent_has_a_closest_one(base):
    assert told('bas.py') == "bas.py: no such config; closest: 'base.py'"


def test_a_variable_of_the_configs_own_is_no_misspelt_key(base):
    Path('child.py').write_text("_base_ = 'base.py'\nmodels = dict(stages=3)\nmodel = dict(head=models)\n")
    assert load_config('child.py').model.head.stages == 3


def test_a_library_may_be_imported_in_a_config(base):
    Path('child.py').write_text("import math\n_base_ = 'base.py'\nmodel = dict(codec=dict(sigma=math.sqrt(49)))\n")
    assert load_config('child.py').model.codec.sigma == 7


def test_an_exchanged_head_starts_anew_and_says_what_it_left(base, caplog):
    cfg = load_config(base, {'model.head.type': 'HeatmapHead'})
    assert cfg.model.head == dict(type='HeatmapHead')
    assert caplog.messages == [
        "model.head: HeatmapHead starts with its own defaults; settings of CPMHead left behind: stages=2, norm='BN'"
    ]


def test_an_exchanged_codec_keeps_what_both_inherit(base):
    cfg = load_config(base, {'model.codec.type': 'Heatmap', 'model.codec.stride': 8})
    assert cfg.model.codec == dict(type='Heatmap', input_size=(64, 64), sigma=9.0, refine='dark', stride=8)


def test_an_exchanged_codec_leaves_what_it_inherits_but_cannot_use(base):
    cfg = load_config(base, {'model.codec.type': 'CPNHeatmap'})
    assert cfg.model.codec == dict(type='CPNHeatmap', input_size=(64, 64), refine='dark')


def test_a_dict_takes_the_place_of_a_plain_value(base):
    assert load_config(base, {'model.codec.sigma': {'x': 3}}).model.codec.sigma == {'x': 3}


def test_the_order_of_options_does_not_matter(base):
    options = {'model.head.hidden': [(3, 8)], 'model.head.type': 'HeatmapHead'}
    assert load_config(base, options).to_dict() == load_config(base, dict(reversed(options.items()))).to_dict()
    assert load_config(base, options).model.head == dict(type='HeatmapHead', hidden=[(3, 8)])


def test_a_part_given_as_a_whole_starts_anew_too(base):
    cfg = load_config(base, {'model.head': dict(type='HeatmapHead', norm=None)})
    assert cfg.model.head == dict(type='HeatmapHead', norm=None)


def test_the_same_type_again_keeps_every_setting(base):
    assert load_config(base, {'model.head.type': 'CPMHead'}).to_dict() == load_config(base).to_dict()


@pytest.mark.parametrize(
    'options',
    [
        {'model.head.type': 'HeatmapHead'},
        {'model.backbone.type': 'CPMTrunk'},
        {'model.backbone.type': 'CPMTrunk', 'model.head.type': 'HeatmapHead'},
        {'model.codec.type': 'Heatmap', 'model.codec.stride': 8},
        {'model.codec.refine': 'none'},
        {'model.supervision': 'last'},
    ],
    ids=str,
)
def test_parts_of_the_lite_config_mix_from_the_command_line(options):
    model = build_model(load_config(LITE, options))
    assert type(model.head).__name__ == options.get('model.head.type', 'CPMHead')
    assert type(model.backbone).__name__ == options.get('model.backbone.type', 'CPMVGGTrunk')
