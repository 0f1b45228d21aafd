"""The doors of untrusted files and of bad input, goal by goal (S3 to S9, I2, I5 to I8, T3 of docs/reliability.md).

Run: python tests/reliability/doors.py [GOALS...]
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from poseplug.compat.mmpose import BESIDE_WEIGHTS, SAFE_TORCH
from tests.reliability import unsafe, videos
from tests.reliability.rows import Finding, print_rows

ROOT = Path(__file__).resolve().parents[2]
SKIPS = ('skip', 'bad_picture', 'allowed', 'no_picture', 'share_the_count')  # in the names of tests


def tests(*which: str, **environment: str) -> Finding:
    """How many of some tests pass, in a process of their own."""
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *which]
    environment = {**os.environ, 'COLUMNS': '200', **environment}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    counts = {name: int(count) for count, name in re.findall(r'(\d+) (passed|failed|errors?)', summary(done.stdout))}
    passed, every = counts.get('passed', 0), sum(counts.values())
    return f'{passed} of {every} cases', done.returncode == 0 and passed == every > 0


def summary(out: str) -> str:
    """pytest's last line; the dots where it was told to be so quiet that there is none."""
    dots = sum(line.partition('[')[0].count('.') for line in out.splitlines() if re.fullmatch(r'[.FEs]+ *\[.*', line))
    line = next((x for x in reversed(out.splitlines()) if ' passed' in x or ' failed' in x), '')
    return line or f'{dots} passed' + (f', {out.count("FAILED ")} failed' if 'FAILED ' in out else '')


def foreign() -> Finding:
    told, right = tests('tests/compat/test_mmpose.py', '-k', 'trusted or refused or names or safetensors')
    return f'{told}; {len(BESIDE_WEIGHTS)} names passed over, none called; torch < {SAFE_TORCH} needs --trust', right


def configs() -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        faults = list(unsafe.config_faults(Path(folder)))
    return f'{9 - len(faults)} of 9 without a marker' + ''.join(f'; {f}' for f in faults), not faults


def code() -> Finding:
    faults = unsafe.code_faults()
    return f'{len(faults)} calls outside {len(unsafe.PLACES)} named places' + ''.join(
        f'; {f}' for f in faults
    ), not faults


def spoiled_videos() -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        faults = {name: fault for name, case in videos.CASES.items() if (fault := videos.fault(case, Path(folder)))}
    return f'{len(videos.CASES) - len(faults)} of {len(videos.CASES)}' + ''.join(
        f'; {name}: {fault}' for name, fault in faults.items()
    ), not faults


def supply() -> Finding:
    """Direct dependencies with floors and ceilings, two equal wheels, and locked versions with hashes."""
    needed = requirements()
    bounded = sum('>=' in one and ',<' in one for one in needed)
    with tempfile.TemporaryDirectory() as folder:
        hashes = {wheel(Path(folder) / str(n)) for n in (1, 2)}
    locked = len(entries := locks())
    told = f'{len(needed)} direct dependencies, {bounded} with a floor and a ceiling; {len(hashes)} hash of two wheels'
    told += f'; {locked} versions locked, {sum(map(bool, entries.values()))} with hashes'
    return told, len(needed) <= 10 and bounded == len(needed) and len(hashes) == 1 and locked and all(entries.values())


def locks() -> dict[str, list[str]]:
    """The hashes of every `name==version` of requirements.lock, which installs all but torch."""
    entries = re.split(r'\n(?=\S)', (ROOT / 'requirements.lock').read_text())
    return {entry.split()[0]: re.findall('--hash=sha256:([0-9a-f]{64})', entry) for entry in entries}


def requirements() -> list[str]:
    """What setup.py requires, read and not run."""
    keywords = [
        k for n in ast.walk(ast.parse((ROOT / 'setup.py').read_text())) if isinstance(n, ast.Call) for k in n.keywords
    ]
    return next(ast.literal_eval(k.value) for k in keywords if k.arg == 'install_requires')


def wheel(folder: Path) -> str:
    """The SHA-256 of a wheel that is built from the files under version control, in a folder of its own."""
    folder.mkdir()
    archive = subprocess.run(['git', 'archive', 'HEAD'], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(['tar', 'x', '-C', str(folder)], input=archive, check=True)
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', 'out', '.']
    environment = {**os.environ, 'SOURCE_DATE_EPOCH': '1700000000'}
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
    return hashlib.sha256(next((folder / 'out').glob('*.whl')).read_bytes()).hexdigest()


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'S3': ('foreign .pth refused unless trusted; at most 8 names passed over', foreign),
    'S4': ('9 of 9 attack files leave no marker through the data doors', configs),
    'S5': ('0 calls that could run what a file says, outside named places', code),
    'S6': (
        'weights from a URL: whole sha256, 8 of 8 faults named, nothing left behind',
        partial(tests, 'tests/test_fetch.py'),
    ),
    'S7': ('12 of 12 names that lead out, by 3 readers', partial(tests, 'tests/reliability/test_paths.py')),
    'S8': (
        'plugins: imported only when named; one that fails disables itself; two of one name are an error',
        partial(tests, 'tests/test_plugins.py', 'tests/test_plugin_source.py'),
    ),
    'S9': ('at most 10 dependencies with floors and ceilings, equal wheels, a lock with hashes', supply),
    'I2': (
        'the 36 defects of COCO files, those of LSP and of MPII: each its verdict',
        partial(tests, *(f'tests/datasets/sources/test_{name}.py' for name in ('coco', 'lsp', 'mpii')), '-k', 'defect'),
    ),
    'I5': (f'{len(videos.CASES)} spoiled videos: every frame keeps its number', spoiled_videos),
    'I6': (
        'an unreadable picture in training: stop, or skip up to n, counted',
        partial(tests, 'tests/datasets/test_dataset.py', '-k', f'{" or ".join(SKIPS)}'),
    ),
    'I7': ('10 of 10 empty things have a defined outcome', partial(tests, 'tests/reliability/test_empty.py')),
    'I8': (
        'prediction changes nothing it is given; batch of n == n calls',
        partial(tests, 'tests/reliability/test_purity.py'),
    ),
    'T3': ('60 laws of properties, 200 examples each', partial(tests, 'tests/properties', PROPERTY_EXAMPLES='200')),
}

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
