"""Pictures of every kind, and spoiled ones by the thousand: each is read or is an ImageError (goals I3 and I4).

Run: python tests/reliability/fuzz_images.py [GOALS...] ; FUZZ_FILES=N in the environment for another number.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from poseplug.datasets.images import read_image
from poseplug.errors import ImageError
from tests.reliability.mutants import Rng, spoiled_bytes
from tests.reliability.pictures import KINDS, READ, Kind, bomb, noise, saved, scene
from tests.reliability.rows import Finding, print_rows

ROOT = Path(__file__).resolve().parents[2]
FILES = int(os.environ.get('FUZZ_FILES', 20_000))
CHUNK = 500  # files that one child process reads
MEMORY = 300  # MB for a child that meets the bomb
CHILD = """
import re, sys
from pathlib import Path
from poseplug.datasets.images import read_image
from poseplug.errors import ImageError
try:
    read_image(Path(sys.argv[1]))
except ImageError as error:
    print(error, file=sys.stderr)
print(int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1e3)
"""


def outcome(kind: Kind, folder: Path) -> str:
    """What is wrong with how a kind of picture ends, or nothing."""
    path = folder / 'picture.jpg'
    path.write_bytes(kind.data())
    try:
        image = read_image(path)
    except ImageError as error:
        return '' if kind.outcome in str(error) and str(path) in str(error) else f'{kind.name}: {error}'
    except Exception as error:
        return f'{kind.name}: {type(error).__name__}: {error}'
    return '' if kind.outcome == READ and kind.right(image) else f'{kind.name}: read, and wrongly'


def kinds() -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        faults = [fault for kind in KINDS if (fault := outcome(kind, Path(folder)))]
    return f'{len(KINDS) - len(faults)} of {len(KINDS)}' + ''.join(f'; {f}' for f in faults), not faults


def memory_of_the_bomb() -> float:
    """MB that a process takes which is given a picture of 20000 x 20000 px."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'bomb.png'
        path.write_bytes(bomb())
        done = subprocess.run([sys.executable, '-c', CHILD, str(path)], cwd=ROOT, capture_output=True, text=True,
                              check=True)  # fmt: skip
    if 'are more than' not in done.stderr:
        raise AssertionError(f'the bomb was read: {done.stderr}')
    return float(done.stdout)


def bomb_finding() -> Finding:
    memory = memory_of_the_bomb()
    return f'refused by its head with {memory:.0f} MB', memory < MEMORY


# --- spoiled bytes ----------------------------------------------------------------------------------------------------


def intact() -> list[bytes]:
    """A file each of the six formats, and further ways to write three of them."""
    return [
        saved('JPEG', quality=90), saved('PNG'), saved('WEBP', quality=90), saved('BMP'), saved('TIFF'), saved('GIF'),
        saved('JPEG', noise(), progressive=True), saved('WEBP', lossless=True), saved('TIFF', compression='tiff_lzw'),
    ]  # fmt: skip


def mutant(number: int, files: list[bytes]) -> bytes:
    """Spoiled file n: mostly a few bytes, half of these in the head, at times a piece moved."""
    rng: Rng = np.random.default_rng([1, number])
    data = files[number % len(files)]
    way = rng.random()
    if way < 0.5:
        return spoiled_bytes(data, rng)
    if way < 0.9:
        head = int(rng.integers(4, min(200, len(data))))
        return data[:4] + spoiled_bytes(data[4:head], rng) + data[head:]
    first, second, third = sorted(rng.integers(0, len(data), 3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def ends_of(numbers: range, folder: Path) -> Counter[str]:
    """How the reading of some spoiled files ends, in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where the decoders complain
        with os.fdopen(writer, 'w') as pipe:
            json.dump(read_all(numbers, folder), pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Counter(json.loads(text)) if status == 0 else Counter({f'the interpreter ended with {status}': 1})


def read_all(numbers: range, folder: Path) -> Counter[str]:
    ends: Counter[str] = Counter()
    path, files = folder / 'picture.jpg', intact()
    for number in numbers:
        path.write_bytes(mutant(number, files))
        try:
            image = read_image(path)
        except ImageError as error:
            ends['refused' if str(path) in str(error) else 'an error without the file'] += 1
        except Exception as error:
            ends[f'{type(error).__name__} of file {number}'] += 1
        else:
            ends['read' if image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 else 'misread'] += 1
    return ends


def fuzz(count: int) -> Counter[str]:
    """The ends of `count` spoiled files."""
    scene(), noise()  # made once, before the children are
    with tempfile.TemporaryDirectory() as folder:
        chunks = [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
        return sum((ends_of(chunk, Path(folder)) for chunk in chunks), Counter())


def fuzz_finding(count: int) -> Finding:
    ends = fuzz(count)
    bad = {what: n for what, n in ends.items() if what not in ('read', 'refused')}
    told = f'{count:,} files: {ends["read"]:,} read, {ends["refused"]:,} refused by name, {bad or 0} otherwise'
    return told, not bad and ends['read'] + ends['refused'] == count


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'I3': (f'{len(KINDS)} of {len(KINDS)} kinds of pictures end as promised', kinds),
    'I3 bomb': (f'389 KB of 20000 x 20000 px under {MEMORY} MB', bomb_finding),
    'I4': (f'{FILES:,} spoiled files of 6 formats: 0 crashes, only ImageError', partial(fuzz_finding, FILES)),
}

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
