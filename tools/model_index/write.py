"""Write poseplug/zoo/*.json from what MMPose publishes.

python tools/model_index/write.py METAFILES
METAFILES is the folder `mmpose/.mim/configs` of the package mmpose 1.3.2; POSEPLUG_ZOO is the folder with the shapes of
its models (mmpose_shapes.json.gz). Every model that has an equal here gets an entry; the others are printed with the
reason.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from data_settings import DataSettings, get_data_settings, list_data_settings, list_test_settings
from mmpose_models import PublishedModel, read_data_citations, read_keypoint_names, read_published_models
from short_names import choose_short_names
from translated_parts import NotTranslatedError
from translation import TranslatedModel, translate_model

from poseplug.config.load import load_config
from poseplug.config.shipped import list_configs
from poseplug.core.errors import PoseplugError
from poseplug.files.skeleton_record import find_keypoint_differences
from poseplug.inspect.complexity import build_on_meta_device, trace_forward
from poseplug.registry.skeletons import get_skeleton
from poseplug.registry.wiring import freeze_lists
from poseplug.zoo.index import MODEL_PRESETS
from poseplug.zoo.mmpose import convert_state_dict

ZOO = Path(__file__).parents[2] / 'poseplug/zoo'
_DEFAULTS = dict(
    converter='mmpose',
    code_license='Apache-2.0',
    weights_license='published with MMPose, which is under Apache-2.0; the files state no license of their own',
    data_license='the terms of the training data apply; MMPose does not restate them',
)
# What the models of a task are for, and what they were not made or measured for.
_PEOPLE = 'trained and measured on the data named here alone; not for recognizing people, or for decisions about them'
_USES = {
    'body': dict(intended_use='body keypoints of people in images and videos', limits=_PEOPLE),
    'wholebody': dict(intended_use='keypoints of body, feet, face and hands of people', limits=_PEOPLE),
    'hand': dict(intended_use='keypoints of a hand in its box', limits=_PEOPLE),
    'face': dict(intended_use='landmarks of a face in its box', limits=_PEOPLE),
    'animal': dict(
        intended_use='keypoints of an animal in its box',
        limits='trained and measured on the species of the data named here alone',
    ),
    'fashion': dict(
        intended_use='landmarks of a piece of clothing in its box',
        limits='trained and measured on the kinds of clothing of the data named here alone',
    ),
}
# What is known of the terms of data sets beside that there are some.
_LICENSES = {
    'coco': dict(data_license='COCO: annotations under CC BY 4.0, images under the terms of Flickr'),
}
_PARTS = ('codec', 'backbone', 'neck', 'head')
_TORCH_TYPES = {'float32': torch.float32, 'int64': torch.int64}
# Where several models have one alias in MMPose, or where it is the name of another model here.
_REFUSED_ALIASES = ('wholebody',)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('metafiles', type=Path)
    parser.add_argument(
        '--all', action='store_true', help='check models again whose network is as in the present index'
    )
    parser.add_argument('--no-macs', action='store_true', help='do not count multiply-adds that are not known yet')
    parser.add_argument(
        '--texts', action='store_true', help='write citations and uses into the present index; no network is built'
    )
    args = parser.parse_args()
    models = read_published_models(args.metafiles)
    if args.texts:
        return _renew_texts(models, read_data_citations(args.metafiles))
    names = choose_short_names({model.name: None for model in models})
    keypoint_names, data_citations = read_keypoint_names(args.metafiles), read_data_citations(args.metafiles)
    # Building and tracing 250 networks takes long; what was checked for the same settings stays.
    known = {} if args.all else _read_known_networks()
    entries, refused = defaultdict(list), []
    for number, model in enumerate(models):
        if not number % 20:
            print(f'{number} of {len(models)}', flush=True)
        try:
            entry = _build_entry(model, names[model.name], keypoint_names, known, not args.no_macs)
        # Refused models are listed at the end: an index of what works, not of what should.
        except (NotTranslatedError, PoseplugError) as error:
            refused.append((model, str(error).partition('\n')[0]))
        else:
            entries[model.task].append(entry)
    _drop_ambiguous_aliases([entry for group in entries.values() for entry in group])
    for task, group in entries.items():
        group.sort(key=lambda entry: entry['name'])
        _write_entries(task, group, models, data_citations)
    _write_keypoint_names(keypoint_names)
    for model, reason in sorted(refused, key=lambda item: item[0].task):
        print(f'{model.task:10} {model.name}: {reason[:200]}')
    print(Counter(model.task for model in models), {task: len(group) for task, group in entries.items()})


def _renew_texts(models: Sequence[PublishedModel], data_citations: Mapping[str, str]) -> None:
    """Write the texts of the present entries again, and leave everything else as it is."""
    for task in _USES:
        group = json.loads((ZOO / f'{task}.json').read_text())['models']
        _write_entries(task, group, models, data_citations)


def _write_entries(
    task: str, entries: list[dict[str, Any]], models: Sequence[PublishedModel], data_citations: Mapping[str, str]
) -> None:
    """Write the file of a task: its entries with their citations, and what its models are for."""
    published = {model.url: model for model in models}
    for entry in entries:
        model = published[entry['urls'][0]]
        entry['citation'] = model.citation
        # Cocktails of data sets have no file in MMPose, and no one paper.
        entry['data_citation'] = data_citations.get(model.dataset.replace('-', '_'), '')
        entry['finds_instances'] = _load_shipped(Path(entry['config'])).model.type != 'TopDown'
    content = dict(defaults={**_DEFAULTS, **_USES[task]}, models=entries)
    (ZOO / f'{task}.json').write_text(json.dumps(content, indent=1) + '\n')


def _read_known_networks() -> dict[str, dict[str, Any]]:
    """What the present index says about networks, which were checked when they were entered; see `_format_key`."""
    known = {}
    for file in ZOO.glob('*.json'):
        for entry in json.loads(file.read_text()).get('models', ()):
            numbers = {key: entry[key] for key in ('skeleton', 'input_size', 'parameters', 'macs')}
            known[_format_key(entry['urls'][0], entry['config'], entry['overrides'])] = numbers
    return known


def _format_key(url: str, config: str, overrides: Mapping[str, Any]) -> str:
    """What a network depends on, as text: its file and all settings but those of tests."""
    settings = {key: value for key, value in overrides.items() if not key.startswith('test_')}
    return json.dumps([url, config, settings], sort_keys=True)


def _build_entry(
    model: PublishedModel,
    name: str,
    keypoint_names: Mapping[str, list[str]],
    known: Mapping[str, dict[str, Any]],
    count_macs: bool,
) -> dict[str, Any]:
    data, translated = get_data_settings(model), translate_model(model)
    config, overrides = _choose_config(translated, data)
    cfg = load_config(config, freeze_lists(overrides))
    _check_settings(cfg, translated.settings)
    # As the file will have them: tuples become lists.
    overrides = json.loads(json.dumps(overrides))
    numbers = known.get(_format_key(model.url, config, overrides))
    if numbers is None or (count_macs and not numbers['macs']):
        numbers = _check_network(cfg, model, len(keypoint_names[data.mmpose_names]), count_macs)
    return dict(
        name=name,
        aliases=[alias for alias in (model.name, *model.aliases) if alias not in _REFUSED_ALIASES],
        task=model.task,
        config=config,
        overrides=overrides,
        urls=[model.url],
        sha256_prefix=model.sha256_prefix,
        **numbers,
        training_data=model.dataset,
        scores=list(model.scores),
        **_LICENSES.get(model.dataset, {}),
    )


def _check_network(cfg: Any, model: PublishedModel, num_keypoints: int, count_macs: bool) -> dict[str, Any]:
    """Check that a network takes every published tensor, and measure it."""
    # Shapes alone: no weights are fetched, and none are drawn.
    network = build_on_meta_device(cfg)
    if model.shapes:
        state = {k: torch.empty(s, dtype=_TORCH_TYPES[t], device='meta') for k, (s, t) in model.shapes.items()}
        convert_state_dict(network, state, model.name)
    if num_keypoints != len(network.skeleton):
        raise NotTranslatedError(f'{len(network.skeleton)} keypoints, MMPose {num_keypoints}')
    return dict(
        skeleton=network.skeleton.name,
        input_size=list(network.codec.input_size),
        parameters=sum(p.numel() for p in network.parameters()),
        macs=trace_forward(network).macs['Global'] if count_macs else None,
    )


def _choose_config(translated: TranslatedModel, data: DataSettings) -> tuple[str, dict[str, Any]]:
    """The shipped config of a folder that is closest to the settings, and the settings in which it differs."""
    is_top_down = translated.settings.get('model.type', 'TopDown') == 'TopDown'
    wanted = {**translated.settings, 'skeleton': data.skeleton, **list_test_settings(data, is_top_down)}
    candidates = [file for file in list_configs().values() if file.parent.name == translated.folder]
    choices = []
    for file in candidates:
        cfg = _load_shipped(file)
        if not _has_other_settings(cfg, wanted):
            overrides = {key: value for key, value in wanted.items() if _get(cfg, key) != freeze_lists(value)}
            # The fewer settings an entry changes, the closer is its config; the name decides between equals.
            choices.append((len(overrides) + _count_replaced_settings(cfg, wanted), file.stem, overrides))
    if not choices:
        raise NotTranslatedError(f'no config in {translated.folder} has these parts alone')
    _, config, overrides = min(choices, key=lambda choice: choice[:2])
    return config, overrides


@cache
def _load_shipped(file: Path) -> Any:
    return load_config(file)


def _get(cfg: Any, key: str) -> Any:
    value = cfg
    for name in key.split('.'):
        value = value.get(name) if isinstance(value, Mapping) or hasattr(value, 'get') else None
    # One metric may stand without a list.
    if key == 'test_evaluator' and isinstance(value, Mapping):
        value = [value]
    return freeze_lists(value)


def _has_other_settings(cfg: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether a part of a config has settings, or another estimator, that the wanted settings do not mention."""
    if cfg.model.type != wanted.get('model.type', cfg.model.type) or cfg.get('custom_imports'):
        return True
    for part in _list_whole_parts(wanted):
        spec = cfg.model.get(part) or {}
        wanted_type = wanted.get(f'model.{part}.type')
        # A setting that stays in the config unmentioned would be part of the model.
        if spec.get('type') == wanted_type and any(f'model.{part}.{key}' not in wanted for key in spec):
            return True
    return False


def _list_whole_parts(settings: Mapping[str, Any]) -> list[str]:
    """The parts of which the settings are all that they have: those whose type they name, if they name the codec's."""
    has_codec = 'model.codec.type' in settings
    return [part for part in _PARTS if has_codec and f'model.{part}.type' in settings]


def _count_replaced_settings(cfg: Any, wanted: Mapping[str, Any]) -> int:
    """Number of settings of a config's parts that an override of their type has to replace."""
    parts = {part: cfg.model.get(part) or {} for part in _list_whole_parts(wanted)}
    return sum(f'model.{part}.{key}' not in wanted for part, spec in parts.items() for key in spec)


def _check_settings(cfg: Any, settings: Mapping[str, Any]) -> None:
    """Check that a config has these settings of its parts, and no other ones."""
    for key, value in settings.items():
        if _get(cfg, key) != value:
            raise NotTranslatedError(f'{key} is {_get(cfg, key)}, not {value}')
    for part in _list_whole_parts(settings):
        for key in cfg.model.get(part) or {}:
            if f'model.{part}.{key}' not in settings:
                raise NotTranslatedError(f'the config also has model.{part}.{key}')


def _drop_ambiguous_aliases(entries: list[dict[str, Any]]) -> None:
    """Keep an alias only for the first model that has it, and only if no model has it as its name."""
    # Names first, presets included: an alias must not shadow them.
    taken = {entry['name'] for entry in entries} | {*MODEL_PRESETS}
    for entry in entries:
        entry['aliases'] = [alias for alias in dict.fromkeys(entry['aliases']) if alias not in taken]
        taken.update(entry['aliases'])


def _write_keypoint_names(names: Mapping[str, list[str]]) -> None:
    """Write the keypoints of MMPose's data sets whose names are others here, by the name of our skeleton."""
    others: dict[str, list[str]] = {}
    for data in list_data_settings():
        ours = get_skeleton(data.skeleton).keypoints
        # Spelling that normalizes to the same name is no difference.
        if find_keypoint_differences(names[data.mmpose_names], ours):
            others[data.skeleton] = names[data.mmpose_names]
    text = ',\n'.join(f' {json.dumps(name)}: {json.dumps(others[name])}' for name in sorted(others))
    (ZOO / 'keypoint_names.json').write_text(f'{{\n{text}\n}}\n')


def _skip_random_values() -> None:
    """Leave out random initial values, which on the meta device cost time and do nothing."""
    for name in ('normal_', 'uniform_'):
        setattr(torch.Tensor, name, lambda tensor, *_, **__: tensor)


if __name__ == '__main__':
    _skip_random_values()
    logging.getLogger('poseplug').setLevel(logging.WARNING)
    main()
