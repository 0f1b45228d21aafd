"""Shards from a network that delays, cuts and fails: each image is right or refused, and the cache stays bounded."""

import errno
import multiprocessing
import shutil
from io import FileIO
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem

from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.data.shard_writer import write_shards
from poseplug.data.sources.coco import CocoSource
from poseplug.data.sources.shards import ShardSource
from poseplug.data.synthetic import write_coco
from poseplug.files import remote_files
from poseplug.files.images import read_image


class StoreError(Exception):
    """An error as libraries of stores have it: of no class of Python's, with a status."""

    def __init__(self, status):
        super().__init__(f'status {status}')
        self.status = status


class FaultyFileSystem(LocalFileSystem):
    """The local disk, where requests but every n-th one fail or are cut."""

    protocol = 'faulty'
    cachable = False
    period, num_requests = 0, 0
    error: Exception = TimeoutError('timed out')

    def _fail(self) -> bool:
        type(self).num_requests += 1
        return bool(self.period) and self.num_requests % self.period != 0

    def _open(self, path, *args, **kwargs):
        file = super()._open(path, *args, **kwargs)
        if self._fail():
            if self.num_requests % 2:
                raise self.error
            cut, read = [b'x' * 100, b''], file.read
            file.read = lambda size=-1: cut.pop(0) if cut else read(0)
        return file


@pytest.fixture(autouse=True)
def faulty(monkeypatch):
    """The file system without faults, until a test sets its period; no pauses between tries."""
    fsspec.register_implementation('faulty', FaultyFileSystem, clobber=True)
    monkeypatch.setattr(FaultyFileSystem, 'period', 0)
    monkeypatch.setattr(FaultyFileSystem, 'num_requests', 0)
    monkeypatch.setattr(remote_files, '_FIRST_WAIT_S', 0.0)
    return FaultyFileSystem


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    source = CocoSource(write_coco(folder / 'coco', num_train=6, num_val=1))
    records, _ = source.load()
    size = max(record.path.stat().st_size for record in records)
    return write_shards(records, source.skeleton, folder / 'shards', 2 * size + 8192), records


def read_all(source):
    return [read_image(record.path, byte_range=record.byte_range) for record in source.load()[0]]


def assert_right(source, records):
    pixels = read_all(source)
    assert len(pixels) == len(records)
    for actual, record in zip(pixels, records, strict=True):
        assert np.array_equal(actual, read_image(record.path))


@pytest.mark.parametrize('error', [TimeoutError('timed out'), StoreError(503), StoreError(429)])
@pytest.mark.parametrize('period', [0, 2, 4])
def test_every_image_arrives_once_and_right_through_faults(shards, tmp_path, monkeypatch, faulty, period, error):
    folder, records = shards
    monkeypatch.setattr(faulty, 'period', period)
    monkeypatch.setattr(faulty, 'error', error)
    assert_right(ShardSource(f'faulty://{folder}', cache_folder=tmp_path / 'cache'), records)
    assert not list(tmp_path.glob('cache/.*.partial'))
    if period:
        assert faulty.num_requests > len(list(folder.glob('*.tar'))) + 2  # some were repeated


def test_what_never_arrives_is_refused_by_address(shards, tmp_path, monkeypatch, faulty):
    folder, _ = shards
    records, _ = ShardSource(f'faulty://{folder}', cache_folder=tmp_path / 'cache').load()
    monkeypatch.setattr(faulty, 'period', 10**9)
    with pytest.raises(ImageError, match=r'faulty://.*shard-000000.tar: .* \(tried 5 times\)'):
        read_image(records[0].path, byte_range=records[0].byte_range)
    with pytest.raises(AnnotationError, match=r'faulty://.*shards.json: .* \(tried 5 times\)'):
        ShardSource(f'faulty://{folder}', cache_folder=tmp_path / 'other')


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (FileNotFoundError(2, 'gone'), 'there is no such file'),
        (PermissionError(13, 'no'), 'the access is denied'),
        (StoreError(403), 'the access is denied'),
        (StoreError(400), 'status 400'),
    ],
)
def test_what_a_store_refuses_for_good_is_not_tried_again(shards, tmp_path, monkeypatch, faulty, error, message):
    folder, _ = shards
    monkeypatch.setattr(faulty, 'period', 10**9)
    monkeypatch.setattr(faulty, 'error', error)
    with pytest.raises(AnnotationError, match=f'^faulty://.*shards.json: {message}; check the address'):
        ShardSource(f'faulty://{folder}', cache_folder=tmp_path / 'cache')
    assert faulty.num_requests == 1


def test_a_disk_that_is_full_is_no_error_of_the_network(shards, tmp_path, monkeypatch, faulty):
    folder, _ = shards
    records, _ = ShardSource(f'faulty://{folder}', cache_folder=tmp_path / 'cache').load()
    original_open = open

    class FullFile(FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, 'No space left on device')

    def open_full(path, mode='r', *args, **kwargs):
        return FullFile(path, 'w') if str(path).endswith('.partial') else original_open(path, mode, *args, **kwargs)

    monkeypatch.setattr(remote_files, 'open', open_full, raising=False)
    before = faulty.num_requests
    with pytest.raises(ConfigError, match='cache: the cache cannot be written .No space left on device.; free space'):
        read_image(records[0].path, byte_range=records[0].byte_range)
    assert faulty.num_requests == before + 1
    assert not list((tmp_path / 'cache').glob('.*.partial'))


def test_what_a_killed_process_left_is_written_over(shards, tmp_path):
    folder, records = shards
    source = ShardSource(f'faulty://{folder}', cache_folder=tmp_path / 'cache')
    partial = tmp_path / 'cache/.shard-000000.tar.partial'
    partial.write_bytes(b'x' * 10**6)
    assert_right(source, records)
    assert not partial.exists()


def test_shards_that_another_process_deletes_meanwhile_are_no_error(shards, tmp_path, monkeypatch):
    folder, records = shards
    source = ShardSource(f'faulty://{folder}', cache_folder=tmp_path / 'cache', max_cache_gib=1e-9)
    original_glob = Path.glob

    def glob_deleted(self, pattern):
        return [*original_glob(self, pattern), self / 'shard-000099.tar']

    monkeypatch.setattr(Path, 'glob', glob_deleted)
    assert_right(source, records)


def test_a_shard_with_other_bytes_is_refused(shards, tmp_path):
    folder, _ = shards
    changed = tmp_path / 'changed'
    shutil.copytree(folder, changed)
    data = bytearray((changed / 'shard-000000.tar').read_bytes())
    data[700] ^= 1
    (changed / 'shard-000000.tar').write_bytes(data)
    source = ShardSource(f'faulty://{changed}', cache_folder=tmp_path / 'cache')
    with pytest.raises(ImageError, match='that are not those that were written'):
        read_all(source)


def test_the_cache_stays_within_its_size(shards, tmp_path):
    folder, records = shards
    largest = max(file.stat().st_size for file in folder.glob('*.tar'))
    limit = 2.5 * largest
    source = ShardSource(f'faulty://{folder}', cache_folder=tmp_path / 'cache', max_cache_gib=limit / 2**30)
    assert_right(source, records)
    assert_right(source, records)  # those that were deleted are fetched again
    sizes = [file.stat().st_size for file in (tmp_path / 'cache').glob('*.tar')]
    assert 0 < sum(sizes) <= limit
    assert len(sizes) < len(list(folder.glob('*.tar')))


def _count_requests(address, cache, counts):
    source = ShardSource(address, cache_folder=cache)
    read_all(source)
    counts.put(FaultyFileSystem.num_requests)


def test_processes_fetch_each_shard_once(shards, tmp_path):
    folder, _ = shards
    context = multiprocessing.get_context('fork')
    counts = context.Queue()
    address = f'faulty://{folder}'
    processes = [context.Process(target=_count_requests, args=(address, tmp_path / 'cache', counts)) for _ in range(3)]
    for process in processes:
        process.start()
    total = sum(counts.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    # each process reads the description and the small part of the index; together they fetch every other file once
    assert total == 3 * 2 + 3 + len(list(folder.glob('*.tar')))


def _read_repeatedly(address, cache, max_cache_gib, records, results):
    source = ShardSource(address, cache_folder=cache, max_cache_gib=max_cache_gib)
    for _ in range(3):
        assert_right(source, records)
    results.put(True)


def test_a_cache_of_one_shard_stays_so_small_when_processes_need_different_ones(shards, tmp_path):
    folder, records = shards
    limit = 1.1 * max(file.stat().st_size for file in folder.glob('*.tar'))
    context = multiprocessing.get_context('fork')
    results, address = context.Queue(), f'faulty://{folder}'
    arguments = (address, tmp_path / 'cache', limit / 2**30, records, results)
    processes = [context.Process(target=_read_repeatedly, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [True] * 3
    for process in processes:
        process.join()
    assert sum(file.stat().st_size for file in (tmp_path / 'cache').glob('*.tar')) <= limit


def test_an_address_that_got_other_files_is_fetched_again(shards, tmp_path):
    folder, records = shards
    copy = tmp_path / 'copy'
    shutil.copytree(folder, copy)
    assert_right(ShardSource(f'faulty://{copy}', cache_folder=tmp_path / 'cache'), records)
    shutil.rmtree(copy)
    skeleton = ShardSource(folder).skeleton
    write_shards(records[::-1], skeleton, copy)
    assert_right(ShardSource(f'faulty://{copy}', cache_folder=tmp_path / 'cache'), records[::-1])


def test_credentials_are_for_their_owner_alone(shards, tmp_path):
    folder, _ = shards
    ShardSource(f'faulty://{folder}', cache_folder=tmp_path / 'cache')
    assert (tmp_path / 'cache/origin.json').stat().st_mode & 0o077 == 0
    assert (tmp_path / 'cache').stat().st_mode & 0o077 == 0


def test_an_address_without_a_file_system_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='nothing://folder'):
        ShardSource('nothing://folder', cache_folder=tmp_path)
