"""The index of published models: what it says is whole, and every model in it takes the tensors that are published.

Names and shapes of MMPose's models are read from POSEPLUG_ZOO (by default ../shared/zoo). All models, and the table by
family: pytest -m slow -s tests/zoo/test_index.py
"""

import gzip
import json
import os
import re
import tomllib
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest
import torch

from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.files.download_address import url_to_file_name
from poseplug.files.skeleton_record import check_keypoints
from poseplug.inspect.complexity import build_on_meta_device, trace_forward
from poseplug.models.estimators.part_wiring import IMAGENET_NORM
from poseplug.predict.shipped_model import SHIPPED_MODEL_DIR, SHIPPED_MODEL_NAME
from poseplug.registry.skeletons import get_skeleton
from poseplug.zoo.foreign_checkpoint import KEYPOINT_NAMES_FILE, read_dataset_meta
from poseplug.zoo.index import (
    MODEL_PRESETS,
    TASKS,
    expand_model_names,
    find_published_model,
    is_model_name,
    list_published_models,
    match_published_models,
)
from poseplug.zoo.installed_models import CARDS_FILE, list_installed_entries
from poseplug.zoo.mmpose import convert_state_dict
from poseplug.zoo.model_list import format_model_card, format_model_list, format_models_page
from poseplug.zoo.published_models import load_published_config

FOLDER = Path(os.environ.get('POSEPLUG_ZOO', Path(__file__).parents[3] / 'shared/zoo'))
MODELS = list_published_models()
DTYPES = {'float32': torch.float32, 'int64': torch.int64}
# One or two of each kind of network, read-out and data; the others are slow only by their number.
SAMPLE = (
    'hrnet-w32', 'hrnet-w48-udp', 'hrnet-w32-udp-regress', 'simplebaseline-r50-dark', 'rtmpose-t', 'rtmpose-m-halpe26',
    'rtmo-t', 'rtmo-s-crowdpose', 'vitpose-s', 'vitpose-s-simple', 'simcc-r50', 'cspnext-t', 'rtmpose-m-wholebody',
    'rtmpose-m-face6', 'rtmpose-m-ap10k', 'simplebaseline-r50-deepfashion-lower', 'swin-t', 'hrformer-small', 'pvt-s',
    'rsn18', 'yoloxpose-tiny', 'rtmw-m', 'cpm-mpii',
)  # fmt: skip


@cache
def read_published_models() -> dict:
    file = FOLDER / 'mmpose_shapes.json.gz'
    if not file.is_file():
        pytest.skip(f'{file} is not there; POSEPLUG_ZOO names its folder')
    content = json.loads(gzip.decompress(file.read_bytes()))
    return {Path(config).stem: model for config, model in content.items()}


def read_published_shapes() -> dict:
    return {name: model.get('state') for name, model in read_published_models().items()}


def find_shapes(model) -> dict:
    shapes = read_published_shapes()
    names = [name for name in model.aliases if shapes.get(name)]
    # MMPose 1.3.2 does not build two of its models, whose networks are those of COCO.
    names += [name.replace('humanart', 'coco') for name in model.aliases]
    return next((shapes[name] for name in names if shapes.get(name)), {})


@pytest.fixture
def _no_random_values(monkeypatch):
    """On the meta device, drawing initial values takes time and does nothing."""
    for name in ('normal_', 'uniform_'):
        monkeypatch.setattr(torch.Tensor, name, lambda tensor, *_, **__: tensor)


def convert_shapes(name: str) -> None:
    """Convert tensors without values of the published names and shapes; raises if anything is left over or missing."""
    model = MODELS[name]
    network = build_on_meta_device(load_published_config(name))
    state = {
        key: torch.empty(shape, dtype=DTYPES[kind], device='meta') for key, (shape, kind) in find_shapes(model).items()
    }
    if state:  # MMPose 1.3.2 does not build all of its models
        converted, _ = convert_state_dict(network, state)
        assert converted.keys() == network.state_dict().keys()
    assert sum(p.numel() for p in network.parameters()) == model.parameters
    assert network.skeleton.name == model.skeleton
    assert tuple(network.codec.input_size) == model.input_size


@pytest.mark.usefixtures('_no_random_values')
@pytest.mark.parametrize('name', SAMPLE)
def test_a_model_takes_the_tensors_that_are_published(name):
    convert_shapes(name)


@pytest.mark.slow
@pytest.mark.usefixtures('_no_random_values')
def test_every_model_takes_the_tensors_that_are_published(capsys):
    coverage = json.loads((FOLDER / 'mmpose_coverage.json').read_text())
    names = {url: model.name for model in MODELS.values() for url in model.urls}
    for name in MODELS:
        if not name.startswith('dekr'):  # MMPose builds it with mmcv's compiled operators alone
            convert_shapes(name)
    before, after, totals = Counter(), Counter(), Counter()
    missing = defaultdict(list)
    for record in coverage:
        family = record['family']
        totals[family] += 1
        before[family] += record['category'] == 'A1'
        # One address begins with a bracket in its metafile.
        is_known = record['weights'].removeprefix('(') in names
        after[family] += is_known
        if not is_known:
            missing[family].append(record['name'])
    with capsys.disabled():
        print(f'\n{"family of body models":28} files  without settings before  by name now')
        for family, count in totals.most_common():
            print(f'{family:28} {count:5}  {before[family]:23}  {after[family]:11}')
        print(f'{"all":28} {totals.total():5}  {before.total():23}  {after.total():11}')
        print('by task', Counter(model.task for model in MODELS.values()))
        print('\n'.join(f'missing, {family}: {", ".join(names)}' for family, names in missing.items()))
    assert after.total() >= 229


def check_input_settings(name: str) -> None:
    """Pixels are normalized, and flipped images averaged, as MMPose's config of the model says."""
    known, model = read_published_models(), load_published_config(name).model
    published = next((known[alias] for alias in MODELS[name].aliases if alias in known), {})
    if not published.get('model'):  # MMPose 1.3.2 does not build all of its models
        return
    images, norm = published['model']['data_preprocessor'], {**IMAGENET_NORM, **model.get('input_norm', {})}
    for key in ('mean', 'std'):
        assert [*norm[key]] == pytest.approx(images[key]), name
    assert norm['channel_order'] == ('rgb' if images.get('bgr_to_rgb') else 'bgr'), name
    if model.type != 'OneStage':
        assert model.flip_test == published['test_cfg'].get('flip_test', False), name


@pytest.mark.parametrize('name', ['rtmo-t', 'rtmo-s-crowdpose', 'yoloxpose-tiny', 'cspnext-m-mpii', 'hrnet-w32'])
def test_a_model_gets_the_pixels_that_it_was_trained_for(name):
    check_input_settings(name)


@pytest.mark.slow
def test_every_model_gets_the_pixels_that_it_was_trained_for():
    for name in MODELS:
        check_input_settings(name)


def test_small_boxes_are_cut_as_published():
    """MMPose crops locusts, zebras and FreiHand's hands by 0.8 of boxes that are the whole images."""
    for name in ('simplebaseline-r50-locust', 'simplebaseline-r152-zebra', 'simplebaseline-r50-freihand'):
        assert load_published_config(name).test_dataloader.dataset.pipeline[0].padding == 0.8


def test_names_and_aliases_are_unique():
    names = [name for model in MODELS.values() for name in (model.name, *model.aliases)]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert not set(names) & set(MODEL_PRESETS)
    assert set(MODEL_PRESETS.values()) <= set(MODELS)


@pytest.mark.parametrize('task', TASKS)
def test_entries_are_whole(task):
    models = [model for model in MODELS.values() if model.task == task]
    assert models
    for model in models:
        assert re.fullmatch(r'[a-z0-9]+(-[a-z0-9]+)*', model.name), model.name
        assert all(url.startswith('https://') for url in model.urls)
        assert model.urls
        assert re.fullmatch(r'([0-9a-f]{7,8})?', model.sha256_prefix), model.name
        assert not model.sha256_prefix or model.sha256_prefix in model.urls[0]
        assert len(get_skeleton(model.skeleton)) > 1
        assert model.parameters > 1e5
        assert model.macs, model.name
        assert model.scores, model.name
        assert model.weights_license
        assert all(text for text in (model.citation, model.intended_use, model.limits)), model.name


def test_multiply_adds_of_convolutions_are_proportional_to_the_area_of_the_input():
    pairs = {name: name.removesuffix('-384x288') for name in MODELS if name.endswith('-384x288')}
    convolutional = ('hrnet', 'simplebaseline', 'resnet', 'mobilenetv2', 'shufflenet')
    pairs = {large: small for large, small in pairs.items() if small in MODELS and large.startswith(convolutional)}
    assert len(pairs) > 20
    for large, small in pairs.items():
        assert MODELS[large].macs == pytest.approx(2.25 * MODELS[small].macs, rel=1e-3), large


def test_whole_image_models_are_those_of_whole_images():
    families = {model.name.split('-')[0] for model in MODELS.values() if model.finds_instances}
    assert families == {'ae', 'dekr', 'rtmo', 'yoloxpose'}
    assert not MODELS['rtmpose-m'].finds_instances


def test_the_models_that_are_installed_have_their_cards():
    entries = list_installed_entries()
    assert SHIPPED_MODEL_NAME in [entry.name for entry in entries]
    texts = tomllib.loads((SHIPPED_MODEL_DIR / CARDS_FILE).read_text())
    assert sorted(texts) == [entry.name for entry in entries]
    for entry in entries:
        model = build_on_meta_device(load_config(entry.config))
        assert entry.macs == trace_forward(model).macs['Global']
        card, dataset = format_model_card(entry), load_config(entry.config).skeleton
        assert entry.skeleton == dataset
        assert (SHIPPED_MODEL_DIR / f'{entry.name}.safetensors').stat().st_size == entry.num_bytes
        assert all(
            f'\n{title:9}  ' in card for title in ('data', 'license', 'for', 'limits', 'use', 'trained', 'score')
        )
        assert max(map(len, card.splitlines())) <= 120


def test_models_that_are_installed_are_listed_first_and_by_a_part_of_their_name():
    entries = list_installed_entries()
    assert match_published_models(entries[0].name, installed=entries) == entries[:1]
    assert match_published_models('*', installed=entries)[: len(entries)] == entries
    assert entries[0] not in match_published_models('*')


def test_every_published_file_has_a_name_of_its_own():
    files = Counter(url_to_file_name(model.urls[0]) for model in MODELS.values())
    assert [file for file, count in files.items() if count > 1] == []


@pytest.mark.parametrize('name', ['ap10k', 'deepfashion2', 'face98', 'mpii'])
def test_keypoints_that_mmpose_calls_otherwise_are_recognized(name):
    names = json.loads(KEYPOINT_NAMES_FILE.read_text())[name]
    meta = {'dataset_meta': {'dataset_name': name, 'keypoint_id2name': dict(enumerate(names))}}
    check_keypoints(read_dataset_meta(meta), get_skeleton(name), 'file.pth')


def test_an_unknown_name_has_the_closest_ones():
    with pytest.raises(ConfigError, match=r"'rtmpos-m' is no published model; closest: 'rtmpose-m'"):
        find_published_model('rtmpos-m')
    assert not is_model_name('rtmpos-m')
    assert not is_model_name('')
    with pytest.raises(ConfigError, match="'rtmo-s' is no model of the task 'hand'"):
        match_published_models('rtmo-s', 'hand')


def test_patterns_presets_and_aliases_name_models():
    assert [model.name for model in match_published_models('rtmo-?')] == ['rtmo-l', 'rtmo-m', 'rtmo-s', 'rtmo-t']
    assert find_published_model('balanced').name == 'rtmo-m'
    assert find_published_model('RTMO-M').name == find_published_model('Balanced').name == 'rtmo-m'
    assert [model.name for model in match_published_models('RTMO-?')][-1] == 'rtmo-t'
    assert len({name.lower() for model in MODELS.values() for name in (model.name, *model.aliases)}) == sum(
        1 + len(model.aliases) for model in MODELS.values()
    )
    assert find_published_model('rtmo-s_8xb32-600e_body7-640x640').name == 'rtmo-s'
    assert [model.name for model in expand_model_names(['hrnet-w32', 'hrnet-w32', 'rtmo-[sl]'])] == [
        'hrnet-w32', 'rtmo-l', 'rtmo-s',
    ]  # fmt: skip


def test_a_list_a_card_and_the_page_show_what_the_index_says():
    models = match_published_models('rtmo-?')
    lines = format_model_list(models).splitlines()
    assert len(lines) == 6
    assert lines[5] == 'presets: fast: rtmo-t, balanced: rtmo-m, accurate: rtmo-l'
    assert lines[3].split()[:3] == ['rtmo-s', 'body', '640x640']
    card = format_model_card(find_published_model('rtmo-m'))
    assert 'balanced' in card
    assert 'published by MMPose 1.3.2' in card
    assert card.endswith('use        poseplug predict IMAGE --model rtmo-m')
    card = format_model_card(find_published_model('hrnet-w32'))
    assert 'one instance per box' in card
    assert card.endswith('--model hrnet-w32 --detector balanced')
    assert 'Deep high-resolution representation learning for human pose estimation,' in card
    card = format_model_card(find_published_model('hand'))
    assert card.endswith('--boxes X,Y,WIDTH,HEIGHT')
    page = format_models_page(models)
    assert page.count('\n| `rtmo-') == 4
    assert max(map(len, page.splitlines())) <= 140
