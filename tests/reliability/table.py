"""All goals of docs/lab/reliability.md as one table, measured by the scripts in this folder.

Run: bash tests/reliability/run.sh [--out TABLE.md] [SCRIPTS...]; exit code 1 if a goal is missed.
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
SCRIPTS = ('kills', 'resumes', 'faults', 'ranks', 'crafted', 'untrusted_input', 'fuzz_annotations', 'fuzz_images')
HEAD = '| goal | target | result | met | seconds |\n|---|---|---|---|---|'


def run_script(script: str) -> list[Row]:
    """The rows that a script prints; a script that fails is a missed goal."""
    start = time.perf_counter()
    command = [sys.executable, str(HERE / f'{script}.py')]
    process = subprocess.run(command, capture_output=True, text=True, errors='replace')  # OpenCV prints damaged bytes
    lines = [line for line in process.stdout.splitlines() if line.startswith('{')]
    rows = [Row(**json.loads(line)) for line in lines]
    print(f'{script}: {len(rows)} goals in {time.perf_counter() - start:.0f} s', file=sys.stderr)
    expected_code = int(any(not row.ok for row in rows))
    if not rows or process.returncode not in (0, 1) or process.returncode != expected_code:
        result = f'exit code {process.returncode}: {process.stderr[-300:]}'
        rows.append(Row(script, 'the script runs to its end', result, False, round(time.perf_counter() - start, 1)))
    return rows


def format_table(rows: list[Row]) -> str:
    lines = [HEAD]
    for row in rows:
        is_met = 'yes' if row.ok else 'no'
        lines.append(
            f'| {row.goal} | {escape_cell(row.target)} | {escape_cell(row.result)} | {is_met} | {row.seconds:g} |'
        )
    return '\n'.join(lines)


def escape_cell(text: str) -> str:
    return text.replace('|', '\\|').replace('\n', ' ')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('scripts', nargs='*', metavar='SCRIPT', help=f'of {", ".join(SCRIPTS)}; all by default')
    parser.add_argument('--out', type=Path, help='also write the table to this file')
    args = parser.parse_args()
    if unknown := [name for name in args.scripts if name not in SCRIPTS]:
        parser.error(f'no script {unknown[0]}; known: {", ".join(SCRIPTS)}')
    with ThreadPoolExecutor(int(os.environ.get('JOBS', 2))) as pool:
        rows = [row for script_rows in pool.map(run_script, args.scripts or SCRIPTS) for row in script_rows]
    print(format_table(rows))
    missed = [row.goal for row in rows if not row.ok]
    missed_text = f'; missed: {", ".join(missed)}' if missed else ''
    print(f'{len(rows) - len(missed)} of {len(rows)} goals{missed_text}')
    if args.out:
        args.out.write_text(format_table(rows) + '\n')
    raise SystemExit(bool(missed))


if __name__ == '__main__':
    main()
