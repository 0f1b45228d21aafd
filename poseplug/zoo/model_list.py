"""Published models as text: a list, the card of one, and the page of the docs."""

from __future__ import annotations

__all__ = ['format_model_card', 'format_model_list', 'format_models_page', 'list_card_rows']

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence

from poseplug.core.errors import compose_message
from poseplug.zoo.index import MODEL_PRESETS, TASKS, PublishedModel, PublishedScore

_MAX_COLUMNS = 118
# The first of them that a score has is listed.
_MAIN_METRICS = ('AP', 'PCKh@0.5', 'PCK', 'PCK@0.2', 'NME', 'AUC', 'EPE', 'Mean', 'Whole AP')
_TABLE_HEAD = '| name | input | parameters | MACs | skeleton | score |\n|---|---|---|---|---|---|'
_PAGE_HEADER = """# Published models by name

{count} models that others trained and published, listed by

```bash
poseplug models
```

[Models by name](../howto/models_by_name.md) says how they are used, fetched and verified. The publisher's long
name of a model works, too. Scores are as published, on the data that the publisher names; nothing here was measured by
poseplug. Multiply-adds (MACs) are for one image without flip test.

| preset | model |
|---|---|
{presets}
"""


def format_model_list(models: Sequence[PublishedModel]) -> str:
    """Format a line per model: name, input, parameters, multiply-adds, keypoints, score.

    Args:
        models: to be listed.

    Returns:
        The lines, below one with the titles of the columns, and above one with the presets that are among them.
    """
    width = max([len(model.name) for model in models], default=4)
    title = f'{"name":{width}}  {"task":9}  {"input":>9}  {"params":>8}  {"MACs":>8}  {"skeleton":19}  score'
    listed = {model.name for model in models}
    presets = [f'{preset}: {name}' for preset, name in MODEL_PRESETS.items() if name in listed]
    lines = [title, *(_format_line(model, width) for model in models)]
    return '\n'.join([*lines, *([f'presets: {", ".join(presets)}'] if presets else [])])


def _format_line(model: PublishedModel, width: int) -> str:
    numbers = f'{format_size(model):>9}  {format_parameters(model):>8}  {format_macs(model):>8}'
    return f'{model.name:{width}}  {model.task:9}  {numbers}  {model.skeleton:19}  {format_main_score(model)}'


def format_model_card(model: PublishedModel) -> str:
    """Format everything that the index says about a model."""
    return '\n'.join(_wrap_row(title, text) for title, text in list_card_rows(model) if text)


def _wrap_row(title: str, text: str) -> str:
    # Addresses and commands stay whole, to be copied.
    lines = textwrap.wrap(text, _MAX_COLUMNS - 11, break_long_words=False, break_on_hyphens=False)
    return '\n'.join(f'{name:9}  {line}' for name, line in zip([title, *[''] * len(lines)], lines, strict=False))


def list_card_rows(model: PublishedModel) -> list[tuple[str, str]]:
    """Titles and texts of a card; a row without a title goes on with the one above."""
    presets = [preset for preset, name in MODEL_PRESETS.items() if name == model.name]
    overrides = ', '.join(f'{key}={value!r}' for key, value in model.overrides.items())
    return [
        ('name', model.name),
        ('also', ', '.join([*presets, *model.aliases])),
        ('task', f'{model.task}, {model.skeleton} keypoints'),
        ('network', _describe_network(model)),
        ('config', model.config + (f' with {overrides}' if overrides else '')),
        *(('address', url) for url in model.urls or ['installed with poseplug']),
        ('size', f'{model.num_bytes:,} bytes' if model.num_bytes else ''),
        ('sha256', model.sha256 or _describe_prefix(model)),
        *(('score', _describe_score(score)) for score in model.scores),
        ('license', f'code: {model.code_license}'),
        ('', f'weights: {model.weights_license}' if model.weights_license else ''),
        ('', f'data: {model.data_license}' if model.data_license else ''),
        ('data', model.training_data),
        ('', model.data_citation),
        ('trained', model.trained_by),
        ('paper', model.citation),
        ('for', model.intended_use),
        ('limits', _describe_limits(model)),
        ('use', _format_command(model)),
    ]


def _describe_network(model: PublishedModel) -> str:
    macs = '' if model.macs is None else f', {format_macs(model)} multiply-adds'
    return f'input {format_size(model)}, {model.parameters:,} parameters{macs}'


def _describe_limits(model: PublishedModel) -> str:
    boxes = '' if model.finds_instances else 'one instance per box; without boxes the whole image counts as one'
    return compose_message(boxes, model.limits)


def _format_command(model: PublishedModel) -> str:
    """The command that predicts with a model, and where its boxes come from."""
    command = f'poseplug predict IMAGE --model {model.name}'
    if model.finds_instances:
        return command
    # The detectors that load by name find people.
    detects_persons = model.task in ('body', 'wholebody')
    boxes = '--detector balanced' if detects_persons else '--boxes X,Y,WIDTH,HEIGHT'
    return f'{command} {boxes}'


def _describe_prefix(model: PublishedModel) -> str:
    if not model.sha256_prefix:
        return 'not published; pinned at the first fetch'
    return f'{model.sha256_prefix}... is published; the whole is pinned at the first fetch'


def _describe_score(score: PublishedScore) -> str:
    numbers = ', '.join(f'{name} {value}' for name, value in score.metrics.items())
    metrics = f'{score.dataset}: {numbers}' if score.dataset else numbers
    if score.publisher == 'poseplug':
        return compose_message(f'{metrics} (measured by poseplug)', score.note)
    return f'{metrics} (published by {score.publisher})'


def format_models_page(models: Iterable[PublishedModel]) -> str:
    """Format the page of the docs, with a table per task.

    Args:
        models: of the page.

    Returns:
        Markdown.
    """
    models = list(models)
    presets = '\n'.join(f'| `{preset}` | `{name}` |' for preset, name in MODEL_PRESETS.items())
    parts = [_PAGE_HEADER.format(count=len(models), presets=presets)]
    for task in TASKS:
        rows = [_format_row(model) for model in models if model.task == task]
        if rows:
            parts.append(f'## {task}\n\n{_describe_uses(models, task)}\n\n{_TABLE_HEAD}')
            parts[-1] = '\n'.join([parts[-1], *rows]) + '\n'
    return '\n'.join([*parts, _format_sources(models)])


def _describe_uses(models: Sequence[PublishedModel], task: str) -> str:
    """What the models of a task are for, with their limits and the terms of their data, each once."""
    group = [model for model in models if model.task == task]
    uses = dict.fromkeys(f'For {model.intended_use}; {model.limits}.' for model in group)
    terms = dict.fromkeys(f'Data: {model.data_license}.' for model in group)
    return '\n'.join(textwrap.fill(text, _MAX_COLUMNS) for text in [*uses, *terms])


def _format_sources(models: Sequence[PublishedModel]) -> str:
    """The papers of the methods and of the data sets, each with the number of its models."""
    methods = Counter(model.citation for model in models if model.citation)
    data = Counter(f'{model.training_data}: {model.data_citation}' for model in models if model.data_citation)
    lists = {'Papers of the methods': methods, 'Data sets': data}
    texts = []
    for title, counts in lists.items():
        lines = [f'- {text} ({_count_models(count)})' for text, count in sorted(counts.items())]
        texts.append('\n'.join([f'## {title}\n', *(wrap_item(line) for line in lines)]) + '\n')
    return '\n'.join(texts)


def _count_models(count: int) -> str:
    return '1 model' if count == 1 else f'{count} models'


def wrap_item(line: str) -> str:
    """Wrap an item of a Markdown list; words stay whole."""
    return textwrap.fill(line, _MAX_COLUMNS, subsequent_indent='  ', break_long_words=False, break_on_hyphens=False)


def _format_row(model: PublishedModel) -> str:
    cells = [f'`{model.name}`', format_size(model), format_parameters(model), format_macs(model), model.skeleton]
    name, _, dataset = format_main_score(model).partition(', ')
    # A data set that the name already says is left out, to keep rows short.
    stem = dataset.lower().replace('-', '').removeprefix('coco')
    is_named = bool(stem) and stem in model.name.replace('-', '')
    cells.append(name if is_named or not dataset else f'{name}, {dataset}')
    return f'| {" | ".join(cells)} |'


def format_size(model: PublishedModel) -> str:
    """Format the input size as width x height."""
    return 'x'.join(map(str, model.input_size))


def format_parameters(model: PublishedModel) -> str:
    """Format the number of parameters in millions."""
    return f'{model.parameters / 1e6:.1f} M'


def format_macs(model: PublishedModel) -> str:
    """Format the multiply-adds in billions."""
    return '-' if model.macs is None else f'{model.macs / 1e9:.2f} G'


def format_main_score(model: PublishedModel) -> str:
    """Format the first published score that has one of the usual metrics."""
    for score in model.scores:
        for name in _MAIN_METRICS:
            if name in score.metrics:
                return f'{name} {score.metrics[name]:g}, {score.dataset}'
    return '-'
