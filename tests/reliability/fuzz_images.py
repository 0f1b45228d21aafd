"""Images of all kinds, and thousands of damaged ones: each is read or raises ImageError (goals I3 and I4).

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
from poseplug.core.errors import ImageError
from poseplug.files.images import read_image
from tests.reliability.image_kinds import KINDS, READ, ImageKind, bomb, encode_image, noise, scene
from tests.reliability.mutants import Rng, damage_bytes
from tests.reliability.rows import Finding, print_rows

ROOT = Path(__file__).resolve().parents[2]
NUM_FILES = int(os.environ.get('FUZZ_FILES', 20_000))
FILES_PER_CHILD = 500
MAX_MEMORY_MB = 300  # of a child that reads the bomb
CHILD_SCRIPT = """
import re, sys
from pathlib import Path
from poseplug.files.images import read_image
from poseplug.core.errors import ImageError
try:
    read_image(Path(sys.argv[1]))
except ImageError as error:
    print(error, file=sys.stderr)
print(int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1e3)
"""


def find_fault(kind: ImageKind, folder: Path) -> str:
    """What is wrong with how a kind of image is read, or nothing."""
    path = folder / 'image.jpg'
    path.write_bytes(kind.data())
    try:
        image = read_image(path)
    except ImageError as error:
        is_named = kind.outcome in str(error) and str(path) in str(error)
        return '' if is_named else f'{kind.name}: {error}'
    except Exception as error:
        return f'{kind.name}: {type(error).__name__}: {error}'
    return '' if kind.outcome == READ and kind.is_correct(image) else f'{kind.name}: read incorrectly'


def measure_kinds() -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        faults = [fault for kind in KINDS if (fault := find_fault(kind, Path(folder)))]
    return f'{len(KINDS) - len(faults)} of {len(KINDS)}' + ''.join(f'; {fault}' for fault in faults), not faults


def measure_bomb_memory() -> float:
    """The memory in MB of a process that reads an image of 20000 x 20000 px."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'bomb.png'
        path.write_bytes(bomb())
        command = [sys.executable, '-c', CHILD_SCRIPT, str(path)]
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    if 'are more than' not in process.stderr:
        raise AssertionError(f'the bomb was read: {process.stderr}')
    return float(process.stdout)


def measure_bomb() -> Finding:
    memory_mb = measure_bomb_memory()
    return f'refused by its header with {memory_mb:.0f} MB', memory_mb < MAX_MEMORY_MB


# --- damaged bytes ----------------------------------------------------------------------------------------------------


def encode_intact_files() -> list[bytes]:
    """One file of each of the six formats, and variants of three of them."""
    return [
        encode_image('JPEG', quality=90),
        encode_image('PNG'),
        encode_image('WEBP', quality=90),
        encode_image('BMP'),
        encode_image('TIFF'),
        encode_image('GIF'),
        encode_image('JPEG', noise(), progressive=True),
        encode_image('WEBP', lossless=True),
        encode_image('TIFF', compression='tiff_lzw'),
    ]


def build_damaged_file(number: int, files: list[bytes]) -> bytes:
    """Damage a file: mostly a few bytes, half of these in the header; sometimes two pieces are exchanged."""
    rng: Rng = np.random.default_rng([1, number])
    data = files[number % len(files)]
    draw = rng.random()
    if draw < 0.5:
        return damage_bytes(data, rng)
    if draw < 0.9:
        header_end = int(rng.integers(4, min(200, len(data))))
        return data[:4] + damage_bytes(data[4:header_end], rng) + data[header_end:]
    first, second, third = sorted(rng.integers(0, len(data), 3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def count_outcomes_in_child(numbers: range, folder: Path) -> Counter[str]:
    """Count the outcomes of reading damaged files in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the decoders print there
        with os.fdopen(writer, 'w') as pipe:
            json.dump(count_outcomes(numbers, folder), pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        return Counter({f'the interpreter ended with {status}': 1})
    return Counter(json.loads(text))


def count_outcomes(numbers: range, folder: Path) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    path, files = folder / 'image.jpg', encode_intact_files()
    for number in numbers:
        path.write_bytes(build_damaged_file(number, files))
        try:
            image = read_image(path)
        except ImageError as error:
            outcomes['refused' if str(path) in str(error) else 'an error without the file'] += 1
        except Exception as error:
            outcomes[f'{type(error).__name__} of file {number}'] += 1
        else:
            is_valid = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
            outcomes['read' if is_valid else 'misread'] += 1
    return outcomes


def fuzz_images(count: int) -> Counter[str]:
    """Count the outcomes of reading `count` damaged files."""
    scene(), noise()  # cached once, before the children are forked
    with tempfile.TemporaryDirectory() as folder:
        starts = range(0, count, FILES_PER_CHILD)
        chunks = [range(start, min(start + FILES_PER_CHILD, count)) for start in starts]
        return sum((count_outcomes_in_child(chunk, Path(folder)) for chunk in chunks), Counter())


def measure_fuzz(count: int) -> Finding:
    outcomes = fuzz_images(count)
    others = {outcome: n for outcome, n in outcomes.items() if outcome not in ('read', 'refused')}
    result = f'{count:,} files: {outcomes["read"]:,} read, {outcomes["refused"]:,} refused by name, '
    result += f'{others} otherwise' if others else '0 otherwise'
    return result, not others and outcomes['read'] + outcomes['refused'] == count


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'I3': (f'{len(KINDS)} of {len(KINDS)} kinds of images end as documented', measure_kinds),
    'I3 bomb': (f'389 KB of 20000 x 20000 px under {MAX_MEMORY_MB} MB', measure_bomb),
    'I4': (f'{NUM_FILES:,} damaged files of 6 formats: 0 crashes, only ImageError', partial(measure_fuzz, NUM_FILES)),
}

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
