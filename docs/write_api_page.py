"""Write docs/reference/api.md from the docstrings of the public names: python docs/write_api_page.py [--check]."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import poseplug
import poseplug.testing
from poseplug.evaluation.average_precision import AveragePrecision
from poseplug.registry import CODECS, METRICS, SOURCES, PartRegistry

PAGE = Path(__file__).parent / 'reference' / 'api.md'
SECTIONS = {
    'Predict': (
        'Predictor Result ImageArray Poses HeatmapStages Detector OnnxDetector PoseDetector ExportedModel '
        'ExportedPredictor draw_poses'
    ),
    'Models and configs': 'load_model list_models load_config build_model Estimator',
    'Train and test': 'train test TrainingResult EvaluationResult',
    'Skeletons': 'Skeleton get_skeleton register_skeleton',
    'Data structures': 'Record Instances IgnoredRegions Sample Batch Targets Grid MetricResult SourceReport',
    'Base classes of parts': 'Codec MapCodec Head Metric PipelineStage Source Transform',
}
# Base classes that parts refer to for their settings, by section
BASE_PARTS = {'Metrics': (AveragePrecision,)}
HEADER = """# Python API

Written from the docstrings by `python docs/write_api_page.py`; a test compares them.

Names without a module beside them are imported from `poseplug`, as in `from poseplug import Predictor`. They are loaded
when they are first used, so that `import poseplug` alone is quick. Coordinates are pixels, x before y, and the center
of the upper left pixel is (0, 0). Images as arrays are (height, width, 3) uint8 in BGR order.

**What is promised.** Public are the names in `poseplug.__all__`, in `poseplug.testing.__all__` and in `__all__` of the
module that defines them, and the names and settings of registered parts. Everything else in the package is internal
and may change in any version.
"""
_SECTION_TITLES = ('Args', 'Attributes', 'Returns', 'Yields', 'Raises', 'Example')
_ITEM = re.compile(r'^(\*{0,2}[\w, ]+): (.*)$')


def write_page() -> str:
    """Return the text of the page."""
    parts = [HEADER]
    for title, names in SECTIONS.items():
        parts.append(f'## {title}\n')
        parts += [describe_name(name, getattr(poseplug, name)) for name in names.split()]
    for title, registry in (('Codecs', CODECS), ('Metrics', METRICS), ('Sources', SOURCES)):
        parts.append(f'## {title}\n')
        described = [*BASE_PARTS.get(title, ()), *list_own_parts(registry)]
        parts += [describe_name(part.__name__, part, is_part=True) for part in described]
    parts += ['## Registries\n', describe_registries()]
    parts += ['## Errors\n', describe_errors()]
    parts.append('## Contract tests\n\nThese are imported from `poseplug.testing`, which needs pytest.\n')
    parts += [describe_name(name, value, is_part=True) for name, value in list_test_tools()]
    return '\n'.join(part.rstrip() + '\n' for part in parts)


def list_own_parts(registry: PartRegistry) -> list[Any]:
    """Return the parts of a registry that poseplug itself defines, by name."""
    parts = [registry.get(name) for name in registry.list_names()]
    return [part for part in parts if part.__module__.startswith('poseplug.')]


def list_test_tools() -> list[tuple[str, Any]]:
    """Return the contracts and their helpers, without the constants."""
    return [(name, getattr(poseplug.testing, name)) for name in poseplug.testing.__all__ if not name.isupper()]


def describe_name(name: str, value: Any, is_part: bool = False) -> str:
    """Describe a class or a function: signature, docstring, and the methods of a class that is not a part."""
    lines = [f'### {name}', '']
    if is_part:
        lines += [f'Module `{value.__module__}`.', '']
    lines += [*format_signature(name, value), *format_docstring(inspect.getdoc(value) or '')]
    if inspect.isclass(value) and not is_part:
        for method_name, method in iter_methods(value):
            lines += [f'#### {name}.{method_name}', '']
            if callable(method):
                lines += format_signature(method_name, method)
            lines += format_docstring(inspect.getdoc(method) or '')
    return '\n'.join(lines)


def iter_methods(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the documented public methods and properties of a class, and of its bases that the page does not show."""
    shown = {name for names in SECTIONS.values() for name in names.split()}
    bases = [base for base in cls.__mro__[1:] if base.__module__.startswith('poseplug.') and base.__name__ not in shown]
    members = {name: member for base in (*reversed(bases), cls) for name, member in vars(base).items()}
    # a call first, wherever it is defined; the others keep their order
    for name, member in sorted(members.items(), key=lambda item: item[0] != '__call__'):
        function = getattr(member, '__func__', member)
        is_public = not name.startswith('_') or name == '__call__'
        is_member = inspect.isfunction(function) or isinstance(member, property) or hasattr(member, 'attrname')
        if is_public and is_member and getattr(function, '__doc__', None):
            yield name, function


def format_signature(name: str, value: Callable[..., Any]) -> list[str]:
    """Format a signature, one argument per line if it is long."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return []
    arguments = [str(p.replace(annotation=p.empty)) + _format_annotation(p) for p in signature.parameters.values()]
    arguments = [_order_default(argument) for argument in arguments if argument != 'self']
    returned = signature.return_annotation
    has_return = isinstance(returned, str) and returned != 'None' and not inspect.isclass(value)
    suffix = f' -> {returned}' if has_return else ''
    line = f'{name}({", ".join(arguments)}){suffix}'
    if len(line) > 100:
        line = f'{name}(\n' + ''.join(f'    {argument},\n' for argument in arguments) + f'){suffix}'
    return ['```text', *line.splitlines(), '```', '']


def _format_annotation(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    return f': {annotation}' if isinstance(annotation, str) and annotation else ''


def _order_default(argument: str) -> str:
    """Turn `name=default: annotation` into `name: annotation = default`."""
    match = re.fullmatch(r'(\*{0,2}\w+)=(.*?): (.*)', argument)
    return f'{match[1]}: {match[3]} = {match[2]}' if match else argument


def format_docstring(docstring: str) -> list[str]:
    """Format a docstring: sections become bold titles with lists, examples become blocks."""
    lines: list[str] = []
    for title, body in split_sections(docstring):
        if title == 'Example':
            lines += ['```pycon', *body, '```', '']
        elif title:
            lines += [f'**{title}**', '', *format_items(body), '']
        else:
            lines += [*body, '']
    return lines


def split_sections(docstring: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the sections of a docstring in Google's style: title ('' for the text before) and dedented lines."""
    title, body = '', []
    for line in docstring.splitlines():
        is_title = line.endswith(':') and line[:-1] in _SECTION_TITLES
        if is_title:
            yield title, _strip_blank(body)
            title, body = line[:-1], []
        else:
            body.append(line[4:] if title else line)
    yield title, _strip_blank(body)


def _strip_blank(lines: list[str]) -> list[str]:
    return '\n'.join(lines).strip('\n').splitlines()


def format_items(body: list[str]) -> list[str]:
    """Format the entries of a section as a list; text that has no entries stays as it is."""
    items = [re.sub(_ITEM, r'- `\1`: \2', line) if not line.startswith(' ') else line[2:] for line in body]
    has_items = any(line.startswith('- `') for line in items)
    return items if has_items else body


def describe_registries() -> str:
    """List the registries by kind."""
    lines = [
        '`REGISTRY.register_module()` decorates a class or function; `REGISTRY.build(dict(type=NAME, ...))` builds it.'
    ]
    names = sorted(name for name in poseplug.__all__ if name.isupper())
    return '\n'.join([*lines, '', *(f'- `{name}`: kind `{getattr(poseplug, name).name}`' for name in names)])


def describe_errors() -> str:
    """List the errors with their meanings."""
    errors = [getattr(poseplug, name) for name in poseplug.__all__ if name.endswith('Error')]
    errors.sort(key=lambda error: (len(error.__mro__), error.__name__))
    return '\n'.join(f'- `{error.__name__}`: {(inspect.getdoc(error) or "").partition(chr(10))[0]}' for error in errors)


def main() -> None:
    """Write the page, or with --check fail if it is not up to date."""
    text = write_page()
    if sys.argv[1:] == ['--check']:
        sys.exit(None if PAGE.read_text() == text else f'{PAGE} is not up to date: python docs/write_api_page.py')
    PAGE.write_text(text)


if __name__ == '__main__':
    main()
