"""docs/lab/claims_table.md: it is up to date, and what it names exists."""

import ast
import shlex
from functools import cache
from runpy import run_path

import pytest

from poseplug.cli.commands.analyze import ANALYSES
from tests.conftest import ROOT

PAGE = run_path(str(ROOT / 'docs/write_claims_page.py'))
CLAIMS = PAGE['read_claims']()


@cache
def list_tests(file):
    return {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)}


def test_the_page_is_up_to_date():
    """To write it again: python docs/write_claims_page.py"""
    assert (ROOT / 'docs/lab/claims_table.md').read_text(encoding='utf-8') == PAGE['render_claims_page'](CLAIMS)


def test_every_claim_has_a_known_source_and_class():
    assert [claim.number for claim in CLAIMS] == list(range(1, 252))
    assert {claim.verdict for claim in CLAIMS} == set(PAGE['CLASSES'])
    assert {claim.source for claim in CLAIMS} == set(PAGE['SOURCES'])


@pytest.mark.parametrize('claim', CLAIMS, ids=lambda claim: str(claim.number))
def test_what_shows_a_claim_exists(claim):
    for file, name in claim.tests:
        assert name in list_tests(file)
    for command in claim.commands:
        words = shlex.split(command)
        assert (ROOT / f'poseplug/cli/commands/{words[1]}.py').is_file()
        assert words[1] != 'analyze' or words[2] in ANALYSES
    assert claim.verdict != 'a' or claim.tests
