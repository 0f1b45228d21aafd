from __future__ import annotations

import gc
from pathlib import Path

import pytest

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError

ROOT = Path(__file__).parents[2]
LITE = ROOT / 'configs' / 'cpm' / 'cpm_lsp_lite.py'
BASE = """
skeleton = 'lsp'
model = dict(
    type='TopDown',
    codec=dict(type='CPMHeatmap', input_size=(64, 64), sigma_px=9.0, refine='dark'),
    backbone=dict(type='CPMVGGTrunk', vgg_channels=(4, 4, 4, 4), extra_channels=(4,)),
    head=dict(type='CPMHead', num_stages=2, norm_cfg=dict(type='BN')),
    supervision='last',
)
"""
TYPOS = """_base_ = ['base.py']
model = dict(
    head=dict(
        num_satges=3,
    ),
    input_norm=dict(men=(1, 2, 3)),
    hed=dict(type='Whatever'),
)
letterbox = dict(type='LetterboxImag')
train_dataloder = dict()
train_dataloader = dict(
    batch_sise=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='LSPSource', splti='train')],
        pipeline=[letterbox, dict(type='TransformBySource', transforms=dict(lsp=dict(type='CropBox', pading=1)))],
    ),
)
custom_hooks = [dict(type='EMAHok')]
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdmW', lr=1), constructor='RuleOptimWrapperConstuctor')
train_cfg = dict(max_epoch=3)
seed = 'x'
"""
ERRORS = """
typos.py:4, model.head.num_satges: CPMHead has no argument 'num_satges'; closest: 'num_stages'
typos.py:6, model.input_norm.men: input_norm has no argument 'men'; closest: 'mean'
typos.py:6, model.input_norm: input_norm needs mean, std; given: men
typos.py:7, model.hed: TopDown has no argument 'hed'; closest: 'head'
typos.py:9, train_dataloader.dataset.pipeline.0.type: transform 'LetterboxImag' is not registered; closest: 'LetterboxImage'
typos.py:10, train_dataloder: nothing reads 'train_dataloder'; closest: 'train_dataloader'
typos.py:12, train_dataloader.batch_sise: train_dataloader has no argument 'batch_sise'; closest: 'batch_size'
typos.py:15, train_dataloader.dataset.sources.0.splti: LSPSource has no argument 'splti'; closest: 'split'
typos.py:16, train_dataloader.dataset.pipeline.1.transforms.lsp.pading: CropBox has no argument 'pading'; closest: 'padding'
typos.py:19, custom_hooks.0.type: hook 'EMAHok' is not registered; closest: 'EMAHook'
typos.py:20, optim_wrapper.constructor: optimizer constructor 'RuleOptimWrapperConstuctor' is not registered; closest: 'RuleOptimWrapperConstructor'
typos.py:20, optim_wrapper.optimizer.type: optimizer 'AdmW' is not registered; closest: 'AdamW'
typos.py:21, train_cfg.max_epoch: TrainLoop has no argument 'max_epoch'; closest: 'max_epochs'
typos.py:22, seed: seed is a whole number; got 'x'
"""  # noqa: E501


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A small config in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path('base.py').write_text(BASE)
    return Path('base.py')


def get_error(path, options=None, training=True) -> str:
    """The message of the error that loading a config raises."""
    with pytest.raises(ConfigError) as error:
        load_config(path, options, training)
    return str(error.value)


def test_all_errors_are_reported_at_once_with_file_line_and_key(base):
    Path('typos.py').write_text(TYPOS)
    lines = get_error('typos.py').splitlines()
    expected = ERRORS.strip().splitlines()
    assert len(lines) == len(expected)
    for start in expected:
        assert any(line.startswith(start) for line in lines), start


def test_an_error_in_the_base_is_reported_in_the_base(base):
    base.write_text(BASE.replace("'CPMHead'", "'CPMHaed'"))
    Path('child.py').write_text("_base_ = 'base.py'\nmodel = dict(head=dict(num_stages=3))\n")
    assert get_error('child.py').startswith(
        "base.py:7, model.head.type: model 'CPMHaed' is not registered; closest: 'CPMHead'"
    )


@pytest.mark.parametrize('path', sorted(p.relative_to(ROOT) for p in (ROOT / 'configs').glob('[!_]*/*.py')), ids=str)
def test_every_shipped_config_is_valid(path):
    assert load_config(ROOT / path, training=True).model.type


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('model.hed.type', 'HeatmapHead', "--cfg-options, model.hed: TopDown has no argument 'hed'; closest: 'head'"),
        ('modl.head.type', 'HeatmapHead', "--cfg-options modl.head.type: the config has no 'modl'; closest: 'model'"),
        ('model.head.type', 'HeatmpHead', "--cfg-options, model.head.type: model 'HeatmpHead' is not registered; clos"),
        (
            'model.codec.sigma',
            3,
            "--cfg-options, model.codec.sigma: CPMHeatmap has no argument 'sigma'; closest: 'sigma_px'",
        ),
        ('model.codec', 3, "--cfg-options, model.codec: a codec is written as dict(type='Name', ...); got 3"),
        (
            'model.head.num_stages.x',
            3,
            '--cfg-options model.head.num_stages.x=3 does not fit the config, which has model.head.num_stages=',
        ),
        ('skeleton', 'lps', "--cfg-options, skeleton: skeleton 'lps' is not registered; closest: 'lsp'"),
        ('seed.x', 3, "--cfg-options, seed: seed is a whole number; got {'x': 3}"),
        (
            'train_cfg.epoch',
            3,
            "--cfg-options, train_cfg.epoch: TrainLoop has no argument 'epoch'; closest: 'max_epochs'",
        ),
    ],
)
def test_an_option_that_fits_nowhere_is_an_error_with_the_closest_key(base, key, value, message):
    assert get_error(base, {key: value}).startswith(message)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # mmengine leaves its copy open
@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model = dict(\n', "bad.py:1: this is not Python: '(' was never closed"),
        ("_base_ = 'absent.py'\n", 'bad.py: its base absent.py: no such config'),
        ('x = 1 / 0\n', 'bad.py cannot be read: ZeroDivisionError'),
        ('model = dict(type=3)\n', 'bad.py:1, model.type: a type is the name of a model or a class; got 3'),
        ("model = dict(type='TopDown')\n", 'bad.py:1, model: TopDown needs codec, backbone, head; given: nothing'),
    ],
)
def test_a_file_that_is_not_a_config_is_an_error(base, text, message):
    Path('bad.py').write_text(text)
    assert get_error('bad.py').startswith(message)
    gc.collect()


def test_a_missing_config_has_a_closest_one(base):
    assert get_error('bas.py') == "bas.py: no such config; closest: 'base.py'"


TRAINING = """
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
param_scheduler = [dict(type='StepLR', step_size=3)]
train_cfg = dict(max_steps=4)
"""


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        (
            "default_hooks = dict(checkpoint=dict(best='x'))",
            "checkpoint.best: SaveHook has no argument 'best'; closes",
        ),
        ('default_hooks = dict(chekpoint=dict(interval=2))', "default_hooks.chekpoint: a hook needs a 'type'; got"),
        ("default_hooks = dict(own=dict(type='EMAHook', momntum=1))", "own.momntum: EMAHook has no argument 'momntum'"),
        ("custom_hooks = dict(type='EMAHook')", "custom_hooks is a list, [dict(type='Name', ...), ...]; got {'type"),
        ("default_hooks = 'progress'", "default_hooks: a hook is written as dict(type='Name', ...); got 'progress'"),
        (
            "custom_hooks = [dict(type='PhaseHook', phase={})]",
            "0.phase: PhaseHook has no argument 'phase'",
        ),
        (
            "custom_hooks = [dict(type='LoggerHook', intervall=1)]",
            "intervall: LoggerHook has no argument 'intervall'",
        ),
        ("param_scheduler = [dict(type='StepLR', step=1)]", "param_scheduler.0.step: StepLR has no argument 'step'"),
        (
            "param_scheduler = [dict(type='QuadraticWarmupLR', last=1)]",
            "last: QuadraticWarmupLR has no argument 'last'",
        ),
        ('param_scheduler = [dict(step_size=1)]', "param_scheduler.0: a parameter scheduler needs a 'type'; got"),
        ('optim_wrapper = dict(optimizer=dict(learning=1))', "optimizer.learning: SGD has no argument 'learning'"),
        ('optim_wrapper = dict(clip_grad=dict(norm=1))', "clip_grad.norm: clip_grad has no argument 'norm'; closes"),
        (
            'optim_wrapper = dict(acumulative_counts=2)',
            "counts: OptimWrapper has no argument 'acumulative_",
        ),
        ('optim_wrapper = dict(optimizer=dict(_delete_=True, lr=1))', "an optimizer needs a 'type'; got {'lr': 1}"),
        ('auto_scale_lr = dict(batch=2)', "auto_scale_lr.batch: auto_scale_lr has no argument 'batch'"),
        ("inspector = dict(type='Visualizer')", "inspector: nothing reads 'inspector'; a config has: model, train_"),
        ('train_pipelin = []', "train_pipelin: nothing reads 'train_pipelin'"),
    ],
)
def test_a_misspelt_setting_of_training_is_an_error_with_file_and_line(base, line, message):
    base.write_text(BASE + TRAINING)
    Path('child.py').write_text(f"_base_ = 'base.py'\n{line}\n")
    error = get_error('child.py').splitlines()[0]
    assert error.startswith('child.py:2, ')
    assert message in error


def test_a_variable_that_its_own_file_does_not_read_is_an_error_unless_it_begins_with_an_underscore(base):
    base.write_text(BASE + 'steps = 3\n_note = steps\n')
    Path('child.py').write_text("_base_ = 'base.py'\nsteps = 4\n")
    assert get_error('child.py').startswith("child.py:2, steps: nothing reads 'steps'")
    Path('child.py').write_text("_base_ = 'base.py'\n_steps = 4\n")
    assert [key for key in load_config('child.py') if key not in ('model', 'skeleton')] == []


def test_an_error_in_settings_that_exchange_their_names_is_located(base):
    base.write_text(BASE.replace('num_stages=2', 'num_satges=2') + '_saved = model\nmodel = _saved\n')
    assert get_error(base).startswith("base.py:11, model.head.num_satges: CPMHead has no argument 'num_satges'")


def test_a_key_of_a_data_config_that_nothing_reads_is_an_error(base):
    Path('own.json').write_text('{"skeleton": "lsp", "train_dataloder": {}, "_note": "x"}')
    assert get_error('own.json').startswith("own.json, train_dataloder: nothing reads 'train_dataloder'; closest")


def test_a_variable_of_a_base_is_read_by_its_name(base):
    base.write_text(BASE + 'stages = 4\n')
    Path('child.py').write_text("_base_ = 'base.py'\nmodel = dict(head=dict(num_stages=_base_.stages))\n")
    assert load_config('child.py').model.head.num_stages == 4


def test_two_bases_that_set_the_same_are_an_error(base):
    Path('other.py').write_text('model = dict()\n')
    Path('child.py').write_text("_base_ = ['base.py', 'other.py']\n")
    assert 'base.py and' in get_error('child.py')
    assert "other.py both set 'model'" in get_error('child.py')


def test_a_child_that_changes_a_type_keeps_what_both_parts_inherit_and_reports_what_it_drops(base, caplog):
    Path('child.py').write_text(
        "_base_ = 'base.py'\nmodel = dict(codec=dict(type='Heatmap', stride=8), head=dict(type='HeatmapHead'))\n"
    )
    cfg = load_config('child.py')
    assert cfg.model.codec == dict(type='Heatmap', input_size=(64, 64), sigma_px=9.0, refine='dark', stride=8)
    assert cfg.model.head == dict(type='HeatmapHead')
    assert caplog.messages == [
        'child.py, model.head: HeatmapHead starts with its defaults; dropped settings of CPMHead: num_stages=2, '
        "norm_cfg={'type': 'BN'}"
    ]


def test_a_child_keeps_its_own_settings_of_the_old_parts_names(base):
    Path('child.py').write_text(
        "_base_ = 'base.py'\nmodel = dict(head=dict(type='HourglassHead', num_stacks=1, norm_cfg=dict(type='BN')))\n"
    )
    cfg = load_config('child.py')
    assert cfg.model.head == dict(type='HourglassHead', num_stacks=1, norm_cfg=dict(type='BN'))


def test_a_child_that_deletes_a_part_is_not_warned(base, caplog):
    Path('child.py').write_text("_base_ = 'base.py'\nmodel = dict(head=dict(_delete_=True, type='HeatmapHead'))\n")
    assert load_config('child.py').model.head == dict(type='HeatmapHead')
    assert caplog.messages == []


def test_another_estimator_keeps_parts_loss_and_flip_test(base, caplog):
    base.write_text(BASE.replace("supervision='last'", "supervision='last', flip_test=True, loss=dict(type='L1Loss')"))
    teacher = "teacher=dict(config='base.py', weights='base.pth')"
    Path('child.py').write_text(f"_base_ = 'base.py'\nmodel = dict(type='DistilledTopDown', {teacher})\n")
    model, old = load_config('child.py').model, load_config(base).model
    assert {key: value for key, value in model.items() if key not in ('type', 'teacher')} == {
        key: value for key, value in old.items() if key != 'type'
    }
    assert caplog.messages == []


def test_a_variable_of_a_config_is_not_a_misspelt_key(base):
    Path('child.py').write_text("_base_ = 'base.py'\nmodels = dict(num_stages=3)\nmodel = dict(head=models)\n")
    assert load_config('child.py').model.head.num_stages == 3


def test_a_library_may_be_imported_in_a_config(base):
    Path('child.py').write_text("import math\n_base_ = 'base.py'\nmodel = dict(codec=dict(sigma_px=math.sqrt(49)))\n")
    assert load_config('child.py').model.codec.sigma_px == 7


def test_a_replaced_head_has_its_defaults_and_reports_the_dropped_settings(base, caplog):
    cfg = load_config(base, {'model.head.type': 'HeatmapHead'})
    assert cfg.model.head == dict(type='HeatmapHead')
    assert caplog.messages == [
        'model.head: HeatmapHead starts with its defaults; dropped settings of CPMHead: num_stages=2, '
        "norm_cfg={'type': 'BN'}"
    ]


def test_a_replaced_codec_keeps_the_settings_that_both_inherit(base):
    cfg = load_config(base, {'model.codec.type': 'Heatmap', 'model.codec.stride': 8})
    assert cfg.model.codec == dict(type='Heatmap', input_size=(64, 64), sigma_px=9.0, refine='dark', stride=8)


def test_a_replaced_codec_drops_settings_that_it_inherits_but_does_not_use(base):
    cfg = load_config(base, {'model.codec.type': 'CPNHeatmap'})
    assert cfg.model.codec == dict(type='CPNHeatmap', input_size=(64, 64), refine='dark')


def test_a_dict_replaces_a_plain_value(base):
    assert load_config(base, {'model.codec.sigma_px': {'x': 3}}).model.codec.sigma_px == {'x': 3}


def test_a_dict_replaces_none():
    cfg = load_config('cpm_synthetic')
    assert cfg.val_dataloader is None
    loader = cfg.test_dataloader.to_dict()
    assert load_config('cpm_synthetic', {'val_dataloader': loader}).val_dataloader == loader


def test_the_order_of_options_does_not_matter(base):
    options = {'model.head.conv_layers': [(3, 8)], 'model.head.type': 'HeatmapHead'}
    assert load_config(base, options).to_dict() == load_config(base, dict(reversed(options.items()))).to_dict()
    assert load_config(base, options).model.head == dict(type='HeatmapHead', conv_layers=[(3, 8)])


def test_a_part_that_is_replaced_as_a_whole_has_its_defaults_too(base):
    cfg = load_config(base, {'model.head': dict(type='HeatmapHead', norm_cfg=None)})
    assert cfg.model.head == dict(type='HeatmapHead', norm_cfg=None)


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
def test_parts_of_the_lite_config_are_replaced_from_the_command_line(options):
    model = build_model(load_config(LITE, options))
    assert type(model.network.head).__name__ == options.get('model.head.type', 'CPMHead')
    assert type(model.network.backbone).__name__ == options.get('model.backbone.type', 'CPMVGGTrunk')
