"""Downloads from a server on this machine that misbehaves in every way."""

import hashlib

import pytest
import torch
from safetensors.torch import save

from poseplug.core.errors import CheckpointError, PoseplugError, UnsafeFileError
from poseplug.files.cache_folder import get_cache_folder
from poseplug.files.download_address import url_to_file_name
from poseplug.files.fetch import fetch_file
from poseplug.files.weights import load_checkpoint
from tests.reliability.server import CONTENT, SHA256, requested_paths, run_server


@pytest.fixture(scope='module')
def server():
    with run_server() as address:
        yield address


def test_a_complete_file_is_kept_and_requested_once(server, tmp_path):
    before = len(requested_paths)
    path = fetch_file(f'{server}/good.safetensors', SHA256, tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.name == f'{SHA256[:16]}-good.safetensors'
    assert fetch_file(f'{server}/good.safetensors', SHA256, tmp_path) == path
    assert len(requested_paths) == before + 1


def test_a_damaged_copy_is_fetched_again(server, tmp_path):
    path = fetch_file(f'{server}/good.safetensors', SHA256, tmp_path)
    path.write_bytes(b'other')
    assert fetch_file(f'{server}/good.safetensors', SHA256, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(('path', 'kind', 'message'), [
    ('good', UnsafeFileError, 'holds another file: its sha256 is'),
    ('cut', CheckpointError, 'was cut off|cannot be fetched'),
    ('http', UnsafeFileError, 'leads to http://example.invalid/good, which is not https'),
    ('file', CheckpointError, "Redirection to url 'file:///etc/passwd' is not allowed"),
    ('gone', CheckpointError, '404 Not Found; is the address right'),
    ('round', CheckpointError, '302|redirect'),
    ('broken', CheckpointError, 'cannot be fetched'),
])  # fmt: skip
def test_a_failure_is_reported_with_its_url_and_nothing_is_kept(server, tmp_path, path, kind, message):
    sha256 = '0' * 64 if path == 'good' else SHA256
    with pytest.raises(kind, match=message) as error:
        fetch_file(f'{server}/{path}', sha256, tmp_path)
    assert f'{server}/{path}' in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_an_allowed_redirect_is_followed(server, tmp_path):
    assert fetch_file(f'{server}/moved', SHA256, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize('sha256', [None, '', SHA256[:8], SHA256.upper(), SHA256 + '0', SHA256[:-1] + 'g'])
def test_a_complete_sha256_is_required(server, tmp_path, sha256):
    with pytest.raises(UnsafeFileError, match='needs its sha256, 64 digits'):
        fetch_file(f'{server}/good', sha256, tmp_path)


@pytest.mark.parametrize('url', ['http://example.com/a', 'file:///etc/passwd', 'ftp://127.0.0.1/a', 'a', ''])
def test_a_url_that_is_not_https_is_refused_without_a_request(url, tmp_path):
    with pytest.raises(UnsafeFileError, match='is not https'):
        fetch_file(url, SHA256, tmp_path)


@pytest.mark.parametrize(('url', 'name'), [
    ('https://a/b/c.pth?x=../d', 'c.pth'), ('https://a/..%2F..%2Fetc', 'etc'), ('https://a/', 'file'),
    ('https://a/..', 'file'), ('https://a/.ssh', 'ssh'), ('https://a/x%00y', 'x_y'),
    ('https://a/' + 'x' * 300, 'x' * 100),
])  # fmt: skip
def test_the_name_of_a_kept_file_stays_in_its_folder(url, name):
    assert url_to_file_name(url) == name


def test_the_cache_folder_can_be_configured(monkeypatch, tmp_path):
    monkeypatch.setenv('POSEPLUG_CACHE', str(tmp_path))
    assert get_cache_folder() == tmp_path


def test_a_download_error_is_a_poseplug_error():
    assert issubclass(CheckpointError, PoseplugError)


def test_a_checkpoint_can_be_a_url_with_its_sha256(monkeypatch, tmp_path):
    data = save({'weight': torch.ones(2)})
    monkeypatch.setattr('tests.reliability.server.CONTENT', data)
    monkeypatch.setenv('POSEPLUG_CACHE', str(tmp_path))
    with run_server() as address:
        sha256 = hashlib.sha256(data).hexdigest()
        content = load_checkpoint(f'{address}/good.safetensors#sha256={sha256}')
        assert torch.equal(content['state_dict']['weight'], torch.ones(2))
        with pytest.raises(UnsafeFileError, match='give it as URL#sha256=DIGITS'):
            load_checkpoint(f'{address}/good.safetensors')


def test_an_endless_file_is_refused_at_the_size_limit(server, tmp_path, monkeypatch):
    monkeypatch.setattr('poseplug.files.fetch.MAX_DOWNLOAD_BYTES', len(CONTENT) - 1)
    with pytest.raises(CheckpointError, match='good is larger than .* GiB; fetch it by hand'):
        fetch_file(f'{server}/good', SHA256, tmp_path)
    assert list(tmp_path.iterdir()) == []
