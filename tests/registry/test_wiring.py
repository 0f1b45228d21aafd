"""What parts declare about each other: needs, slots and common settings."""

from __future__ import annotations

from collections import defaultdict

import pytest
from torch import nn

from poseplug.codecs.heatmap import Heatmap
from poseplug.config.settings import CONFIG_SLOTS
from poseplug.core.errors import ConfigError
from poseplug.models.estimators.part_wiring import NETWORK_SLOTS
from poseplug.registry import CODECS, MODELS, REGISTRIES
from poseplug.registry.wiring import Slot, get_slots, inspect_parameters, list_needs


def list_own_parts() -> list:
    """Every registered part of poseplug, with its kind."""
    parts = [(kind, registry.get(name)) for kind, registry in REGISTRIES.items() for name in registry.list_names()]
    return [(kind, part) for kind, part in parts if part.__module__.startswith('poseplug.')]


def collect_provided() -> dict[str, set[str]]:
    """The names of all values that any slot provides to the parts of a kind."""
    provided, remaining = defaultdict(set), [*CONFIG_SLOTS.values()]
    remaining += [slot for _, part in list_own_parts() for slot in get_slots(part).values()]
    while remaining:
        slot = remaining.pop()
        if isinstance(slot.kind, str):
            provided[slot.kind].update(slot.provides)
        else:
            remaining += get_slots(slot.kind).values()
        remaining += slot.builder_slots.values()
    return provided


PROVIDED = collect_provided()


@pytest.mark.parametrize(('kind', 'part'), list_own_parts(), ids=lambda value: getattr(value, '__name__', value))
def test_a_part_declares_every_argument_that_other_parts_provide(kind, part):
    arguments = [name for name in inspect_parameters(part)[0] if name in PROVIDED[kind]]
    foreign = {'optimizer', 'params', 'param_name', 'runner', 'dataloader'}  # mmengine's builders hand these on
    # Settings of a codec, except of the one that another codec draws its keypoints with.
    settings = {'input_size', 'stride', 'instances'} if kind == 'codec' and not issubclass(part, Heatmap) else set()
    declared = getattr(part, 'needs', ())
    assert [name for name in arguments if name not in (*declared, *foreign, *settings)] == []


@pytest.mark.parametrize(('kind', 'part'), list_own_parts(), ids=lambda value: getattr(value, '__name__', value))
def test_the_slots_of_a_part_are_settings_of_it_and_of_a_kind_that_exists(kind, part):
    parameters, _ = inspect_parameters(part)
    own_slots = vars(part).get('slots', {}) if isinstance(part, type) else {}
    assert [name for name in own_slots if name not in parameters] == []
    assert [s.kind for s in own_slots.values() if isinstance(s.kind, str) and s.kind not in REGISTRIES] == []


def test_a_declared_need_is_passed_on_and_another_value_is_not():
    class Picky:
        needs = ('channels',)

        def __init__(self, channels, strides=(1,)):
            self.channels, self.strides = channels, strides

    built = MODELS.build(dict(type=Picky), channels=(3,), strides=(8,))
    assert (built.channels, built.strides) == ((3,), (1,))
    assert list_needs(Picky, ['strides', 'channels', 'fields']) == ['channels']


def test_a_part_without_declarations_receives_what_its_constructor_accepts():
    class Foreign(nn.Module):
        def __init__(self, in_channels, width=2):
            super().__init__()
            self.in_channels = in_channels

    assert MODELS.build(dict(type=Foreign), in_channels=(3,), strides=(8,)).in_channels == (3,)


def test_a_need_that_a_subclass_forgot_to_declare_is_named():
    class Base:
        needs = ('in_channels',)

    class Derived(Base):
        def __init__(self, in_channels, strides):
            pass

    with pytest.raises(ConfigError, match=r'Derived needs strides; .* add it to `needs` of Derived'):
        MODELS.build(dict(type=Derived), in_channels=(3,), strides=(8,))


def test_a_slot_selects_what_it_provides():
    values = dict(in_channels=(3,), strides=(8,), fields={})
    assert NETWORK_SLOTS['neck'].select_values(values) == dict(in_channels=(3,), strides=(8,))
    with pytest.raises(KeyError):
        NETWORK_SLOTS['head'].select_values(values)


def test_every_codec_has_what_it_gives():
    for name in CODECS.list_names():
        codec_class = CODECS.get(name)
        fields = getattr(codec_class, '__dataclass_fields__', {})
        assert [n for n in codec_class.gives if not hasattr(codec_class, n) and n not in fields] == []


def test_the_type_of_a_slots_part_is_its_own_the_default_one_or_the_class_of_the_slot():
    hooks = Slot('hook', default_types={'checkpoint': 'SaveHook'})
    assert hooks.get_type(dict(interval=3), 'checkpoint') == 'SaveHook'
    assert hooks.get_type(dict(type='Own'), 'checkpoint') == 'Own'
    assert hooks.get_type(dict(interval=3), 'other') is None
    assert Slot(nn.Linear).get_type(dict(type='norm'), 'clip_grad') is nn.Linear
