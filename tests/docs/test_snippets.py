"""Every code block of the documentation runs, or says why it cannot; docs/ says how in its comments."""

import re
import sys

import pytest

from poseplug.registry import REGISTRIES
from poseplug.registry.part_registry import qualified_name
from tests.conftest import ROOT
from tests.docs.snippets import (
    LANGUAGES,
    PageRunner,
    find_snippets,
    list_pages,
    prepare_folder,
    run_contract_tests,
    split_commands,
)

PAGES = [page for page in list_pages() if any(s.language in ('python', 'bash') for s in find_snippets(page))]
# Cameras, streams, trainings of hours, searches, clusters, measurements of minutes and published weights are not here.
MAX_NOT_RUN = 88


@pytest.fixture(autouse=True)
def _remove_parts_of_pages(tmp_path):
    """What a page registers or imports is gone after it; built-in parts that it was the first to load stay."""
    before = {name: set(registry.module_dict) for name, registry in REGISTRIES.items()}
    search_path = list(sys.path)
    yield
    sys.path[:] = search_path
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(getattr(module, '__file__', '')):
            del sys.modules[name]
    for name, registry in REGISTRIES.items():
        for part_name in set(registry.module_dict) - before[name]:
            if not qualified_name(registry.module_dict[part_name]).startswith('poseplug'):
                del registry.module_dict[part_name]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_snippet_of_a_page_runs(page, tmp_path, monkeypatch, tiny_data, multi_person_data):
    monkeypatch.delenv('POSEPLUG_DATA', raising=False)
    prepare_folder(tmp_path, tiny_data, multi_person_data)
    monkeypatch.chdir(tmp_path)
    runner = PageRunner(tiny_data, multi_person_data)
    for snippet in find_snippets(page):
        try:
            runner.run(snippet)
        except Exception as error:
            raise AssertionError(f'{snippet}: {type(error).__name__}: {error}') from error


def test_the_tests_on_the_pages_about_writing_parts_pass(tmp_path):
    output = run_contract_tests(tmp_path)
    assert int(re.search(r'(\d+) passed', output)[1]) > 50
    assert len(list(tmp_path.glob('test_*_page.py'))) == 9


def test_every_snippet_that_is_not_run_has_its_reason():
    skipped = [s for page in list_pages() for s in find_snippets(page) if s.mode in ('checked', 'not run')]
    assert [str(s) for s in skipped if len(s.reason) < 10] == []
    assert len(skipped) <= MAX_NOT_RUN, 'run more of them, or raise the number with a reason'


def test_every_code_block_has_a_known_language_and_every_comment_a_block():
    blocks = [s for page in list_pages() for s in find_snippets(page)]
    assert [str(s) for s in blocks if s.language not in LANGUAGES] == []
    comments = sum(page.read_text().count('<!-- snippet:') for page in list_pages())
    assert comments == sum(s.mode != 'run' or bool(s.reason) for s in blocks)


def test_no_command_hides_in_an_indented_block():
    indented = re.compile(r'^ {4}(python|poseplug|pip|bash|torchrun) ', re.MULTILINE)
    for page in list_pages():
        text = re.sub(r'^```.*?^```$', '', page.read_text(), flags=re.MULTILINE | re.DOTALL)
        assert not indented.search(text), page


def test_commands_are_split_with_continued_lines_and_without_comments():
    code = 'poseplug train a.py \\\n    --overfit 8  # by heart\n\n# only a comment\npip install .\n'
    assert list(split_commands(code)) == [['poseplug', 'train', 'a.py', '--overfit', '8'], ['pip', 'install', '.']]
