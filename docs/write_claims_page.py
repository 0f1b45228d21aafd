"""Write docs/lab/claims_table.md from docs/lab/claims.tsv: what the sources claim, and what shows each claim.

python docs/write_claims_page.py
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / 'lab'
CLASSES = {
    'a': 'a test or a command shows it',
    'b': 'implemented, with a config; the result itself was not measured here',
    'c': 'partly, or in a form that differs as said',
    'd': 'missing, or out of scope',
}
SOURCES = {
    'CPM': 'Convolutional pose machines (Wei et al. 2016)',
    'CPM code': 'A reference implementation of CPM in PyTorch',
    'overview': 'An overview of top-down, bottom-up and one-stage systems (hourglass, CPN, ViTPose, PAF, RTMO)',
    'DARK': 'DARK (Zhang et al. 2020)',
    'hourglass': 'Stacked hourglass networks (Newell et al. 2016)',
}
_TEST = re.compile(r'([\w/]+)::(\w+)')


class ClaimRow(NamedTuple):
    """A claim of a source."""

    number: int
    source: str
    verdict: str
    text: str
    shown_by: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        """The files of its tests, and the names of these."""
        return [(f'tests/{file}.py', f'test_{name}') for file, name in _TEST.findall(self.shown_by)]

    @property
    def commands(self) -> list[str]:
        """Its commands."""
        return re.findall(r'`(poseplug [^`]+)`', self.shown_by)


def read_claims(file: Path = FOLDER / 'claims.tsv') -> list[ClaimRow]:
    """Read the claims, in the order of their numbers."""
    lines = (line.split('\t') for line in file.read_text(encoding='utf-8').splitlines())
    return [ClaimRow(int(number), source, *rest) for number, source, *rest in lines]


def render_claims_page(claims: list[ClaimRow]) -> str:
    """All claims by source, with their class and what shows them."""
    counts = Counter(claim.verdict for claim in claims)
    num_analyses = sum(claim.verdict == 'a' and bool(claim.commands) for claim in claims)
    lines = [
        '# What the sources claim',
        '',
        'This page is generated: `python docs/write_claims_page.py`, from `docs/lab/claims.tsv`. A test checks that',
        'every test and command that it names exists.',
        '',
        f'Of class a, {num_analyses} rows name an analysis (`poseplug analyze ...`): the experiment runs on any',
        'fitting config, and the tests run it at a tiny size. Its outcome at the size of the paper was not measured,',
        'unless [the results](results.md) or [the analyses](analyses.md) have it.',
        '',
        '| class | meaning | claims |',
        '|---|---|---|',
        *(f'| {name} | {meaning} | {counts[name]} |' for name, meaning in CLASSES.items()),
        f'| | all | {len(claims)} |',
    ]
    for source, title in SOURCES.items():
        lines += ['', f'## {title}', '']
        lines += [f'- **{c.number} {c.verdict}** {c.text}. {_format_shown_by(c)}' for c in claims if c.source == source]
    return '\n'.join(lines) + '\n'


def _format_shown_by(claim: ClaimRow) -> str:
    """What shows a claim, with tests as code."""
    return _TEST.sub(r'`\1::\2`', claim.shown_by)


if __name__ == '__main__':
    (FOLDER / 'claims_table.md').write_text(render_claims_page(read_claims()), encoding='utf-8')
