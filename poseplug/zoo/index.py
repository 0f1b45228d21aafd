"""The index of published models: names, addresses, configs, scores and licenses, as JSON files beside this module.

`tools/model_index` writes the files from what is published; nothing in them is typed by hand.
"""

from __future__ import annotations

__all__ = [
    'MODEL_PRESETS',
    'TASKS',
    'PublishedModel',
    'PublishedScore',
    'expand_model_names',
    'find_published_model',
    'is_model_name',
    'list_published_models',
    'match_published_models',
]

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.registry.wiring import freeze_lists

_FOLDER = Path(__file__).parent
TASKS = ('body', 'wholebody', 'hand', 'face', 'animal', 'fashion')
# What a model is for, and the name of the model that is taken for it.
MODEL_PRESETS = {
    'fast': 'rtmo-t',
    'balanced': 'rtmo-m',
    'accurate': 'rtmo-l',
    'wholebody': 'rtmpose-m-wholebody',
    'hand': 'rtmpose-m-hand5',
    'face': 'rtmpose-m-face6',
    'animal': 'rtmpose-m-ap10k',
}


@dataclass(frozen=True)
class PublishedScore:
    """A score as it is published.

    Attributes:
        dataset: on which it was measured, in the publisher's words.
        metrics: by the publisher's names, as fractions or percent as published.
        publisher: who published it.
        note: how it was measured.
    """

    dataset: str
    metrics: Mapping[str, float]
    publisher: str = 'MMPose 1.3.2'
    note: str = ''


@dataclass(frozen=True)
class PublishedModel:
    """A published model: where its weights are, and the model that they are loaded into.

    Attributes:
        name: the short name that users type.
        aliases: further names, among them the publisher's.
        task: 'body', 'wholebody', 'hand', 'face', 'animal' or 'fashion'.
        config: name of a config that comes with poseplug.
        overrides: settings that replace those of the config, by dotted keys, as `load_config` takes them.
        urls: addresses of the file, in the order in which they are tried; none for a model that is installed.
        skeleton: name of the skeleton whose keypoints the model predicts.
        input_size: (width, height) of the input in px.
        parameters: number of learned parameters.
        macs: multiply-adds for one image without flip test; None if they are not counted.
        training_data: data set that it was trained on, in the publisher's words.
        trained_by: the command that trained it; '' if it is not known.
        num_bytes: size of the file; None if it is not known.
        sha256: the file's SHA-256, '' if only a part of it is published.
        sha256_prefix: its first digits, as published in the file's name; '' if none are.
        converter: whose names the weights have: 'mmpose', or 'poseplug' for weights that need no conversion.
        scores: as published.
        code_license, weights_license, data_license: as the publishers state them.
        citation: the paper of the method.
        data_citation: the paper and the page of the data set, as its publisher states them.
        finds_instances: whether it predicts all instances of an image; otherwise one per box.
        intended_use: what it is for.
        limits: what it cannot do, or was not measured on.
    """

    name: str
    aliases: tuple[str, ...]
    task: str
    config: str
    overrides: Mapping[str, Any]
    urls: tuple[str, ...]
    skeleton: str
    input_size: tuple[int, int]
    parameters: int
    macs: int | None = None
    training_data: str = ''
    trained_by: str = ''
    num_bytes: int | None = None
    sha256: str = ''
    sha256_prefix: str = ''
    converter: str = 'mmpose'
    scores: tuple[PublishedScore, ...] = ()
    code_license: str = ''
    weights_license: str = ''
    data_license: str = ''
    citation: str = ''
    data_citation: str = ''
    finds_instances: bool = False
    intended_use: str = ''
    limits: str = ''


def list_published_models() -> dict[str, PublishedModel]:
    """List the published models.

    Returns:
        Their entries by name, sorted by name.

    Example:
        >>> list_published_models()['rtmo-s'].input_size
        (640, 640)
    """
    return dict(_read_index()[0])


def is_model_name(text: Any) -> bool:
    """Whether a text is the name, an alias or a preset of a published model.

    Example:
        >>> is_model_name('rtmo-s'), is_model_name('RTMO-S'), is_model_name('balanced'), is_model_name('street.jpg')
        (True, True, True, False)
    """
    return isinstance(text, str) and _resolve_name(text) is not None


def find_published_model(name: str) -> PublishedModel:
    """Return the entry of a published model.

    Args:
        name: its name or an alias, or a preset (`MODEL_PRESETS`).

    Raises:
        ConfigError: there is none; the message has the closest names.

    Example:
        >>> find_published_model('td-hm_hrnet-w32_8xb64-210e_coco-256x192').name
        'hrnet-w32'
    """
    by_name, names = _read_index()
    resolved = _resolve_name(name) if isinstance(name, str) else None
    if resolved is not None:
        return by_name[resolved]
    hint = suggest_closest(str(name), [*names, *MODEL_PRESETS])
    raise ConfigError(
        compose_message(f'{name!r} is no published model', hint, "poseplug models lists them: 'poseplug models hrnet*'")
    )


def match_published_models(
    pattern: str = '', task: str | None = None, installed: Sequence[PublishedModel] = ()
) -> list[PublishedModel]:
    """Return the published models whose name or alias fits a pattern.

    Args:
        pattern: a name, an alias or a preset; else with `*` and `?` as in file names, or a part of a name.
        task: of the models; None for all.
        installed: further models, which are matched and listed before the published ones.

    Returns:
        The models, sorted by name.

    Raises:
        ConfigError: there is none.

    Example:
        >>> [model.name for model in match_published_models('rtmo-?')]
        ['rtmo-l', 'rtmo-m', 'rtmo-s', 'rtmo-t']
    """
    everything = [*installed, *list_published_models().values()]
    if is_model_name(pattern):
        models = [find_published_model(pattern)]
    elif any(model.name == pattern for model in installed):
        models = [model for model in installed if model.name == pattern]
    else:
        # A plain text is a part of a name.
        glob = pattern if set('*?[') & set(pattern) else f'*{pattern}*'
        models = [model for model in everything if _has_fitting_name(model, glob.lower())]
    models = [model for model in models if task in (None, model.task)]
    if not models:
        find_published_model(pattern)  # raises, with the closest names
        raise ConfigError(f'{pattern!r} is no model of the task {task!r}; poseplug models {pattern} shows its task')
    return models


def _has_fitting_name(model: PublishedModel, glob: str) -> bool:
    return any(fnmatch(name.lower(), glob) for name in (model.name, *model.aliases))


def expand_model_names(names: Sequence[str]) -> list[PublishedModel]:
    """Return the published models of names and patterns, each once.

    Args:
        names: names, aliases, presets, and patterns with `*` and `?`.

    Raises:
        ConfigError: a name or pattern fits no model.
    """
    models: dict[str, PublishedModel] = {}
    for name in names:
        is_pattern = set('*?[') & set(name)
        # A misspelled name must fail, not fit by being a part of others.
        for model in match_published_models(name) if is_pattern else [find_published_model(name)]:
            models[model.name] = model
    return [*models.values()]


def _resolve_name(text: str) -> str | None:
    """The name of the model that a text names, in upper or lower case as papers write it; None if there is none."""
    names = _read_index()[1]
    # Presets first: they are names that no model has.
    text = MODEL_PRESETS.get(text.lower(), text)
    if text in names:
        return names[text]
    return next((name for alias, name in names.items() if alias.lower() == text.lower()), None)


@cache
def _read_index() -> tuple[dict[str, PublishedModel], dict[str, str]]:
    """All entries by name, sorted, and the names of the entries by name and alias."""
    records = [record for task in TASKS for record in _read_records(_FOLDER / f'{task}.json')]
    entries = {entry.name: entry for entry in sorted(map(_build_entry, records), key=lambda entry: entry.name)}
    # Names are entered last: a name counts more than an equal alias of another model.
    names = {alias: entry.name for entry in entries.values() for alias in entry.aliases}
    return entries, {**names, **{name: name for name in entries}}


def _read_records(file: Path) -> list[dict[str, Any]]:
    """The entries of a file, each with the file's defaults."""
    content = json.loads(file.read_text(encoding='utf-8'))
    return [{**content['defaults'], **record} for record in content['models']]


def _build_entry(record: Mapping[str, Any]) -> PublishedModel:
    # The files may know more than this version reads.
    names = {field.name for field in fields(PublishedModel)}
    settings = {key: freeze_lists(value) for key, value in record.items() if key in names}
    scores = tuple(PublishedScore(**score) for score in record.get('scores', ()))
    return PublishedModel(**{**settings, 'overrides': settings.get('overrides', {}), 'scores': scores})
