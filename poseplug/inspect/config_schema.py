"""A JSON Schema of JSON and YAML configs, from the registries, for completion and checks in an editor.

Every setting may be left out, since a base may have it. Of a part with a `type`, the settings are those of that part.
"""

from __future__ import annotations

__all__ = ['build_config_schema', 'read_setting_texts']

import inspect
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union

from poseplug.config.settings import CONFIG_SLOTS, PLAIN_SETTINGS
from poseplug.registry import REGISTRIES
from poseplug.registry.wiring import PartType, Slot, get_slots, inspect_parameters, list_needs

SCHEMA_VERSION = 'https://json-schema.org/draft/2020-12/schema'
_JsonSchema = dict[str, Any]
_PLAIN_TYPES = {int: 'integer', float: 'number', bool: 'boolean', str: 'string', type(None): 'null'}
_PLAIN_SCHEMAS: Mapping[str, _JsonSchema] = {
    'skeleton': {
        'description': 'a name, a union such as lsp+coco, a JSON or YAML file, or the fields of a skeleton',
        'type': ['string', 'object'],
    },
    'seed': {'description': 'seed of all random numbers', 'type': 'integer'},
    'init': {'description': 'initial weights: a file, or files by part', 'type': ['string', 'object', 'null']},
    'freeze': {'description': 'patterns of parameters', 'type': ['array', 'object', 'string', 'null']},
    'compile': {'description': 'whether or how the network is compiled', 'type': ['boolean', 'object', 'null']},
    'precision': {
        'description': 'number format of the network in training; auto times both',
        'enum': ['fp32', 'bf16', 'auto', None],
    },
    'overfit_steps': {'description': 'length of a run with --overfit', 'type': 'integer'},
    'visualizer': {'description': 'loggers of the learning curve, as vis_backends', 'type': ['object', 'null']},
}
_REFERENCE = re.compile(r'As in `(\w+)`\.')
_CODE_SETTINGS = ('custom_imports',)  # which a config of data cannot have


def build_config_schema() -> _JsonSchema:
    """Build the schema of the configs that this installation can read, with the parts of imported packages.

    Returns:
        A JSON Schema, draft 2020-12.

    Example:
        >>> schema = build_config_schema()
        >>> 'CPMHeatmap' in schema['$defs']['codec']['properties']['type']['enum']
        True
    """
    builder = _SchemaBuilder()
    properties: _JsonSchema = {name: _PLAIN_SCHEMAS[name] for name in PLAIN_SETTINGS if name not in _CODE_SETTINGS}
    for name, slot in CONFIG_SLOTS.items():
        properties[name] = builder.describe_slot(name, slot)
    properties['_base_'] = {
        'description': 'files that this one builds on',
        'anyOf': [{'type': 'string'}, {'type': 'array', 'items': {'type': 'string'}}],
    }
    return {
        '$schema': SCHEMA_VERSION,
        'title': 'A config of poseplug',
        'type': 'object',
        'properties': properties,
        'additionalProperties': False,
        '$defs': builder.definitions,
    }


class _SchemaBuilder:
    """Collects the definitions of kinds and parts that a schema refers to."""

    def __init__(self) -> None:
        self.definitions: _JsonSchema = {}

    def describe_slot(self, key: str, slot: Slot) -> _JsonSchema:
        """The schema of a setting that holds a part, a list of them, or parts by name."""
        if isinstance(slot.kind, type):
            part = self._refer_to_class(slot.kind, slot)
        else:
            part = self._refer_to_kind(slot.kind, slot, slot.default_types.get(key))
        others: list[_JsonSchema] = [{'type': 'array', 'items': part}, {'type': 'null'}]
        if not slot.named_steps and not slot.by_name:
            return {'anyOf': [part, *others]}
        names = slot.default_types if slot.by_name and isinstance(slot.kind, str) else {}
        known = {name: self._refer_to_kind(str(slot.kind), slot, default) for name, default in names.items()}
        by_name = {
            'type': 'object',
            'properties': {name: _accept_null(reference) for name, reference in known.items()},
            'additionalProperties': _accept_null(part),
            # what has a type is a part and no dict of parts
            'not': {'required': ['type']},
        }
        return {'anyOf': [{**part, 'required': ['type']}, *others, by_name]}

    def _refer_to_class(self, settings_class: type, slot: Slot) -> _JsonSchema:
        """A reference to the settings of a class that no registry has."""
        name = settings_class.__name__
        self._add_definition(name, lambda: self._describe_part(settings_class, slot))
        return {'$ref': f'#/$defs/{name}'}

    def _refer_to_kind(self, kind: str, slot: Slot, default_type: str | None) -> _JsonSchema:
        """A reference to the parts of a kind; with a default type, settings without a type are those of that part."""
        name = kind.replace(' ', '_')
        self._add_definition(name, lambda: self._describe_kind(kind, slot))
        reference = {'$ref': f'#/$defs/{name}'}
        part = None if default_type is None else _find_parts(kind).get(default_type)
        if part is None:
            return reference
        self._add_definition(f'{name}.{default_type}', lambda: self._describe_part(part, slot))
        # the settings of a default part may leave its type out, and still are checked
        is_untyped = {'not': {'required': ['type']}}
        return {**reference, 'if': is_untyped, 'then': {'$ref': f'#/$defs/{name}.{default_type}'}}

    def _add_definition(self, name: str, describe: Any) -> None:
        """Add a definition unless it is there; a part may contain parts of its own kind."""
        if name not in self.definitions:
            # before the call, so that a part that contains its own kind finds a definition and does not recurse
            self.definitions[name] = {}
            self.definitions[name] = describe()

    def _describe_kind(self, kind: str, slot: Slot) -> _JsonSchema:
        """The parts of a kind: their names, and the settings of each."""
        parts = _find_parts(kind)
        conditions = []
        for part_name, part in sorted(parts.items()):
            name = f'{kind.replace(" ", "_")}.{part_name}'
            self._add_definition(name, lambda part=part: self._describe_part(part, slot))
            is_part = {'properties': {'type': {'const': part_name}}, 'required': ['type']}
            conditions.append({'if': is_part, 'then': {'$ref': f'#/$defs/{name}'}})
        return {
            'type': 'object',
            'properties': {'type': {'description': f'the name of a {kind}', 'enum': sorted(parts)}},
            'allOf': conditions,
        }

    def _describe_part(self, part: PartType, slot: Slot) -> _JsonSchema:
        """The settings of a part."""
        parameters, accepts_others = inspect_parameters(part)
        texts, hints, slots = read_setting_texts(part), _read_hints(part), get_slots(part)
        provided = set(list_needs(part, slot.provides))
        if slot.kind == 'model':  # also that of backbones, necks and heads, which get all that they need
            provided |= set(getattr(part, 'needs', None) or ())
        # mmengine's `_delete_=True` replaces the settings of the base instead of merging them
        properties: _JsonSchema = {'type': {'type': 'string'}, '_delete_': {'type': 'boolean'}}
        properties.update({name: {} for name in slot.builder_settings})
        for name, inner in slot.builder_slots.items():
            properties[name] = self.describe_slot(name, inner)
        for name in parameters:
            if name in provided:
                properties[name] = {'description': 'another part provides it'}
                continue
            schema = self.describe_slot(name, slots[name]) if name in slots else describe_annotation(hints.get(name))
            description = {'description': texts[name]} if name in texts else {}
            properties[name] = {**schema, **description}
        summary = (inspect.getdoc(part) or '').partition('\n')[0]
        return {'description': summary, 'properties': properties, 'additionalProperties': accepts_others}


def _accept_null(schema: _JsonSchema) -> _JsonSchema:
    """The schema of values that fit another one, or switch a part of the base off."""
    return {'anyOf': [schema, {'type': 'null'}]}


def _find_parts(kind: str) -> dict[str, PartType]:
    """The parts of a kind by name, with those of mmengine."""
    registry = REGISTRIES[kind]
    registry.import_from_location()
    parent = registry.parent
    # parts of poseplug come last and hide those of mmengine with the same name
    parts = {} if parent is None else dict(parent.module_dict)
    return {**parts, **registry.module_dict}


def _read_hints(part: PartType) -> dict[str, Any]:
    """The types of a part's settings; none where they cannot be resolved, as of names imported for type checkers."""
    if not part.__module__.startswith('poseplug'):
        return {}  # annotations of other packages are often narrower than what they accept
    owners: list[Any] = [part]
    if inspect.isclass(part):
        classes = [c for c in reversed(part.__mro__) if c.__module__.startswith('poseplug')]
        constructors = [vars(c).get('__init__') for c in classes]
        owners = [*classes, *(function for function in constructors if inspect.isfunction(function))]
    hints: dict[str, Any] = {}
    for owner in owners:
        names = dict(vars(sys.modules[owner.__module__]))
        for name, annotation in inspect.get_annotations(owner).items():
            one = types.SimpleNamespace(__annotations__={name: annotation})  # each by itself: one may not be resolved
            try:
                hints |= typing.get_type_hints(one, names)
            except (NameError, TypeError):  # a name for type checkers alone, or a class variable
                continue
    return hints


def describe_annotation(annotation: Any) -> _JsonSchema:
    """Return the schema of the values that JSON has for a type; an empty one, which accepts everything, for others.

    Args:
        annotation: a type, such as `int | None`.

    Example:
        >>> describe_annotation(int | None)
        {'type': ['integer', 'null']}
        >>> describe_annotation(tuple[int, int])
        {'type': 'array', 'items': {'type': 'integer'}}
    """
    if annotation in _PLAIN_TYPES:
        return {'type': _PLAIN_TYPES[annotation]}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return {'enum': list(arguments)}
    if origin in (Union, types.UnionType):
        return _merge_choices([describe_annotation(argument) for argument in arguments])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {'type': 'object'}
    if isinstance(origin, type) and issubclass(origin, Sequence | set):
        items = [describe_annotation(argument) for argument in arguments if argument is not Ellipsis]
        return {'type': 'array', 'items': _merge_choices(items)} if items else {'type': 'array'}
    return {}


def _merge_choices(choices: list[_JsonSchema]) -> _JsonSchema:
    """The schema of values that fit one of several; an empty one if a choice accepts everything."""
    unique = [choice for index, choice in enumerate(choices) if choice not in choices[:index]]
    if {} in unique:
        return {}
    if len(unique) == 1:
        return unique[0]
    if all(set(choice) == {'type'} for choice in unique):
        names = [choice['type'] for choice in unique]
        listed = [name for value in names for name in (value if isinstance(value, list) else [value])]
        return {'type': list(dict.fromkeys(listed))}
    return {'anyOf': unique}


def read_setting_texts(part: PartType) -> dict[str, str]:
    """Return what the docstring of a part says about each setting; for "As in `Other`" what the other class says.

    Args:
        part: with a section Args or Attributes.

    Example:
        >>> from poseplug.codecs.cpm import CPMHeatmap
        >>> read_setting_texts(CPMHeatmap)['input_size'][:15]
        '(width, height)'
    """
    text = inspect.getdoc(part) or ''
    section = re.search(r'^(?:Args|Attributes):\n((?:[ ]+.*\n?|\n)+)', text + '\n', re.MULTILINE)
    if not section:
        return {}
    texts: dict[str, str] = {}
    # entries are indented by 4 columns, the lines that continue them by more
    for entry in re.split(r'\n {4}(?=\S)', '\n' + section[1].rstrip()):
        names, colon, description = entry.strip().partition(': ')
        if colon:
            texts |= dict.fromkeys(re.split(r',\s*', names), ' '.join(description.split()))
    return {name: _follow_reference(part, name, description) for name, description in texts.items()}


def _follow_reference(part: PartType, name: str, description: str) -> str:
    """The description of a setting by the class that "As in `Other`" refers to, or the description itself."""
    reference = _REFERENCE.fullmatch(description)
    if reference is None:
        return description
    # a registered part, or a class that the module of the part imports or defines
    other = REGISTRIES['model'].module_dict.get(reference[1]) or getattr(inspect.getmodule(part), reference[1], None)
    return description if other is None else read_setting_texts(other).get(name, description)
