"""Writes the results of tests/mutation/run.py into docs/lab/mutation.md. Run: python tests/mutation/write_table.py"""

from __future__ import annotations

import json
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.mutation.parts import PARTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs/lab/mutation.md'
RESULTS = ROOT / 'tests/mutation/results'
EQUIVALENT = ROOT / 'tests/mutation/equivalent.toml'
TABLE_MARK, LIST_MARK = '<!-- table -->', '<!-- equivalent -->'
HEAD = (
    '| part | mutants | sampled | killed | timeouts | equivalent | survivors | killed % |\n'
    '|---|---|---|---|---|---|---|---|'
)


def read_results() -> dict[str, dict[str, Any]]:
    """The results by part, of the parts that were measured."""
    files = {name: RESULTS / f'{name}.json' for name in PARTS}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}


def read_reasons() -> dict[str, str]:
    """Why a survivor is equivalent, by its identity."""
    reasons: dict[str, str] = {}
    for part in tomllib.loads(EQUIVALENT.read_text()).values():
        reasons |= part
    return reasons


def compute_killed_fraction(result: Mapping[str, Any]) -> float:
    """The killed mutants of all that were sampled, equivalent ones included."""
    return 1 - len(result['survivors']) / len(result['outcomes'])


def format_table(results: Mapping[str, Mapping[str, Any]], reasons: Mapping[str, str]) -> str:
    rows = [HEAD]
    for name, result in results.items():
        counts = Counter(result['outcomes'].values())
        num_equivalent = sum(survivor['id'] in reasons for survivor in result['survivors'])
        cells = [name, result['mutants'], len(result['outcomes']), counts['killed'], counts['timeout'], num_equivalent]
        cells += [len(result['survivors']) - num_equivalent, f'{100 * compute_killed_fraction(result):.1f} %']
        rows.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(rows)


def format_equivalent(results: Mapping[str, Mapping[str, Any]], reasons: Mapping[str, str]) -> str:
    """A list of the equivalent survivors, with their reasons."""
    lines = []
    for result in results.values():
        for survivor in sorted(result['survivors'], key=lambda entry: (entry['function'], entry['before'])):
            if survivor['id'] in reasons:
                file = survivor['where'].partition(':')[0].removeprefix('poseplug/')
                lines.append(f'- `{file}`, `{survivor["function"]}`: {reasons[survivor["id"]]}.')
                lines.append(f'  `{survivor["before"]}` became `{survivor["after"]}`')
    return '\n'.join(lines)


def replace_section(text: str, mark: str, section: str) -> str:
    """Replace what is between the two marks of a page."""
    before, _, after = text.split(mark)
    return f'{before}{mark}\n\n{section}\n\n{mark}{after}'


def main() -> None:
    results, reasons = read_results(), read_reasons()
    text = replace_section(PAGE.read_text(), TABLE_MARK, format_table(results, reasons))
    PAGE.write_text(replace_section(text, LIST_MARK, format_equivalent(results, reasons)))


if __name__ == '__main__':
    main()
