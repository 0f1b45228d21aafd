from __future__ import annotations

import pytest
from torch import nn

from poseplug.codecs.heatmap import Heatmap
from poseplug.core.errors import ConfigError, MismatchError, PluginError
from poseplug.registry import CODECS, HOOKS, METRICS, MODELS, REGISTRIES, Registry
from poseplug.registry.registries import find_argument_errors, freeze_lists, inspect_parameters
from poseplug.testing import SMALL_SKELETON


@pytest.fixture
def tools():
    """A registry of its own, with one part."""
    registry = Registry('tool', scope='test')

    @registry.register_module()
    class Saw:
        """Wants teeth; `size` is known to others."""

        def __init__(self, teeth, size=1, colour='red'):
            if teeth < 0:
                raise ValueError('fewer than no teeth')
            self.teeth, self.size, self.color = teeth, size, colour

    return registry


def test_a_part_is_built_from_its_type_and_told_what_others_know(tools):
    saw = tools.build(dict(type='Saw', teeth=3), size=7, skeleton='not taken, so not given')
    assert (saw.teeth, saw.size) == (3, 7)


def test_a_part_that_is_built_already_is_used_as_it_is(tools):
    part = object()
    assert tools.build(part, size=7) is part


def test_a_setting_may_repeat_what_the_other_part_says_but_not_contradict_it(tools):
    assert tools.build(dict(type='Saw', teeth=1, size=[4, 8]), size=(4, 8)).size == (4, 8)
    with pytest.raises(MismatchError, match=r'Saw is given size=5 .* has size=7; leave size out of the config'):
        tools.build(dict(type='Saw', teeth=1, size=5), size=7)


def test_every_misspelt_argument_is_told_with_the_closest_and_what_is_missing(tools):
    with pytest.raises(ConfigError) as told:
        tools.build(dict(type='Saw', teth=3, color='blue'), size=2)
    assert str(told.value).splitlines() == [
        "Saw has no argument 'teth'; closest: 'teeth'; it takes: teeth, colour",
        "Saw has no argument 'color'; closest: 'colour'; it takes: teeth, colour",
        'Saw needs teeth; given: teth, color',
    ]


def test_a_value_that_a_part_refuses_is_told_with_the_part(tools):
    with pytest.raises(ConfigError, match='tool Saw cannot be built with teeth=-1: ValueError: fewer than no teeth'):
        tools.build(dict(type='Saw', teeth=-1))
    with pytest.raises(ConfigError, match="cannot be built with teeth='many': TypeError"):
        tools.build(dict(type='Saw', teeth='many'))


@pytest.mark.parametrize('spec', [{}, dict(teeth=1), dict(type=3), dict(type=None)])
def test_a_part_without_a_usable_type_says_which_there_are(tools, spec):
    with pytest.raises(ConfigError, match="a tool needs a 'type', one of: Saw; got"):
        tools.build(spec)


def test_a_class_may_stand_where_a_name_does():
    assert CODECS.build(dict(type=Heatmap, input_size=(8, 8)), skeleton=SMALL_SKELETON) == Heatmap(
        SMALL_SKELETON, (8, 8)
    )


def test_an_unknown_name_has_closest_ones_and_all_known_ones():
    with pytest.raises(ConfigError) as told:
        CODECS.get('heatmpa')
    message = str(told.value)
    assert message.startswith("codec 'heatmpa' is not registered; closest: 'Heatmap'")
    assert '; known: ' in message
    assert 'CPMHeatmap' in message
    assert 'Is its plugin installed? Installed plugins: ' in message


def test_a_part_of_another_kind_is_recognised():
    MODELS.list_names()
    with pytest.raises(ConfigError, match="codec 'CPMHead' is not registered; .*'CPMHead' is a model"):
        CODECS.get('CPMHead')


def test_mmengines_own_parts_are_found_but_not_listed():
    assert HOOKS.get('EMAHook').__module__.startswith('mmengine')
    assert 'EMAHook' not in HOOKS.list_names()
    with pytest.raises(ConfigError, match="closest: 'EMAHook'"):
        HOOKS.get('EMAHok')


@pytest.mark.parametrize('name', ['this', 'json', 'os.path', 'no.such.Name', '', '.', 'torch.nn.Nothing'])
def test_a_module_or_nothing_is_no_part(name, capsys):
    with pytest.raises(ConfigError, match='is not registered'):
        MODELS.get(name)
    assert not capsys.readouterr().out, 'a misspelt name imports nothing'


def test_a_dotted_name_is_a_class_anywhere():
    assert MODELS.get('torch.nn.Conv2d') is nn.Conv2d


def test_a_taken_name_names_both_and_may_be_forced(tools):
    class Other:
        pass

    first = tools.get('Saw')
    with pytest.raises(PluginError, match=r"tool 'Saw' is already registered by .*Saw; .*Other cannot take the name"):
        tools.register_module(name='Saw', module=Other)
    assert tools.get('Saw') is first
    tools.register_module(name='Saw', module=Other, force=True)
    assert tools.get('Saw') is Other


def test_a_part_may_come_again_from_its_own_place(tools):
    def again():
        class Part:
            pass

        return tools.register_module()(Part)

    assert again() is not again()
    assert tools.get('Part').__name__ == 'Part'


def test_arguments_reach_through_constructors_that_hand_the_rest_on():
    named, open_ended = inspect_parameters(MODELS.get('TopDown'))
    assert {'flip_test', 'codec', 'supervision'} <= set(named)
    assert not open_ended
    assert find_argument_errors(MODELS.get('SumSquaredError'), 'SumSquaredError', dict(factor=1), ()) == {
        'factor': "SumSquaredError has no argument 'factor'; it takes: no settings"
    }


def test_lists_and_tuples_are_the_same_setting():
    assert freeze_lists([1, [2, {'a': [3]}], '45']) == (1, (2, {'a': (3,)}), '45')


def test_every_registry_has_a_loader_and_a_name_of_its_own():
    from poseplug.registry.plugins import BUILTIN

    assert set(REGISTRIES) == set(BUILTIN)
    assert METRICS is REGISTRIES['metric']
