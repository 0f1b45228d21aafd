"""The pages that are generated from the code are those of the code."""

from runpy import run_path

import pytest

from tests.conftest import ROOT

PAGES = run_path(str(ROOT / 'docs/generate.py'))['PAGES']


@pytest.mark.parametrize('name', PAGES)
def test_a_generated_page_is_up_to_date(name):
    """To write them again: python docs/generate.py"""
    assert (ROOT / 'docs/reference' / name).read_text() == PAGES[name]()


def test_every_part_and_every_command_has_its_heading():
    parts = (ROOT / 'docs/reference/parts.md').read_text()
    commands = (ROOT / 'docs/reference/commands.md').read_text()
    assert all(f'\n### {name}\n' in parts for name in ('CPMHead', 'OKSAP', 'LSPSource', 'Warp', 'SimCC', 'TopDown'))
    assert all(f'\n## {name}\n' in commands for name in ('train', 'test', 'predict', 'dataset', 'describe'))
