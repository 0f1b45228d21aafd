"""Untrusted files and bad input, goal by goal (S3 to S9, I2, I5 to I8, T3 of docs/lab/reliability.md).

Run: python tests/reliability/untrusted_input.py [GOALS...]
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
from poseplug.zoo.foreign_checkpoint import IGNORED_GLOBALS, MIN_TORCH_FOR_FOREIGN_FILES
from tests.reliability import unsafe, videos
from tests.reliability.rows import Finding, print_rows

ROOT = Path(__file__).resolve().parents[2]
# Words in the names of the tests of unreadable images
UNREADABLE_TEST_WORDS = ('skip', 'readable', 'allowed', 'count_together')


def run_tests(*arguments: str, **environment: str) -> Finding:
    """The number of tests that pass, in a process of their own."""
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *arguments]
    environment = {**os.environ, 'COLUMNS': '200', **environment}
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    pairs = re.findall(r'(\d+) (passed|failed|errors?)', find_summary(process.stdout))
    counts = {name: int(count) for count, name in pairs}
    passed, total = counts.get('passed', 0), sum(counts.values())
    return f'{passed} of {total} cases', process.returncode == 0 and passed == total > 0


def find_summary(out: str) -> str:
    """pytest's summary line; counted from its dots where an option hides that line."""
    for line in reversed(out.splitlines()):
        if ' passed' in line or ' failed' in line:
            return line
    progress_lines = [line for line in out.splitlines() if re.fullmatch(r'[.FEs]+ *\[.*', line)]
    num_passed = sum(line.partition('[')[0].count('.') for line in progress_lines)
    num_failed = out.count('FAILED ')
    return f'{num_passed} passed, {num_failed} failed' if num_failed else f'{num_passed} passed'


def measure_foreign_files() -> Finding:
    result, ok = run_tests('tests/zoo/test_mmpose.py', '-k', 'trusted or refused or names or safetensors')
    result += (
        f'; {len(IGNORED_GLOBALS)} names ignored, none called; torch < {MIN_TORCH_FOR_FOREIGN_FILES} needs --trust'
    )
    return result, ok


def measure_configs() -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        faults = list(unsafe.find_config_faults(Path(folder)))
    return f'{9 - len(faults)} of 9 without a marker' + ''.join(f'; {fault}' for fault in faults), not faults


def measure_code() -> Finding:
    faults = unsafe.find_banned_calls()
    result = f'{len(faults)} calls outside {len(unsafe.ALLOWED_CALLS)} named places'
    return result + ''.join(f'; {fault}' for fault in faults), not faults


def measure_videos() -> Finding:
    faults = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in videos.CASES.items():
            if fault := videos.find_fault(case, Path(folder)):
                faults[name] = fault
    result = f'{len(videos.CASES) - len(faults)} of {len(videos.CASES)}'
    return result + ''.join(f'; {name}: {fault}' for name, fault in faults.items()), not faults


def measure_supply_chain() -> Finding:
    """Direct dependencies with floors and ceilings, two equal wheels, and locked versions with hashes."""
    requirements = read_requirements()
    num_bounded = sum('>=' in requirement and ',<' in requirement for requirement in requirements)
    with tempfile.TemporaryDirectory() as folder:
        wheel_hashes = {build_wheel(Path(folder) / str(n)) for n in (1, 2)}
    hashes = read_lock_hashes()
    result = f'{len(requirements)} direct dependencies, {num_bounded} with a floor and a ceiling; '
    result += f'{len(wheel_hashes)} hash of two wheels; {len(hashes)} versions locked, '
    result += f'{sum(map(bool, hashes.values()))} with hashes'
    is_bounded = len(requirements) <= 10 and num_bounded == len(requirements)
    is_locked = len(hashes) > 0 and all(hashes.values())
    return result, is_bounded and len(wheel_hashes) == 1 and is_locked


def read_lock_hashes() -> dict[str, list[str]]:
    """The hashes of every `name==version` of requirements.lock, which installs all but torch."""
    entries = re.split(r'\n(?=\S)', (ROOT / 'requirements.lock').read_text())
    return {entry.split()[0]: re.findall('--hash=sha256:([0-9a-f]{64})', entry) for entry in entries}


def read_requirements() -> list[str]:
    """The requirements of setup.py, which is parsed and not run."""
    tree = ast.parse((ROOT / 'setup.py').read_text())
    keywords = [keyword for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords]
    return next(ast.literal_eval(keyword.value) for keyword in keywords if keyword.arg == 'install_requires')


def build_wheel(folder: Path) -> str:
    """The SHA-256 of a wheel that is built from the files under version control, in a folder of its own."""
    folder.mkdir()
    archive = subprocess.run(['git', 'archive', 'HEAD'], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(['tar', 'x', '-C', str(folder)], input=archive, check=True)
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', 'out', '.']
    environment = {**os.environ, 'SOURCE_DATE_EPOCH': '1700000000'}
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
    return hashlib.sha256(next((folder / 'out').glob('*.whl')).read_bytes()).hexdigest()


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'S3': ('foreign .pth refused unless trusted; at most 8 names ignored', measure_foreign_files),
    'S4': ('9 of 9 attack files leave no marker through configs that are data', measure_configs),
    'S5': ('0 calls that could run what a file says, outside named places', measure_code),
    'S6': (
        'weights from a URL: whole sha256, 8 of 8 faults named, nothing left behind',
        partial(run_tests, 'tests/files/test_fetch.py'),
    ),
    'S7': (
        '12 of 12 image names outside of the folder, by 3 readers',
        partial(run_tests, 'tests/reliability/test_paths.py'),
    ),
    'S8': (
        'plugins: imported only when named; one that fails stops no other; two of one name are an error',
        partial(run_tests, 'tests/registry/test_plugins.py'),
    ),
    'S9': ('at most 10 dependencies with floors and ceilings, equal wheels, a lock with hashes', measure_supply_chain),
    'I2': (
        'the 36 defects of COCO files, those of LSP and of MPII: each with its outcome',
        partial(run_tests, *(f'tests/data/sources/test_{name}.py' for name in ('coco', 'lsp', 'mpii')), '-k', 'defect'),
    ),
    'I5': (f'{len(videos.CASES)} damaged videos: every frame keeps its number', measure_videos),
    'I6': (
        'an unreadable image in training: stop, or skip up to n, counted',
        partial(run_tests, 'tests/data/test_dataset.py', '-k', f'{" or ".join(UNREADABLE_TEST_WORDS)}'),
    ),
    'I7': ('10 of 10 empty inputs have a defined outcome', partial(run_tests, 'tests/reliability/test_empty.py')),
    'I8': (
        'prediction changes none of its arguments; batch of n == n calls',
        partial(run_tests, 'tests/reliability/test_purity.py'),
    ),
    'T3': ('60 laws of properties, 200 examples each', partial(run_tests, 'tests/properties', PROPERTY_EXAMPLES='200')),
}

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
