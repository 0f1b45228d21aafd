"""What tests/coverage.sh measured as a table: shares of lines and branches, and what of the doors was never run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MEASURED = Path('work_dirs/coverage/coverage.json')
DOORS = (
    'engine/checkpoint.py', 'engine/runner.py', 'engine/hooks/checkpoint', 'datasets/samplers.py', 'datasets/sources/',
    'datasets/image', 'datasets/outlines.py', 'inference/video.py', 'inference/avi.py', 'config_data.py', 'fetch.py',
)  # fmt: skip


def share(files: Iterable[Mapping[str, Any]]) -> str:
    """Lines and branches of some files that were run, as two cells of a table."""
    sums = [f['summary'] for f in files]
    cells = []
    for kind, done in (('statements', 'lines'), ('branches', 'branches')):
        covered, total = sum(s[f'covered_{done}'] for s in sums), sum(s[f'num_{kind}'] for s in sums)
        cells.append(f'{100 * covered / total:.1f} % of {total:,}' if total else 'none')
    return ' | '.join(cells)


def main() -> None:
    files = {k.removeprefix('poseplug/'): v for k, v in json.loads(MEASURED.read_text())['files'].items()}
    folders = sorted({name.split('/')[0] for name in files if '/' in name})
    print('| part | lines | branches |\n|---|---|---|')
    print(f'| poseplug | {share(files.values())} |')
    for folder in folders:
        print(f'| {folder}/ | {share(f for n, f in files.items() if n.startswith(f"{folder}/"))} |')
    doors = {name: f for name, f in files.items() if name.startswith(DOORS)}
    print(f'| checkpoint, resume and readers | {share(doors.values())} |')
    for name, f in doors.items():
        if f['missing_lines'] or f['missing_branches']:
            jumps = ', '.join(f'{a} to {b}' for a, b in f['missing_branches'])
            print(f'{name}: lines {f["missing_lines"] or "all"}; branches never taken: {jumps or "none"}')


if __name__ == '__main__':
    main()
