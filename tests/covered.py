"""Prints the measurement of tests/coverage.sh: coverage by package, and lines of the file readers that never ran."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

COVERAGE_FILE = Path('work_dirs/coverage/coverage.json')
# The modules that read files of users and resume runs: what they do with damaged input must be tested.
READERS = (
    'config/data_files.py',
    'data/masks.py',
    'data/samplers.py',
    'data/sources/',
    'engine/checkpoint.py',
    'engine/hooks/save.py',
    'engine/runner.py',
    'files/',
)


def format_coverage(files: Iterable[Mapping[str, Any]]) -> str:
    """Covered lines and branches of some files, as two cells of a table."""
    summaries = [file['summary'] for file in files]
    cells = []
    for total_key, covered_key in (('num_statements', 'covered_lines'), ('num_branches', 'covered_branches')):
        covered, total = (sum(summary[key] for summary in summaries) for key in (covered_key, total_key))
        cells.append(f'{100 * covered / total:.1f} % of {total:,}' if total else 'none')
    return ' | '.join(cells)


def main() -> None:
    measured = json.loads(COVERAGE_FILE.read_text())['files']
    files = {name.removeprefix('poseplug/'): file for name, file in measured.items()}
    packages = sorted({name.split('/')[0] for name in files if '/' in name})
    print('| part | lines | branches |\n|---|---|---|')
    print(f'| poseplug | {format_coverage(files.values())} |')
    for package in packages:
        package_files = [file for name, file in files.items() if name.startswith(f'{package}/')]
        print(f'| {package}/ | {format_coverage(package_files)} |')
    readers = {name: file for name, file in files.items() if name.startswith(READERS)}
    print(f'| checkpoint, resume and readers | {format_coverage(readers.values())} |')
    for name, file in readers.items():
        if file['missing_lines'] or file['missing_branches']:
            branches = ', '.join(f'{start} to {end}' for start, end in file['missing_branches'])
            lines = file['missing_lines'] or 'none'
            print(f'{name}: lines never run: {lines}; branches: {branches or "none"}')


if __name__ == '__main__':
    main()
