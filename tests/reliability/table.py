"""All goals of docs/reliability.md as one table, measured by the scripts beside this one.

Run: bash tests/reliability/run.sh [--out TABLE.md] [SCRIPTS...]; exit code 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.reliability.rows import Row

HERE = Path(__file__).resolve().parent
SCRIPTS = ('kills', 'resumes', 'faults', 'ranks', 'crafted', 'doors', 'fuzz_annotations', 'fuzz_images')
HEAD = '| goal | asked | reached | met | seconds |\n|---|---|---|---|---|'


def rows_of(script: str) -> list[Row]:
    """What a script measures; one that ends without a word is a goal that was missed."""
    begun = time.perf_counter()
    command = [sys.executable, str(HERE / f'{script}.py')]
    done = subprocess.run(command, capture_output=True, text=True, errors='replace')  # OpenCV repeats spoiled bytes
    lines = [line for line in done.stdout.splitlines() if line.startswith('{')]
    rows = [Row(**json.loads(line)) for line in lines]
    print(f'{script}: {len(rows)} goals in {time.perf_counter() - begun:.0f} s', file=sys.stderr)
    if not rows or done.returncode not in (0, 1) or done.returncode != any(not row.ok for row in rows):
        told = f'exit code {done.returncode}: {done.stderr[-300:]}'
        rows.append(Row(script, 'the script runs to its end', told, False, round(time.perf_counter() - begun, 1)))
    return rows


def table(rows: list[Row]) -> str:
    lines = [
        f'| {r.goal} | {plain(r.asked)} | {plain(r.reached)} | {"yes" if r.ok else "no"} | {r.seconds:g} |'
        for r in rows
    ]
    return '\n'.join([HEAD, *lines])


def plain(text: str) -> str:
    return text.replace('|', '\\|').replace('\n', ' ')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('scripts', nargs='*', metavar='SCRIPT', help=f'of {", ".join(SCRIPTS)}; all without')
    parser.add_argument('--out', type=Path, help='write the table there, too')
    args = parser.parse_args()
    if unknown := [name for name in args.scripts if name not in SCRIPTS]:
        parser.error(f'no script {unknown[0]}; known: {", ".join(SCRIPTS)}')
    with ThreadPoolExecutor(int(os.environ.get('JOBS', 2))) as pool:
        found = pool.map(rows_of, args.scripts or SCRIPTS)
        rows = [row for rows in found for row in rows]
    print(table(rows))
    missed = [row.goal for row in rows if not row.ok]
    print(f'{len(rows) - len(missed)} of {len(rows)} goals' + (f'; missed: {", ".join(missed)}' if missed else ''))
    if args.out:
        args.out.write_text(table(rows) + '\n')
    raise SystemExit(bool(missed))


if __name__ == '__main__':
    main()
