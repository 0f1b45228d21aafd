"""The index of a work dir says what its files are, and damaged indexes are treated as lost ones."""

import json
import zlib

import pytest

from poseplug.files.checkpoint_folder import (
    CHECKPOINT_INDEX_FILE,
    CheckpointIndex,
    IndexedCheckpoint,
    is_intact,
    read_checkpoint_index,
)


def write_index(folder, **entry):
    content = {'latest': 'step_1.pth', 'best': None, 'files': {'step_1.pth': entry}}
    (folder / CHECKPOINT_INDEX_FILE).write_text(json.dumps(content))


def test_the_index_is_read(tmp_path):
    write_index(tmp_path, step=1, crc32=[7])
    assert read_checkpoint_index(tmp_path) == CheckpointIndex(
        'step_1.pth', None, {'step_1.pth': IndexedCheckpoint(1, [7])}
    )


def test_an_entry_may_have_no_checksum(tmp_path):
    write_index(tmp_path, step=1)
    assert read_checkpoint_index(tmp_path).files == {'step_1.pth': IndexedCheckpoint(1, [])}


@pytest.mark.parametrize('entry', [{}, {'step': 'x'}, {'step': 1, 'crc32': 7}, {'step': 1, 'crc32': ['x']}])
def test_an_index_with_a_damaged_entry_counts_as_lost(tmp_path, entry):
    write_index(tmp_path, **entry)
    assert read_checkpoint_index(tmp_path) == CheckpointIndex()


def test_a_file_may_have_any_of_the_checksums_of_its_entry(tmp_path):
    """The index lists two while a file is replaced."""
    file = tmp_path / 'step_1.pth'
    write_index(tmp_path, step=1, crc32=[zlib.crc32(b'new'), zlib.crc32(b'old')])
    for content, expected in ((b'old', True), (b'new', True), (b'other', False), (b'', False)):
        file.write_bytes(content)
        assert is_intact(file) == expected
