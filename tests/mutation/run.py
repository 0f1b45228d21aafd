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
from collections import Counter
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


def measure_part(name: str, count: int | None, seed: int, previous: Mapping[str, Any] | None) -> dict[str, Any]:
    """Try the changes of a part, in this process and those it forks.

    Args:
        name: of the part.
        count: number of changes; None is all.
        seed: chooses them.
        previous: a result of which only the survivors are tried again; None tries all.

    Returns:
        The result, as it is written to a file.
    """
    import pytest

    from tests.mutation.forked_tests import ForkedTests
    from tests.mutation.mutants import sample_mutants

    start = time.perf_counter()
    files = sorted(file for pattern in PARTS[name].modules for file in ROOT.glob(pattern))
    total, changes = sample_mutants(ROOT, files, count, seed)
    if previous is not None:
        survivors = {survivor['id'] for survivor in previous['survivors']}
        changes = [change for change in changes if change.identity in survivors]
    plugin = ForkedTests([replace(change, file=str(ROOT / change.file)) for change in changes], ROOT / 'poseplug')
    code = pytest.main([*PYTEST_OPTIONS, *PARTS[name].tests], plugins=[plugin])
    if len(plugin.verdicts) < len(changes):
        raise SystemExit(f'{name}: pytest ended with exit code {code} before all changes were tried')
    outcomes = Counter(verdict.outcome for verdict in plugin.verdicts.values())
    survivors = [change for change in changes if plugin.verdicts[change.identity].outcome in ('survived', 'untested')]
    earlier = previous or {'sampled': len(changes), 'killed': 0, 'timeouts': 0}
    return dict(
        part=name,
        seed=seed,
        mutants=total,
        sampled=earlier['sampled'],
        killed=earlier['killed'] + outcomes['killed'],
        timeouts=earlier['timeouts'] + outcomes['timeout'],
        survivors=[describe_survivor(change) for change in survivors],
        left_out=dict(sorted(plugin.left_out.items())),
        seconds=round(time.perf_counter() - start),
    )


def describe_survivor(change: Change) -> dict[str, str]:
    line, before, after = change.describe((ROOT / change.file).read_text())
    return dict(id=change.identity, where=f'{change.file}:{line}', function=change.function, before=before, after=after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('part', choices=sorted(PARTS))
    parser.add_argument('--sample', type=int, default=200, help='number of mutants; 0 is all')
    parser.add_argument('--seed', type=int, default=0, help='chooses the sample')
    parser.add_argument('--survivors', action='store_true', help='try only the survivors of the last result again')
    parser.add_argument('--results', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.results is None:
        raise SystemExit(run_in_copy(sys.argv[1:]))
    file = args.results / f'{args.part}.json'
    previous = json.loads(file.read_text()) if args.survivors else None
    result = measure_part(args.part, args.sample or None, args.seed, previous)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + '\n')
    for survivor in result['survivors']:
        print(f'{survivor["where"]}\n  - {survivor["before"]}\n  + {survivor["after"]}')
    num_killed = result['killed'] + result['timeouts']
    print(f'{args.part}: {num_killed} of {result["sampled"]} mutants killed; written to {file}')


if __name__ == '__main__':
    main()
