"""Whatever users call says what goes in, what comes out and what can go wrong, with an example."""

import inspect

import pytest

import poseplug
import poseplug.testing
from poseplug.registry import CODECS, METRICS


def list_documented():
    """Every callable that users call or extend, by name."""
    names = {name: getattr(poseplug, name) for name in poseplug.__all__ if not name.isupper()}
    names |= {name: getattr(poseplug.testing, name) for name in poseplug.testing.__all__ if not name.isupper()}
    for registry in (CODECS, METRICS):
        names |= {part: registry.get(part) for part in registry.list_names() if is_own(registry.get(part))}
    for method in ('__call__', 'predict_stages', 'stream', 'predict_heatmaps'):
        names[f'Predictor.{method}'] = getattr(poseplug.Predictor, method)
    return {name: value for name, value in names.items() if callable(value)}


def is_own(part):
    return part.__module__.startswith('poseplug.')


DOCUMENTED = list_documented()
ERRORS = [name for name, value in DOCUMENTED.items() if inspect.isclass(value) and issubclass(value, Exception)]
FUNCTIONS = [name for name, value in DOCUMENTED.items() if inspect.isfunction(value)]
CLASSES = [name for name in DOCUMENTED if name not in FUNCTIONS and name not in ERRORS]
TEST_HELPERS = [name for name in FUNCTIONS if hasattr(poseplug.testing, name)]
WITHOUT_EXAMPLE = {'NetworkContract', 'DecodeModule', 'Predictor.__call__', *TEST_HELPERS}
WITHOUT_ERRORS = {'list_models', *TEST_HELPERS}


def get_sections(name):
    return inspect.getdoc(DOCUMENTED[name])


@pytest.mark.parametrize('name', CLASSES)
def test_a_class_documents_its_arguments_or_attributes(name):
    contracts_without_settings = {'Contract', 'LoggerContract', 'NetworkContract', 'SourceContract'}
    if name not in {*contracts_without_settings, 'Transform'}:
        assert {'Args:', 'Attributes:'} & set(get_sections(name).splitlines()), name


@pytest.mark.parametrize('name', FUNCTIONS)
def test_a_function_documents_arguments_result_and_errors(name):
    lines = get_sections(name).splitlines()
    assert {'Returns:', 'Yields:'} & set(lines)
    assert 'Args:' in lines
    assert 'Raises:' in lines or name in WITHOUT_ERRORS
    section = get_sections(name).partition('Args:')[2]
    for parameter in inspect.signature(DOCUMENTED[name]).parameters:
        assert parameter == 'self' or f'{parameter}:' in section, f'{name} does not document {parameter}'


@pytest.mark.parametrize('name', sorted(set(CLASSES + FUNCTIONS) - WITHOUT_EXAMPLE))
def test_it_has_an_example(name):
    assert '>>> ' in get_sections(name)


def test_more_than_sixty_names_are_documented():
    assert len(DOCUMENTED) > 60
