"""Write the pages that are generated from the code: reference/commands.md, parts.md, published_models.md, and cards.

python docs/generate.py
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from poseplug import registry
from poseplug.cli.command_modules import list_commands, load_command
from poseplug.inspect.config_schema import read_setting_texts
from poseplug.registry.wiring import inspect_parameters, list_constructor_classes
from poseplug.zoo.index import list_published_models
from poseplug.zoo.installed_models import list_installed_entries
from poseplug.zoo.model_list import format_models_page, list_card_rows, wrap_item

FOLDER = Path(__file__).parent / 'reference'
MODEL_KINDS = {
    'Estimators': 'estimators',
    'Backbones': 'backbones',
    'Necks': 'necks',
    'Heads': 'heads',
    'Losses': 'losses',
    'Assigners': 'assigners',
}
OTHER_KINDS = {
    'Codecs': 'CODECS',
    'Sources': 'SOURCES',
    'Transforms': 'TRANSFORMS',
    'Metrics': 'METRICS',
    'Detector families': 'DETECTOR_FAMILIES',
}
ENGINE_KINDS = {
    'Data sets': 'DATASETS',
    'Hooks': 'HOOKS',
    'Optimizer wrappers': 'OPTIM_WRAPPERS',
    'Optimizer constructors': 'OPTIM_WRAPPER_CONSTRUCTORS',
}
WIDTH = 120


def render_commands_page() -> str:
    """All commands with their arguments, from their parsers."""
    lines = [
        '# Commands',
        '',
        'This page is generated: `python docs/generate.py`. `poseplug COMMAND --help` prints the same.',
        'An error of the input ends a command with one message and exit code 2.',
        '',
    ]
    for name in list_commands():
        command = load_command(name)
        parser = argparse.ArgumentParser(f'poseplug {name}', add_help=False)
        command.add_arguments(parser)
        lines += [f'## {name}', '', *_render_docstring(command.description), *_render_arguments(parser)]
    return '\n'.join(lines).rstrip() + '\n'


def _render_docstring(text: str) -> Iterator[str]:
    """The docstring of a command: sentences as text, the lines of its usage as a code block."""
    # an indented line continues the usage above it
    usage = [line for line in text.splitlines() if line.startswith(('poseplug ', '    '))]
    sentences = [line for line in text.splitlines() if line and line not in usage]
    yield from sentences
    yield from ['', '```text', *usage, '```', '']


def _render_arguments(parser: argparse.ArgumentParser, prefix: str = '') -> Iterator[str]:
    """A list with an entry for each argument, and those of subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from [f'**{name}**', '', *_render_arguments(child, f'{prefix}{name} ')]
            continue
        name = ', '.join(action.option_strings) or str(action.metavar or action.dest)
        value = '' if action.nargs == 0 or not action.option_strings else f' {_get_metavar(action)}'
        text = f': {action.help}' if action.help else ''
        yield f'- `{name}{value}`{text}'
    yield ''


def _get_metavar(action: argparse.Action) -> str:
    """What an option takes, as the help shows it."""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return '|'.join(map(str, action.choices)) if action.choices else metavar


def render_parts_page() -> str:
    """All registered parts of poseplug with their settings, from their signatures and docstrings."""
    lines = [
        '# Parts',
        '',
        'Every part that poseplug brings, with its settings and their defaults. This page is generated:',
        "`python docs/generate.py`. Settings that another part provides (such as a head's `in_channels`) are marked; a",
        'config does not write them. Parts of mmengine (optimizers, schedules, hooks) can be named too.',
        '',
    ]
    for title, parts in _list_kinds():
        lines += [f'## {title}', '']
        for part in sorted(parts, key=lambda part: part.__name__):
            lines += [f'### {part.__name__}', '', *_render_part(part), '']
    return '\n'.join(lines).rstrip() + '\n'


def _list_kinds() -> Iterator[tuple[str, list[Any]]]:
    """The kinds of parts with the parts of each."""
    for title, folder in MODEL_KINDS.items():
        yield title, [p for p in _list_parts('MODELS') if p.__module__.startswith(f'poseplug.models.{folder}.')]
    for title, name in (OTHER_KINDS | ENGINE_KINDS).items():
        yield title, _list_parts(name)


def _list_parts(name: str) -> list[Any]:
    """The parts of poseplug in one registry."""
    parts = getattr(registry, name)
    parts.import_from_location()
    return [part for part in parts.module_dict.values() if part.__module__.startswith('poseplug.')]


def _render_part(part: Callable[..., Any]) -> Iterator[str]:
    """The first paragraph of a part's docstring, and its settings."""
    text = inspect.getdoc(part) or ''
    yield from _wrap(_plain_code(text.partition('\n\n')[0]))
    classes = list_constructor_classes(part) if inspect.isclass(part) else []
    descriptions: dict[str, str] = {}
    for owner in (*reversed(classes), part):  # settings may be those of a base class
        descriptions |= read_setting_texts(owner)
    settings = [p for p in inspect_parameters(part)[0].values() if p.name != 'skeleton']
    if settings:
        yield ''
    for parameter in settings:
        yield from _wrap(f'- `{_format_parameter(parameter)}`{_format_description(descriptions, parameter)}', '  ')


def _format_parameter(parameter: inspect.Parameter) -> str:
    """A setting with its default, as `name=default`."""
    if parameter.default is parameter.empty:
        return parameter.name
    default = repr(parameter.default)
    return parameter.name if 'factory' in default else f'{parameter.name}={default}'


def _format_description(descriptions: dict[str, str], parameter: inspect.Parameter) -> str:
    """What the docstring says about a setting, after a colon."""
    text = descriptions.get(parameter.name, '')
    return f': {text}' if text else ''


def _plain_code(text: str) -> str:
    """A paragraph on one line."""
    return ' '.join(text.split())


def _wrap(text: str, indent: str = '') -> Iterable[str]:
    """A paragraph in lines of at most `WIDTH` characters; code is not broken."""
    import textwrap

    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def render_published_models_page() -> str:
    """The models of the index."""
    return format_models_page(list_published_models().values())


_WEIGHTS_README = """# The models that are installed with poseplug

`poseplug predict` and `Predictor()` use one of them when no model is named. `poseplug models NAME` prints its card.

| file | content |
|---|---|
| `NAME.safetensors` | the weights, tensors only |
| `NAME.json` | skeleton, model, test pipeline, scores, number of parameters, size and SHA-256 of the weights |
| `cards.toml` | what they were made from, their licenses, intended use and limits |

The SHA-256 is checked whenever the model is loaded. Weights and NAME.json are written together:

    poseplug package_model CONFIG CHECKPOINT --results results.json

For anything else take a published model: `poseplug predict IMAGE --model balanced` (docs/howto/models_by_name.md).
"""


def render_weights_readme() -> str:
    """The cards of the models that are installed."""
    parts = [_WEIGHTS_README]
    for entry in list_installed_entries():
        title, rows = '', []
        for name, text in list_card_rows(entry)[1:]:
            title = name or title
            rows += [wrap_item(f'- **{title}**: {text}')] if text else []
        parts.append('\n'.join([f'## Model card of `{entry.name}`\n', *rows]) + '\n')
    return '\n'.join(parts)


PAGES = {
    'commands.md': render_commands_page,
    'parts.md': render_parts_page,
    'published_models.md': render_published_models_page,
    '../../poseplug/weights/README.md': render_weights_readme,
}


if __name__ == '__main__':
    for name, render in PAGES.items():
        (FOLDER / name).write_text(render())
