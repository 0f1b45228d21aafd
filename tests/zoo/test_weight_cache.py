"""Published files from a server on this machine: cut, changed, of wrong digits, asked for twice at once, offline."""

import hashlib
import json
import multiprocessing
import os
import stat
from dataclasses import replace

import pytest

from poseplug.core.errors import CheckpointError, UnsafeFileError
from poseplug.zoo.index import find_published_model
from poseplug.zoo.weight_cache import LOCK_FILE, WeightCache
from tests.zoo.published_files import ServedFiles, serve_files

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = f'hrnet_w32-{SHA256[:8]}_20200708.pth'


@pytest.fixture
def served():
    with serve_files(ServedFiles({NAME: CONTENT})) as files:
        yield files


@pytest.fixture
def entry(served):
    settings = dict(name='hrnet-w32', urls=(served.get_url(NAME),), sha256='', sha256_prefix=SHA256[:8])
    return replace(find_published_model('hrnet-w32'), **settings)


def read_lock(cache: WeightCache) -> dict:
    return json.loads((cache.folder / LOCK_FILE).read_text())


def test_a_file_is_fetched_once_and_its_digest_is_pinned(served, entry, tmp_path):
    cache = WeightCache(tmp_path)
    path = cache.fetch_published_file(entry)
    assert path.read_bytes() == CONTENT
    assert path == tmp_path / NAME
    assert read_lock(cache) == {NAME: dict(sha256=SHA256, bytes=len(CONTENT), url=entry.urls[0])}
    assert cache.fetch_published_file(entry) == path
    assert served.requests == [(NAME, '')]
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith('.locked')) == sorted([NAME, LOCK_FILE])


def test_a_cut_fetch_goes_on_where_it_ended(served, entry, tmp_path):
    cache = WeightCache(tmp_path)
    served.max_bytes = 200_000
    with pytest.raises(CheckpointError, match='was cut off: 600,000 of 1,048,576 bytes came; try again'):
        cache.fetch_published_file(entry)
    assert [wanted for _, wanted in served.requests] == ['', 'bytes=200000-', 'bytes=400000-']
    assert cache.fetch_published_file(entry).read_bytes() == CONTENT
    assert served.requests[-1] == (NAME, 'bytes=1000000-')


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(served, entry, tmp_path):
    served.contents[NAME], served.max_bytes = bytes(len(CONTENT)), 100_000
    with pytest.raises(CheckpointError, match='was cut off'):
        WeightCache(tmp_path).fetch_published_file(entry)
    served.contents[NAME], served.max_bytes = CONTENT, None
    assert WeightCache(tmp_path).fetch_published_file(entry).read_bytes() == CONTENT


def test_a_server_without_parts_sends_everything_again(served, entry, tmp_path):
    served.max_bytes, served.sends_parts = 100_000, False
    with pytest.raises(CheckpointError, match='was cut off'):
        WeightCache(tmp_path).fetch_published_file(entry)
    served.max_bytes = None
    assert WeightCache(tmp_path).fetch_published_file(entry).read_bytes() == CONTENT


def test_a_file_with_other_digits_than_published_is_not_kept(served, entry, tmp_path):
    served.contents[NAME] = CONTENT[::-1]
    with pytest.raises(CheckpointError, match=rf'not the published file of hrnet-w32.* one with {SHA256[:8]}'):
        WeightCache(tmp_path).fetch_published_file(entry)
    assert not (tmp_path / NAME).exists()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith('.partial')]


def test_a_whole_digest_is_checked_where_it_is_published(entry, tmp_path):
    wrong = replace(entry, sha256=SHA256[:-1] + ('0' if SHA256[-1] != '0' else '1'))
    with pytest.raises(CheckpointError, match='not the published file'):
        WeightCache(tmp_path).fetch_published_file(wrong)


def test_a_mirror_is_asked_after_a_failure(served, entry, tmp_path):
    served.contents['damaged.pth'] = b'no weights'
    mirrored = replace(entry, urls=(served.get_url('gone.pth'), served.get_url('damaged.pth'), *entry.urls))
    cache = WeightCache(tmp_path)
    assert cache.fetch_published_file(mirrored).name == 'gone.pth'
    assert read_lock(cache)['gone.pth']['url'] == entry.urls[0]


def test_a_file_that_changed_since_it_was_pinned_is_refused(entry, tmp_path):
    without_digits = replace(entry, sha256_prefix='')
    path = WeightCache(tmp_path).fetch_published_file(without_digits)
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(UnsafeFileError, match='is not the file that was fetched before.*Delete the file'):
        WeightCache(tmp_path).fetch_published_file(without_digits)


def test_a_file_that_changed_on_the_server_since_it_was_pinned_is_refused(served, entry, tmp_path):
    without_digits, cache = replace(entry, sha256_prefix=''), WeightCache(tmp_path)
    cache.fetch_published_file(without_digits).unlink()
    served.contents[NAME] = CONTENT[::-1]
    with pytest.raises(CheckpointError, match=f'of the file fetched before was {SHA256}.*remove it from {tmp_path}'):
        cache.fetch_published_file(without_digits)
    assert read_lock(cache)[NAME]['sha256'] == SHA256
    served.contents[NAME] = CONTENT
    assert cache.fetch_published_file(without_digits).read_bytes() == CONTENT


def test_a_file_put_there_by_hand_is_checked_and_pinned(served, entry, tmp_path):
    cache = WeightCache(tmp_path)
    path = cache.get_file_path(entry)
    path.write_bytes(CONTENT)
    assert cache.fetch_published_file(entry) == path
    assert served.requests == []
    assert read_lock(cache)[NAME]['sha256'] == SHA256
    path.write_bytes(b'something else')
    with pytest.raises(UnsafeFileError, match='is not the published file of hrnet-w32.*Delete it to fetch it again'):
        cache.fetch_published_file(entry)


def test_without_a_network_the_message_says_what_to_fetch_and_where_to_put_it(tmp_path):
    offline = replace(find_published_model('rtmo-s'), urls=('http://127.0.0.1:9/rtmo-s-dac2bf74.pth',))
    with pytest.raises(CheckpointError) as error:
        WeightCache(tmp_path / 'cache').fetch_published_file(offline)
    message = str(error.value)
    assert message.startswith('rtmo-s cannot be fetched: http://127.0.0.1:9/rtmo-s-dac2bf74.pth cannot be fetched')
    assert f'put it at {tmp_path}/cache/rtmo-s-dac2bf74.pth' in message
    assert 'poseplug fetch rtmo-s --to DIR' in message


def test_a_folder_that_cannot_be_written_serves_what_it_has(entry, tmp_path, monkeypatch):
    cache = WeightCache(tmp_path / 'cache')
    path = cache.fetch_published_file(entry)
    cache.folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    refuse_writing(monkeypatch, cache.folder)
    try:
        assert cache.fetch_published_file(entry) == path
        with pytest.raises(CheckpointError, match='set POSEPLUG_CACHE or --to to a folder that can be written'):
            cache.fetch_published_file(replace(entry, urls=(entry.urls[0].replace('hrnet', 'other'),)))
    finally:
        cache.folder.chmod(stat.S_IRWXU)


def refuse_writing(monkeypatch, folder) -> None:
    """Let a folder be read-only for root, too, whom modes do not stop."""
    if os.geteuid():
        return
    from poseplug.zoo import weight_cache

    def refuse(*_):
        raise PermissionError(13, 'Permission denied', str(folder))

    monkeypatch.setattr(weight_cache.WeightCache, 'lock_folder', refuse)


def test_a_damaged_lock_file_is_named(entry, tmp_path):
    (tmp_path / LOCK_FILE).write_text('{"a": 1')
    with pytest.raises(CheckpointError, match=rf'{LOCK_FILE} is damaged. Delete it'):
        WeightCache(tmp_path).fetch_published_file(entry)


def fetch_in_process(folder, entry) -> None:
    WeightCache(folder).fetch_published_file(entry)


def test_two_processes_that_want_a_file_fetch_it_once(served, entry, tmp_path):
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=fetch_in_process, args=(tmp_path, entry)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert served.requests == [(NAME, '')]
    assert (tmp_path / NAME).read_bytes() == CONTENT
