"""Finds the checkpoints in the work dir of a run, and detects damaged files.

`checkpoints.json` beside the files names the latest and the best one, and records step and CRC-32 of each. A CRC-32
detects damage by disks and interrupted copies. It does not detect forgery, and neither would a stronger checksum: an
attacker who can change a file can change the index beside it. A forged file can do no harm because only plain data is
read (`poseplug.files.weights`).
"""

from __future__ import annotations

import json
import logging
import mmap
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from poseplug.core.errors import CheckpointError

CHECKPOINT_INDEX_FILE = 'checkpoints.json'
BEST_CHECKPOINT_FILE = 'best.pth'
_LOGGER = logging.getLogger('poseplug')


@dataclass(frozen=True)
class IndexedCheckpoint:
    """The entry of a file in the index.

    Attributes:
        step: number of training steps before the file was saved.
        crc32: checksums that the file may have. There are several while it is being replaced, or if that was
            interrupted.
    """

    step: int
    crc32: Sequence[int] = ()


@dataclass
class CheckpointIndex:
    """The content of `checkpoints.json`: names of the latest and the best file, and an entry for each file."""

    latest: str | None = None
    best: str | None = None
    files: dict[str, IndexedCheckpoint] = field(default_factory=dict)


def read_checkpoint_index(folder: Path) -> CheckpointIndex:
    """Read the index of a folder.

    Args:
        folder: a work dir.

    Returns:
        The index; an empty one if there is none or it is damaged. Entries of files in other folders are skipped.
    """
    try:
        content = json.loads((folder / CHECKPOINT_INDEX_FILE).read_text())
        entries = {
            name: IndexedCheckpoint(int(entry['step']), [int(value) for value in entry.get('crc32', [])])
            for name, entry in content['files'].items()
            # A name with folders would lead a reader out of the work dir.
            if Path(name).name == name
        }
        return CheckpointIndex(content['latest'], content['best'], entries)
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return CheckpointIndex()


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints from which a run can continue: the newest first, `best.pth` last."""
    # Steps of more digits than the names are padded to come last, too.
    steps = sorted(folder.glob('step_*.pth'), key=lambda file: (len(file.name), file.name), reverse=True)
    return steps + [*folder.glob(BEST_CHECKPOINT_FILE)]


def find_latest_checkpoint(folder: Path) -> Path:
    """Find the newest intact checkpoint of a folder.

    Damaged files are skipped and logged.

    Args:
        folder: a work dir.

    Returns:
        Path of the newest file `step_*.pth` that is intact, else of `best.pth`.

    Raises:
        CheckpointError: no file is intact.
    """
    files = list_checkpoints(folder)
    for number, file in enumerate(files):
        # torch writes zip archives: a file that was cut lacks the directory at its end.
        if zipfile.is_zipfile(file) and is_intact(file):
            if number:
                names = ', '.join(damaged_file.name for damaged_file in files[:number])
                _LOGGER.warning('%s: passed over, damaged: %s; the newest intact one is %s', folder, names, file.name)
            return file
    raise CheckpointError(
        f'{folder} holds no checkpoint to resume from (none of its {len(files)} checkpoint files is intact); '
        f'start without --resume or --init, or name the folder of another run'
    )


def is_intact(path: Path) -> bool:
    """Check that a file is as it was when it was saved.

    Args:
        path: a checkpoint.

    Returns:
        Whether its CRC-32 is that of the folder's index. A file that the index does not list (the index was lost, or
        the file was copied alone) is checked by the zip archive's own checksums, and passes if it is no zip archive.
    """
    entry = read_checkpoint_index(path.parent).files.get(path.name)
    try:
        if entry and entry.crc32:
            return _compute_crc32(path) in entry.crc32
        return not zipfile.is_zipfile(path) or zipfile.ZipFile(path).testzip() is None
    except Exception:  # zipfile raises errors of many types for damaged archives
        return False


def _compute_crc32(path: Path) -> int:
    # The mapped pages are those that become tensors when the file is loaded, so the disk is read once.
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return zlib.crc32(content)
