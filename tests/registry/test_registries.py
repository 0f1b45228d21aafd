from __future__ import annotations

import pytest
from torch import nn

from poseplug.codecs.heatmap import Heatmap
from poseplug.core.errors import ConfigError, MismatchError, PluginError
from poseplug.registry import CODECS, HOOKS, METRICS, MODELS, REGISTRIES, PartRegistry, Registry
from poseplug.registry.wiring import find_argument_errors, freeze_lists, inspect_parameters
from poseplug.testing import SMALL_SKELETON


@pytest.fixture
def tools():
    """A separate registry with one part."""
    registry = Registry('tool', scope='test')

    @registry.register_module()
    class Saw:
        """Requires teeth; `size` may be provided by other parts."""

        def __init__(self, teeth, size=1, color='red'):
            if teeth < 0:
                raise ValueError('fewer than 0 teeth')
            self.teeth, self.size, self.color = teeth, size, color

    return registry


def test_a_part_is_built_from_its_type_with_the_provided_values_that_it_accepts(tools):
    saw = tools.build(dict(type='Saw', teeth=3), size=7, skeleton='not accepted, so not passed')
    assert (saw.teeth, saw.size) == (3, 7)


def test_a_part_that_is_built_already_is_returned_as_it_is(tools):
    part = object()
    assert tools.build(part, size=7) is part


@pytest.mark.parametrize('cfg', [None, 'Saw', 3, [dict(type='Saw', teeth=3)], ()], ids=str)
def test_what_is_no_part_is_refused_where_it_is_built(tools, cfg):
    with pytest.raises(ConfigError, match=r"a tool is written as dict\(type='Name', ...\); got"):
        tools.build(cfg)


def test_a_setting_may_repeat_a_provided_value_but_not_contradict_it(tools):
    assert tools.build(dict(type='Saw', teeth=1, size=[4, 8]), size=(4, 8)).size == (4, 8)
    with pytest.raises(MismatchError, match=r'Saw is given size=5 .* has size=7; leave size out of the config'):
        tools.build(dict(type='Saw', teeth=1, size=5), size=7)


def test_every_misspelt_argument_is_reported_with_the_closest_and_what_is_missing(tools):
    with pytest.raises(ConfigError) as error:
        tools.build(dict(type='Saw', teth=3, colour='blue'), size=2)
    assert str(error.value).splitlines() == [
        "Saw has no argument 'teth'; closest: 'teeth'; it takes: teeth, color",
        "Saw has no argument 'colour'; closest: 'color'; it takes: teeth, color",
        'Saw needs teeth; given: teth, colour',
    ]


def test_a_refused_value_is_reported_with_the_part(tools):
    with pytest.raises(ConfigError, match='tool Saw cannot be built with teeth=-1: ValueError: fewer than 0 teeth'):
        tools.build(dict(type='Saw', teeth=-1))
    with pytest.raises(ConfigError, match="cannot be built with teeth='many': TypeError"):
        tools.build(dict(type='Saw', teeth='many'))


@pytest.mark.parametrize('spec', [{}, dict(teeth=1), dict(type=3), dict(type=None)])
def test_a_config_without_a_usable_type_is_an_error_that_lists_the_types(tools, spec):
    with pytest.raises(ConfigError, match="a tool needs a 'type', one of: Saw; got"):
        tools.build(spec)


def test_a_type_may_be_a_class():
    assert CODECS.build(dict(type=Heatmap, input_size=(8, 8)), skeleton=SMALL_SKELETON) == Heatmap(
        SMALL_SKELETON, (8, 8)
    )


def test_an_unknown_name_is_an_error_with_the_closest_and_all_known_names():
    with pytest.raises(ConfigError) as error:
        CODECS.get('heatmpa')
    message = str(error.value)
    assert message.startswith("codec 'heatmpa' is not registered; closest: 'Heatmap'")
    assert '; known: ' in message
    assert 'CPMHeatmap' in message
    assert 'Is its plugin installed? Installed plugins: ' in message


def test_a_part_of_another_kind_is_recognized():
    MODELS.list_names()
    with pytest.raises(ConfigError, match="codec 'CPMHead' is not registered; .*'CPMHead' is a model"):
        CODECS.get('CPMHead')


def test_a_registry_without_mmengine_resolves_dotted_names_and_refuses_what_is_no_part():
    registry = PartRegistry('tool', scope='test')

    class Hammer:
        pass

    registry.register_module(module=Hammer)
    assert registry.get('test.Hammer') is Hammer
    assert registry.get('pathlib.PurePath').__name__ == 'PurePath'
    assert 'Hammer' in registry
    assert 'Saw' not in registry
    assert len(registry) == 1
    for name in ('os.path', 'no.such.Name', 'pathlib.Nothing'):
        assert registry.find_part(name) is None, name
    with pytest.raises(TypeError, match='a tool is a class or a function; got a int'):
        registry.register_module(module=3)
    with pytest.raises(TypeError, match='the name of a tool is a text; got 3'):
        registry.register_module(name=3, module=Hammer)


def test_mmengines_own_parts_are_found_but_not_listed():
    assert HOOKS.get('EmptyCacheHook').__module__.startswith('mmengine')
    assert 'EmptyCacheHook' not in HOOKS.list_names()
    with pytest.raises(ConfigError, match="closest: 'EmptyCacheHook'"):
        HOOKS.get('EmptyCacheHok')


@pytest.mark.parametrize('name', ['this', 'json', 'os.path', 'no.such.Name', '', '.', 'torch.nn.Nothing'])
def test_a_module_or_nothing_is_not_a_part(name, capsys):
    with pytest.raises(ConfigError, match='is not registered'):
        MODELS.get(name)
    assert not capsys.readouterr().out, 'a misspelt name imports nothing'


def test_a_dotted_name_is_any_class():
    assert MODELS.get('torch.nn.Conv2d') is nn.Conv2d


def test_a_taken_name_is_an_error_that_names_both_parts_unless_it_is_forced(tools):
    class Other:
        pass

    first = tools.get('Saw')
    with pytest.raises(PluginError, match=r"tool 'Saw' is already registered by .*Saw; .*Other cannot take the name"):
        tools.register_module(name='Saw', module=Other)
    assert tools.get('Saw') is first
    tools.register_module(name='Saw', module=Other, force=True)
    assert tools.get('Saw') is Other


def test_a_part_may_be_registered_again_by_its_own_module(tools):
    def register_again():
        class Part:
            pass

        return tools.register_module()(Part)

    assert register_again() is not register_again()
    assert tools.get('Part').__name__ == 'Part'


def test_arguments_of_a_base_class_are_accepted_by_constructors_that_pass_the_rest_on():
    parameters, accepts_others = inspect_parameters(MODELS.get('TopDown'))
    assert {'flip_test', 'codec', 'supervision'} <= set(parameters)
    assert not accepts_others
    assert find_argument_errors(MODELS.get('SumSquaredError'), 'SumSquaredError', dict(factor=1), ()) == {
        'factor': "SumSquaredError has no argument 'factor'; it takes: no settings"
    }


def test_lists_and_tuples_are_the_same_setting():
    assert freeze_lists([1, [2, {'a': [3]}], '45']) == (1, (2, {'a': (3,)}), '45')


def test_every_registry_has_built_in_parts_and_a_name_of_its_own():
    from poseplug.registry.plugins import BUILTIN_MODULES

    assert set(REGISTRIES) == set(BUILTIN_MODULES)
    assert METRICS is REGISTRIES['metric']
