"""Pipelines as named steps: what a config changes of its base's, and that no config repeats another's."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poseplug.config.build import build_dataset, build_model, get_crop_rule, get_input_size
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.data.transforms.base import build_pipeline
from poseplug.registry import TRANSFORMS
from poseplug.testing import create_test_sample

TRANSFORM_NAMES = TRANSFORMS.list_names()
CONFIGS = Path(__file__).parents[2] / 'configs'
BASE = """
train_dataloader = dict(
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='LSPSource')],
        pipeline=dict(
            crop=dict(type='CropBox', padding=1.5),
            half_body=None,
            flip=dict(type='RandomFlip'),
            warp=dict(type='Warp'),
        ),
    ),
)
"""


@pytest.fixture
def base(tmp_path, monkeypatch):
    """The file of a config with named steps, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path('base.py').write_text(BASE)
    return Path('base.py')


def load_steps(steps: str) -> list[dict]:
    """The transforms of a config that changes steps of the base."""
    Path('child.py').write_text(f"_base_ = 'base.py'\ntrain_dataloader = dict(dataset=dict(pipeline={steps}))\n")
    return load_config('child.py').train_dataloader.dataset.pipeline


def test_named_steps_are_a_list_without_those_that_are_none(base):
    assert load_config(base).train_dataloader.dataset.pipeline == [
        dict(type='CropBox', padding=1.5),
        dict(type='RandomFlip'),
        dict(type='Warp'),
    ]


@pytest.mark.parametrize(
    ('steps', 'expected'),
    [
        ('dict(crop=dict(padding=2.0))', [('CropBox', 2.0), ('RandomFlip', None), ('Warp', None)]),
        ('dict(flip=None)', [('CropBox', 1.5), ('Warp', None)]),
        ("dict(half_body=dict(type='RandomHalfBody'))", ['CropBox', 'RandomHalfBody', 'RandomFlip', 'Warp']),
        ("dict(color=dict(type='RandomColor'))", ['CropBox', 'RandomFlip', 'Warp', 'RandomColor']),
        ("dict(crop=dict(_delete_=True, type='LetterboxImage'))", ['LetterboxImage', 'RandomFlip', 'Warp']),
        ("[dict(type='Warp')]", ['Warp']),
    ],
)
def test_a_config_changes_single_steps_of_its_base(base, steps, expected):
    loaded = load_steps(steps)
    names = [name if isinstance(name, str) else name[0] for name in expected]
    assert [step['type'] for step in loaded] == names
    assert [step.get('padding') for step in loaded if isinstance(expected[0], tuple)][:1] in ([], [expected[0][1]])


def test_steps_inside_a_transform_have_names_too(base):
    switch = "dict(_delete_=True, type='PipelineSwitch', switch_epoch=1, first_transforms=dict(a=dict(type='CropBox')))"
    assert load_steps(f'dict(crop={switch})')[0]['first_transforms'] == [dict(type='CropBox')]


def test_an_option_changes_a_step_by_its_index(base):
    cfg = load_config(base, {'train_dataloader.dataset.pipeline.0.padding': 1.1})
    assert cfg.train_dataloader.dataset.pipeline[0].padding == 1.1


def test_an_error_in_a_step_has_the_line_of_the_step(base):
    base.write_text(BASE.replace("flip=dict(type='RandomFlip')", "flip=dict(type='RandomFlip', probb=1)"))
    with pytest.raises(ConfigError, match=r'^base.py:9, train_dataloader.dataset.pipeline.1.probb: RandomFlip has no'):
        load_config(base)


def test_a_data_config_has_named_steps_too(base):
    steps = dict(crop=dict(type='CropBox'), flip=None, warp=dict(type='Warp'))
    dataset = dict(type='PoseDataset', sources=[dict(type='LSPSource')], pipeline=steps)
    Path('own.json').write_text(json.dumps(dict(train_dataloader=dict(dataset=dataset))))
    assert [s['type'] for s in load_config('own.json').train_dataloader.dataset.pipeline] == ['CropBox', 'Warp']


def list_spelled_steps(file: Path) -> list[list[str]]:
    """The lists and dicts of 3 or more transforms that a file spells out, each step as text, variables resolved."""
    tree = ast.parse(file.read_text())
    values = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = []
    for node in ast.walk(tree):
        elements = getattr(node, 'elts', None) or [keyword.value for keyword in getattr(node, 'keywords', [])]
        elements = [values.get(e.id, e) if isinstance(e, ast.Name) else e for e in elements]
        found.append([ast.unparse(e) for e in elements if get_type(e) in TRANSFORM_NAMES])
    return [steps for steps in found if len(steps) >= 3]


def get_type(node: ast.expr) -> str | None:
    """The `type` of a dict(...) call, as written."""
    keywords = {k.arg: k.value for k in getattr(node, 'keywords', [])}
    return getattr(keywords.get('type'), 'value', None)


def test_no_two_configs_spell_out_the_same_three_transforms_in_a_row():
    places: dict[tuple[str, ...], set[str]] = {}
    for file in CONFIGS.rglob('*.py'):
        for steps in list_spelled_steps(file):
            for start in range(len(steps) - 2):
                places.setdefault(tuple(steps[start : start + 3]), set()).add(file.name)
    assert {steps: names for steps, names in places.items() if len(names) > 1} == {}


def test_no_config_has_more_than_forty_lines():
    lengths = {file.name: len(file.read_text().splitlines()) for file in CONFIGS.glob('[!_]*/*.py')}
    assert [name for name, count in lengths.items() if count > 40] == []


# --- The codec's grid -------------------------------------------------------------------------------------------------


def test_no_config_states_the_crop_rule_of_a_transform():
    for file in CONFIGS.rglob('*.py'):
        assert 'crop_rule' not in file.read_text()
        assert 'use_udp' not in file.read_text()


def crop_box(options: dict, loader: str = 'train_dataloader') -> np.ndarray:
    """The matrix of a box of 24 x 32 px at (10, 20), padded by nothing, by the pipeline of a config with options."""
    options = {f'{loader}.dataset.pipeline.0.padding': 1.0, **options}
    cfg = load_config('hrnet_w32_coco_256x192', options)
    provided = dict(input_size=get_input_size(cfg), crop_rule=get_crop_rule(cfg))
    steps = cfg[loader].dataset.pipeline[:1]
    (crop,) = build_pipeline(steps, **provided)
    sample = create_test_sample()
    boxes = np.array([[10.0, 20.0, 34.0, 52.0]] * 2)
    instances = replace(sample.record.instances, boxes=boxes, has_box=np.ones(2, bool))
    return crop(replace(sample, record=replace(sample.record, instances=instances))).image_to_input


UDP = {'model.codec': dict(_delete_=True, type='UDPHeatmap', input_size=(192, 256))}


@pytest.mark.parametrize('loader', ['train_dataloader', 'test_dataloader'])
def test_the_codec_of_an_option_changes_the_crop(loader):
    plain, aligned = crop_box({}, loader), crop_box(UDP, loader)
    scale = 191 / 24  # from the first pixel of 192 to the last
    np.testing.assert_allclose(plain, [[8, 0, 95.5 - 8 * 22], [0, 8, 127.5 - 8 * 36], [0, 0, 1]])
    np.testing.assert_allclose(aligned, [[scale, 0, 95.5 - scale * 22], [0, scale, 127.5 - scale * 36], [0, 0, 1]])


def test_an_aligned_grid_and_a_released_implementation_change_the_crop():
    assert not np.allclose(crop_box({}), crop_box({'model.codec.match': 'mmpose'}))
    assert not np.allclose(crop_box({}), crop_box({'model.codec.aligned': True}))


def test_a_pipeline_cannot_contradict_the_grid(tmp_path):
    crop_rule = {'train_dataloader.dataset.pipeline.0.crop_rule': 'corners'}
    cfg = load_config('hrnet_w32_coco_256x192', crop_rule)
    provided = dict(input_size=get_input_size(cfg), crop_rule=get_crop_rule(cfg))
    with pytest.raises(MismatchError, match=r"CropBox is given crop_rule='corners' in the config, but .*'pixels'"):
        build_pipeline(cfg.train_dataloader.dataset.pipeline, **provided)


@pytest.mark.parametrize(('match', 'rule'), [('poseplug', 'corners'), ('mmpose', 'released_udp')])
def test_a_data_set_receives_the_crop_rule_of_the_codec_in_every_transform(match, rule, tiny_data):
    switch = dict(type='PipelineSwitch', switch_epoch=1, first_transforms=[dict(type='RandomHalfBody')])
    by_source = dict(type='TransformBySource', transforms=dict(lsp=dict(type='CropBox')))
    source = dict(type='LSPSource', data_root=str(tiny_data), split='train')
    spec = dict(type='PoseDataset', sources=[source], pipeline=[by_source, switch])
    codec = dict(type='UDPHeatmap', input_size=(64, 64), match=match)
    dataset = build_dataset(dict(skeleton='lsp', model=dict(codec=codec)), spec)
    crop, half_body = dataset.pipeline[0].transforms['lsp'], dataset.pipeline[1].first_transforms[0]
    assert (crop.crop_rule, half_body.crop_rule) == (rule, rule)


def test_decoders_of_one_image_share_the_crop_rule():
    heatmap = dict(type='Heatmap', input_size=(32, 32), stride=8)
    udp = dict(type='UDPHeatmap', input_size=(32, 32), stride=8)
    decoders = dict(
        coco=dict(skeleton='coco', sources=('coco',), codec=heatmap),
        lsp=dict(skeleton='lsp', sources=('lsp',), codec=udp),
    )
    parts = dict(backbone=dict(type='CPMTrunk'), head=dict(type='HeatmapHead'), decoders=decoders)
    with pytest.raises(ConfigError, match='the decoders share their images and need one input_size and crop_rule; got'):
        build_model(dict(skeleton='coco+lsp', model=dict(type='MultiTopDown', **parts)))
