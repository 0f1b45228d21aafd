"""Published models as text: a list, the card of one, and the page of the docs."""

from __future__ import annotations

__all__ = ['format_model_card', 'format_model_list', 'format_models_page']

from collections.abc import Iterable, Sequence

from poseplug.zoo.index import MODEL_PRESETS, TASKS, PublishedModel, PublishedScore

_MAX_COLUMNS = 118
# The first of them that a score has is listed.
_MAIN_METRICS = ('AP', 'PCKh@0.5', 'PCK', 'PCK@0.2', 'NME', 'AUC', 'EPE', 'Mean', 'Whole AP')
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
        The lines, below one with the titles of the columns.
    """
    width = max([len(model.name) for model in models], default=4)
    title = f'{"name":{width}}  {"task":9}  {"input":>9}  {"params":>8}  {"MACs":>8}  {"skeleton":19}  score'
    return '\n'.join([title, *(_format_line(model, width) for model in models)])


def _format_line(model: PublishedModel, width: int) -> str:
    numbers = f'{format_size(model):>9}  {format_parameters(model):>8}  {format_macs(model):>8}'
    return f'{model.name:{width}}  {model.task:9}  {numbers}  {model.skeleton:19}  {format_main_score(model)}'


def format_model_card(model: PublishedModel) -> str:
    """Format everything that the index says about a model."""
    presets = [preset for preset, name in MODEL_PRESETS.items() if name == model.name]
    overrides = ', '.join(f'{key}={value!r}' for key, value in model.overrides.items())
    rows = [
        ('name', model.name),
        ('also', ', '.join([*presets, *model.aliases])),
        ('task', f'{model.task}, {model.skeleton} keypoints, trained on {model.training_data}'),
        ('network', f'input {format_size(model)}, {model.parameters:,} parameters, {format_macs(model)} multiply-adds'),
        ('config', model.config + (f' with {overrides}' if overrides else '')),
        *(('address', url) for url in model.urls),
        ('sha256', model.sha256 or _describe_prefix(model)),
        *((f'on {score.dataset}', _describe_score(score)) for score in model.scores),
        ('license', f'code {model.code_license}; weights {model.weights_license}; data: {model.data_license}'),
        ('paper', model.citation),
        ('use', f'poseplug predict IMAGE --model {model.name}'),
    ]
    return '\n'.join(f'{title:9}  {text}' for title, text in rows if text)


def _describe_prefix(model: PublishedModel) -> str:
    if not model.sha256_prefix:
        return 'not published; pinned at the first fetch'
    return f'{model.sha256_prefix}... is published; the whole is pinned at the first fetch'


def _describe_score(score: PublishedScore) -> str:
    metrics = ', '.join(f'{name} {value}' for name, value in score.metrics.items())
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
            parts.append(
                f'## {task}\n\n| name | input | parameters | MACs | skeleton | score |\n|---|---|---|---|---|---|'
            )
            parts[-1] = '\n'.join([parts[-1], *rows]) + '\n'
    return '\n'.join(parts)


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
