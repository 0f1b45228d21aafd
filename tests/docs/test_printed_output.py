"""Pages that show what their Python code prints, in a text block after it, show what it prints."""

import contextlib
import io
import re

import pytest

from tests.conftest import ROOT

PAGES = ['explanation/scale.md']
BLOCKS = re.compile(r'```python\n(.*?)```(?:\n\n```text\n(.*?)```)?', re.DOTALL)


@pytest.mark.parametrize('page', PAGES)
def test_the_shown_output_is_what_the_code_prints(page):
    blocks = BLOCKS.findall((ROOT / 'docs' / page).read_text())
    assert any(shown for _, shown in blocks)
    names: dict = {}
    for code, shown in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == shown
