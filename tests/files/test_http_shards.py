"""Shards and tar files from http servers as they are: without requests of a part, cutting, failing and redirecting."""

import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.shard_writer import write_shards
from poseplug.data.sources.coco import CocoSource
from poseplug.data.sources.shards import ShardSource
from poseplug.data.synthetic import write_coco
from poseplug.files import remote_files
from poseplug.files.images import read_image
from poseplug.files.tar_images import list_tar_images, read_tar_image, split_tar_path
from tests.files.http_store import serve_folder

pytest.importorskip('aiohttp', reason='the extra shards is not installed')
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # sockets of aiohttp

LARGE_BYTES = 6 << 20  # more than the 5 MiB that fsspec requests at once


@pytest.fixture(scope='module')
def store(tmp_path_factory):
    """The address of a server, its requests, its folder, and the records that its shards were written from."""
    root = tmp_path_factory.mktemp('data')
    source = CocoSource(write_coco(root / 'coco', num_train=3, num_val=1))
    records, _ = source.load()
    size = max(record.path.stat().st_size for record in records)
    # decoders ignore what follows the end of an image
    with open(records[0].path, 'ab') as file:
        file.write(bytes(LARGE_BYTES))
    folder = write_shards(records, source.skeleton, root / 'shards', 2 * size + 8192)
    with serve_folder(folder) as (address, counts):
        yield address, counts, folder, records


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, '_FIRST_WAIT_S', 0.0)
    monkeypatch.setenv('POSEPLUG_CACHE', str(tmp_path))


MODES = ['ranges', 'plain', 'liar', 'nohead', 'redirect', 'slow', 'cut', 'busy']


@pytest.mark.parametrize('mode', MODES)
def test_every_image_of_shards_arrives_whatever_the_server_does(store, mode):
    address, counts, folder, records = store
    counts.clear()
    loaded, _ = ShardSource(f'{address}/{mode}').load()
    assert len(loaded) == len(records)
    for actual, expected in zip(loaded, records, strict=True):
        assert np.array_equal(read_image(actual.path, byte_range=actual.byte_range), read_image(expected.path))
    # one request for each file, and one more for each that is cut or refused
    num_files = len(list(folder.iterdir()))
    assert counts[mode] <= num_files * (2 if mode in ('cut', 'busy') else 1)


@pytest.mark.parametrize('mode', MODES)
def test_images_of_a_tar_file_at_an_address_are_those_of_the_file(store, mode):
    address, _, folder, _ = store
    local = list_tar_images(str(folder / 'shard-000000.tar'))
    remote = list_tar_images(f'{address}/{mode}/shard-000000.tar')
    assert [path.rpartition('/')[2] for path in remote] == [path.rpartition('/')[2] for path in local]
    for a, b in zip(remote, local, strict=True):
        assert read_tar_image(*split_tar_path(a)) == read_tar_image(*split_tar_path(b))


@pytest.mark.parametrize(
    ('mode', 'message', 'num_requests'),
    [
        ('forbidden', 'the access is denied; check the address', 1),
        ('absent', 'there is no such file; check the address', 1),
        ('down', r'503, .* \(tried 5 times\); is the store working', 5),
    ],
)
def test_what_a_server_refuses_is_said_in_words(store, mode, message, num_requests):
    address, counts, _, _ = store
    counts.clear()
    path = 'plain/absent' if mode == 'absent' else mode
    with pytest.raises(AnnotationError, match=f'^{address}/{path}/shards.json: {message}'):
        ShardSource(f'{address}/{path}')
    assert counts.total() == num_requests


def test_a_server_that_is_not_there_is_said_in_words(store):
    with pytest.raises(AnnotationError, match=r'^http://127.0.0.1:9/shards.json: Cannot connect .*tried 5 times'):
        ShardSource('http://127.0.0.1:9')
