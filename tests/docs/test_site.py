"""The documentation as a site: its navigation, its links, the width of its tables, and the build by MkDocs."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.docs.snippets import list_pages

DOCS = ROOT / 'docs'
MAX_TABLE_WIDTH = 120
GENERATED = {'reference/api.md', 'reference/models.md', 'lab/mixing.md'}  # with tables as wide as what they list


def list_navigation(entries) -> list[str]:
    """The pages of the navigation in mkdocs.yml, in order."""
    if isinstance(entries, str):
        return [entries]
    values = entries.values() if isinstance(entries, dict) else entries
    return [page for value in values for page in list_navigation(value)]


def read_text_without_code(page: Path) -> str:
    """A page without its code blocks and inline code."""
    text = re.sub(r'^```.*?^```$', '', page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r'`[^`\n]+`', '', text)


def make_anchor(heading: str) -> str:
    """The anchor that MkDocs makes of a heading."""
    text = re.sub(r'[`*]|\]\([^)]*\)|\[', '', heading)
    return re.sub(r'[-\s]+', '-', re.sub(r'[^\w\s-]', '', text).strip().lower())


def list_anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    text = re.sub(r'^```.*?^```$', '', page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {make_anchor(heading) for heading in re.findall(r'^#+ (.+)$', text, re.MULTILINE)}


def test_the_navigation_has_every_page_once():
    pages = list_navigation(yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav'])
    assert sorted(pages) == sorted(str(file.relative_to(DOCS)) for file in DOCS.rglob('*.md'))


@pytest.mark.parametrize('page', list_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', read_text_without_code(page)):
        if re.match(r'https?://', target):
            continue
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f'{page}: {target}'
        assert not anchor or anchor in list_anchors(file), f'{page}: {target}'


@pytest.mark.parametrize('page', list_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_fit_a_terminal(page):
    if str(page.relative_to(ROOT)).removeprefix('docs/') in GENERATED:
        return
    text = re.sub(r'^```.*?^```$', '', page.read_text(), flags=re.MULTILINE | re.DOTALL)
    wide = [line for line in text.splitlines() if line.startswith('|') and len(line) > MAX_TABLE_WIDTH]
    assert wide == []


def test_the_code_names_only_pages_that_exist():
    for folder in ('poseplug', 'configs', 'tools', 'tests', 'demo'):
        for file in (ROOT / folder).rglob('*'):
            if file.suffix not in ('.py', '.sh', '.md', '.html') or file == Path(__file__):
                continue
            for page in re.findall(r'\bdocs/[\w/]+\.md', file.read_text()):
                assert (ROOT / page).is_file(), f'{file}: {page}'


@pytest.mark.skipif(not find_spec('material'), reason="needs pip install 'poseplug[docs]'")
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--quiet', '--site-dir', str(tmp_path / 'site')]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'NO_MKDOCS_2_WARNING': '1'}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / 'site/index.html').is_file()
    for page in (tmp_path / 'site').rglob('*.html'):
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="?(https?://[^"\s>]+)', page.read_text())
        assert loaded == [], f'{page} loads from the network'
