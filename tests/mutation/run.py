"""Measures how many single changes of a part of the package its tests notice (docs/lab/mutation.md).

Run: python tests/mutation/run.py PART [--sample 200] [--seed 0] [--survivors]; needs pip install mutmut==3.8.1
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.mutation.changes import Change
from tests.mutation.parts import PARTS

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'tests/mutation/results'
OUTSIDE_DATA = ('POSEPLUG_DATA', 'POSEPLUG_GOLDEN')  # a result does not depend on what lies beside the repository
SURVIVED = ('survived', 'untested')
PYTEST_OPTIONS = ('-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', '-o', 'tmp_path_retention_policy=none')


def copy_repository(folder: Path) -> None:
    """Copy the files that git knows or does not ignore: a test of changed code may write anywhere."""
    command = ['git', 'ls-files', '--cached', '--others', '--exclude-standard', '-z']
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split('\0')
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def run_in_copy(arguments: Sequence[str]) -> int:
    """Run this script in a copy of the repository, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix='mutation-') as folder:
        copy = Path(folder) / 'repository'
        copy_repository(copy)
        environment = {name: value for name, value in os.environ.items() if name not in OUTSIDE_DATA}
        environment |= {'PYTHONPATH': str(copy), 'OMP_NUM_THREADS': '1', 'TMPDIR': folder}
        command = [sys.executable, str(copy / 'tests/mutation/run.py'), *arguments, '--results', str(RESULTS)]
        return subprocess.run(command, cwd=copy, env=environment).returncode


def measure_part(name: str, count: int | None, seed: int, known: Mapping[str, str]) -> dict[str, Any]:
    """Try the changes of a part, in this process and those it forks.

    Args:
        name: of the part.
        count: number of changes; None is all.
        seed: chooses them.
        known: outcomes of an earlier run, by identity of the change; these are not tried.

    Returns:
        The result, as it is written to a file.
    """
    import pytest

    from tests.mutation.forked_tests import ForkedTests
    from tests.mutation.mutants import sample_mutants

    start = time.perf_counter()
    files = sorted(file for pattern in PARTS[name].modules for file in ROOT.glob(pattern))
    total, changes = sample_mutants(ROOT, files, count, seed)
    tried = [replace(change, file=str(ROOT / change.file)) for change in changes if change.identity not in known]
    plugin = ForkedTests(tried, ROOT / 'poseplug')
    code = pytest.main([*PYTEST_OPTIONS, *PARTS[name].tests], plugins=[plugin])
    if len(plugin.verdicts) < len(tried):
        raise SystemExit(f'{name}: pytest ended with exit code {code} before all changes were tried')
    outcomes = dict(known) | {identity: verdict.outcome for identity, verdict in plugin.verdicts.items()}
    return dict(
        part=name,
        seed=seed,
        mutants=total,
        outcomes={change.identity: outcomes[change.identity] for change in changes},
        survivors=[describe_survivor(change) for change in changes if outcomes[change.identity] in SURVIVED],
        left_out=dict(sorted(plugin.left_out.items())),
        seconds=round(time.perf_counter() - start),
    )


def read_killed(file: Path) -> dict[str, str]:
    """The outcomes of the killed mutants of an earlier result."""
    outcomes = json.loads(file.read_text())['outcomes']
    return {identity: outcome for identity, outcome in outcomes.items() if outcome not in SURVIVED}


def describe_survivor(change: Change) -> dict[str, str]:
    line, before, after = change.describe((ROOT / change.file).read_text())
    return dict(id=change.identity, where=f'{change.file}:{line}', function=change.function, before=before, after=after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('part', choices=sorted(PARTS))
    parser.add_argument('--sample', type=int, default=200, help='number of mutants; 0 is all')
    parser.add_argument('--seed', type=int, default=0, help='chooses the sample')
    parser.add_argument('--survivors', action='store_true', help='leave out what the last result has as killed')
    parser.add_argument('--results', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.results is None:
        raise SystemExit(run_in_copy(sys.argv[1:]))
    file = args.results / f'{args.part}.json'
    known = read_killed(file) if args.survivors else {}
    result = measure_part(args.part, args.sample or None, args.seed, known)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + '\n')
    for survivor in result['survivors']:
        print(f'{survivor["where"]}\n  - {survivor["before"]}\n  + {survivor["after"]}')
    num_killed = len(result['outcomes']) - len(result['survivors'])
    print(f'{args.part}: {num_killed} of {len(result["outcomes"])} mutants killed; written to {file}')


if __name__ == '__main__':
    main()
