"""Shards from a network that delays, cuts and fails: each image is right or refused, and the cache stays bounded."""

import multiprocessing
import shutil

import fsspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem

from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.data.shard_writer import write_shards
from poseplug.data.sources.coco import CocoSource
from poseplug.data.sources.shards import ShardSource
from poseplug.data.synthetic import write_coco
from poseplug.files import shard_cache
from poseplug.files.images import read_image


class FaultyFileSystem(LocalFileSystem):
    """The local disk, where every n-th request fails, and every n-th file is cut."""

    protocol = 'faulty'
    cachable = False
    period, num_requests = 0, 0

    def _fail(self) -> bool:
        type(self).num_requests += 1
        return bool(self.period) and self.num_requests % self.period != 0

    def _open(self, path, *args, **kwargs):
        file = super()._open(path, *args, **kwargs)
        if self._fail():
            if self.num_requests % 2:
                raise TimeoutError('timed out')
            cut, read = [b'x' * 100, b''], file.read
            file.read = lambda size=-1: cut.pop(0) if cut else read(0)
        return file


@pytest.fixture(autouse=True)
def faulty(monkeypatch):
    """The file system without faults, until a test sets its period; no pauses between tries."""
    fsspec.register_implementation('faulty', FaultyFileSystem, clobber=True)
    monkeypatch.setattr(FaultyFileSystem, 'period', 0)
    monkeypatch.setattr(FaultyFileSystem, 'num_requests', 0)
    monkeypatch.setattr(shard_cache, '_FIRST_WAIT_S', 0.0)
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


@pytest.mark.parametrize('period', [0, 2, 4])
def test_every_image_arrives_once_and_right_through_faults(shards, tmp_path, monkeypatch, faulty, period):
    folder, records = shards
    monkeypatch.setattr(faulty, 'period', period)
    assert_right(ShardSource(f'faulty://{folder}', cache_folder=tmp_path / 'cache'), records)
    assert not list(tmp_path.glob('cache/*.partial'))
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


def test_a_shard_with_other_bytes_is_refused(shards, tmp_path):

    folder, _ = shards
    changed = tmp_path / 'changed'
    shutil.copytree(folder, changed)
    data = bytearray((changed / 'shard-000000.tar').read_bytes())
    data[700] ^= 1
    (changed / 'shard-000000.tar').write_bytes(data)
    source = ShardSource(f'faulty://{changed}', cache_folder=tmp_path / 'cache')
    with pytest.raises(ImageError, match='that are not the .* that were written'):
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
