"""Files of the Hugging Face Hub: by a stand-in of its package and by the package, from a hub on this machine."""

import hashlib
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from poseplug.core.errors import CheckpointError, UnsafeFileError
from poseplug.files.fetch import fetch_file, fetch_pinned_url
from poseplug.files.hub_download import download_hub_file, parse_hub_address
from poseplug.zoo.index import find_published_model
from poseplug.zoo.weight_cache import LOCK_FILE, WeightCache
from tests.zoo.published_files import ServedFiles, serve_files

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
URL = 'hf://owner/vitpose/weights/model.safetensors'
SERVED_PATH = 'owner/vitpose/resolve/main/weights/model.safetensors'


class StandInHub:
    """What is used of huggingface_hub, with its arguments, by urllib."""

    utils = SimpleNamespace(disable_progress_bars=lambda: None)

    def __init__(self, endpoint: str):
        self.endpoint = endpoint

    def hf_hub_url(self, repo_id, filename, revision=None):
        return f'{self.endpoint}/{repo_id}/resolve/{revision or "main"}/{filename}'

    def open(self, url: str, method: str = 'GET'):
        try:
            return urllib.request.urlopen(urllib.request.Request(url, method=method))
        except urllib.error.HTTPError as error:
            error.close()
            failure = OSError(f'{error.code} Client Error\nRequest ID: 1')
            failure.response = SimpleNamespace(status_code=error.code)
            raise failure from None

    def get_hf_file_metadata(self, url: str):
        with self.open(url, 'HEAD') as response:
            return SimpleNamespace(size=int(response.headers['Content-Length']))

    def hf_hub_download(self, repo_id, filename, revision=None, *, local_dir):
        path = Path(local_dir) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.open(self.hf_hub_url(repo_id, filename, revision)) as response:
            path.write_bytes(response.read())
        return str(path)


@pytest.fixture(params=['stand-in', 'package'])
def hub(request, monkeypatch, tmp_path):
    """A hub on this machine."""
    with serve_files(ServedFiles({SERVED_PATH: CONTENT}, headers={'X-Repo-Commit': '1' * 40})) as files:
        if request.param == 'package':
            if not find_spec('huggingface_hub'):
                pytest.skip('huggingface_hub is not installed (extra: hf)')
            import huggingface_hub.constants as constants

            template = files.get_url('{repo_id}/resolve/{revision}/{filename}')
            monkeypatch.setattr(constants, 'ENDPOINT', files.address)
            monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
            monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub_cache'))
        else:
            monkeypatch.setitem(sys.modules, 'huggingface_hub', StandInHub(files.address))
        yield files


@pytest.fixture
def entry(hub):
    settings = dict(name='vitpose-hub', urls=(URL,), sha256='', sha256_prefix='')
    return replace(find_published_model('vitpose-b'), **settings)


def list_content_requests(files: ServedFiles) -> list[str]:
    return [path for path, _ in files.requests if '/resolve/' in path]


def test_a_file_of_the_hub_is_fetched_once_and_verified(hub, tmp_path):
    path = fetch_file(URL, SHA256, tmp_path / 'cache')
    assert path.read_bytes() == CONTENT
    assert path.name == f'{SHA256[:16]}-owner--vitpose--weights--model.safetensors'
    assert fetch_file(URL, SHA256, tmp_path / 'cache') == path
    assert list_content_requests(hub) == [SERVED_PATH]
    assert [*path.parent.iterdir()] == [path]


def test_another_file_than_the_pinned_one_is_not_kept(hub, tmp_path):
    with pytest.raises(UnsafeFileError, match=f'{URL} holds another file: its sha256 is {SHA256}, not 0'):
        fetch_file(URL, '0' * 64, tmp_path / 'cache')
    assert [*(tmp_path / 'cache').iterdir()] == []


def test_an_address_without_its_sha256_is_refused_without_a_request(hub, tmp_path):
    with pytest.raises(UnsafeFileError, match='needs its sha256, 64 digits'):
        fetch_pinned_url(URL)
    assert hub.requests == []


def test_a_published_model_of_the_hub_is_pinned_at_its_first_fetch(hub, entry, tmp_path):
    cache = WeightCache(tmp_path / 'cache')
    path = cache.fetch_published_file(entry)
    assert path.name == 'owner--vitpose--weights--model.safetensors'
    assert cache.read_record(path.name) == dict(sha256=SHA256, bytes=len(CONTENT), url=URL)
    visible = [file.name for file in cache.folder.iterdir() if not file.name.endswith('.locked')]
    assert sorted(visible) == sorted([path.name, LOCK_FILE])
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(UnsafeFileError, match='is not the file that was fetched before'):
        cache.fetch_published_file(entry)


def test_a_mirror_is_asked_where_the_hub_fails(hub, entry, tmp_path):
    mirrored = replace(entry, urls=('hf://owner/gone/model.safetensors', URL))
    cache = WeightCache(tmp_path / 'cache')
    assert cache.fetch_published_file(mirrored).read_bytes() == CONTENT


def test_a_missing_file_is_named_with_the_status(hub, tmp_path):
    with pytest.raises(CheckpointError, match='hf://owner/vitpose/other.safetensors: 404; is the address right'):
        fetch_file('hf://owner/vitpose/other.safetensors', SHA256, tmp_path / 'cache')


def test_an_unreachable_hub_is_named(hub, entry, tmp_path, monkeypatch):
    hub_module = sys.modules['huggingface_hub']
    monkeypatch.setattr(hub_module, 'hf_hub_url', lambda **_: 'http://127.0.0.1:9/owner/vitpose', raising=False)
    with pytest.raises(CheckpointError) as error:
        WeightCache(tmp_path / 'cache').fetch_published_file(entry)
    message = str(error.value)
    assert message.startswith(f'vitpose-hub cannot be fetched: {URL} cannot be fetched (')
    assert f'put it at {tmp_path}/cache/owner--vitpose--weights--model.safetensors' in message


def test_a_hub_that_is_not_https_is_refused(hub, tmp_path, monkeypatch):
    hub_module = sys.modules['huggingface_hub']
    monkeypatch.setattr(hub_module, 'hf_hub_url', lambda **_: 'http://mirror.example/owner/vitpose', raising=False)
    with pytest.raises(UnsafeFileError, match=r'hf://.* is at http://mirror\.example/owner/vitpose, which is not http'):
        download_hub_file(URL, tmp_path / 'file')


@pytest.mark.parametrize('arguments', [
    ('convert', '{url}', 'vitpose_b_coco_256x192', '--out', '{folder}/a.safetensors'),
    ('export', 'vitpose_b_coco_256x192', '{url}', '--out', '{folder}/a.onnx'),
    ('zoo', 'export', 'vitpose_b_coco_256x192', '{url}', '--to', 'mmpose', '--out', '{folder}/a.pth'),
    ('test', 'vitpose_b_coco_256x192', '{url}'),
    ('analyze', 'decoding', 'hrnet_w32_coco_256x192', '--checkpoint', '{url}'),
])  # fmt: skip
def test_every_command_that_reads_weights_takes_an_address(hub, command, arguments, tmp_path, monkeypatch):
    monkeypatch.setenv('POSEPLUG_CACHE', str(tmp_path / 'cache'))
    values = dict(url=f'{URL}#sha256={SHA256}', folder=tmp_path)
    code, _, error = command(*(argument.format(**values) for argument in arguments))
    assert code == 2
    assert f'{SHA256[:16]}-owner--vitpose--weights--model.safetensors is damaged or no safetensors file' in error


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(CheckpointError, match=r"needs the package huggingface_hub.*pip install 'poseplug\[hf\]'"):
        fetch_file(URL, SHA256, tmp_path)


@pytest.mark.parametrize('url', [
    'hf://model.safetensors', 'hf://owner/model.safetensors', 'hf://owner/repository/../../etc/passwd',
    'hf://owner/repository/', 'hf://owner/repository@/a', 'hf://owner/repository//a', 'hf://../a/b', 'hf://a/b/.cache/c',
])  # fmt: skip
def test_an_address_of_another_form_is_refused(url, tmp_path):
    with pytest.raises(UnsafeFileError, match='give hf://OWNER/REPOSITORY/FILE'):
        fetch_file(url, SHA256, tmp_path)


def test_a_revision_is_part_of_the_address():
    assert parse_hub_address('hf://a/b@refs-1.0/c/d.pth') == ('a/b', 'refs-1.0', 'c/d.pth')
