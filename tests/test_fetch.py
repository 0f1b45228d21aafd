"""Files from the net, by a server of this machine that misbehaves in every way."""

import hashlib

import pytest
import torch
from safetensors.torch import save

from poseplug.engine.checkpoint import load
from poseplug.errors import CheckpointError, PoseplugError, UnsafeFileError
from poseplug.fetch import cache_folder, fetch, file_name
from tests.reliability.server import CONTENT, SHA256, asked, serving


@pytest.fixture(scope='module')
def server():
    with serving() as address:
        yield address


def test_a_whole_file_is_kept_and_asked_for_once(server, tmp_path):
    before = len(asked)
    path = fetch(f'{server}/good.safetensors', SHA256, tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.name == f'{SHA256[:16]}-good.safetensors'
    assert fetch(f'{server}/good.safetensors', SHA256, tmp_path) == path
    assert len(asked) == before + 1


def test_a_kept_file_that_was_damaged_is_fetched_anew(server, tmp_path):
    path = fetch(f'{server}/good.safetensors', SHA256, tmp_path)
    path.write_bytes(b'other')
    assert fetch(f'{server}/good.safetensors', SHA256, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(('place', 'kind', 'told'), [
    ('good', UnsafeFileError, 'holds another file: its sha256 is'),
    ('cut', CheckpointError, 'was cut off|cannot be fetched'),
    ('http', UnsafeFileError, 'leads to http://example.invalid/good, which is not https'),
    ('file', CheckpointError, "Redirection to url 'file:///etc/passwd' is not allowed"),
    ('gone', CheckpointError, '404 Not Found; is the address right'),
    ('round', CheckpointError, '302|redirect'),
    ('broken', CheckpointError, 'cannot be fetched'),
])  # fmt: skip
def test_what_goes_wrong_is_named_and_nothing_is_kept(server, tmp_path, place, kind, told):
    wanted = '0' * 64 if place == 'good' else SHA256
    with pytest.raises(kind, match=told) as error:
        fetch(f'{server}/{place}', wanted, tmp_path)
    assert f'{server}/{place}' in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_redirection_within_what_is_allowed_is_followed(server, tmp_path):
    assert fetch(f'{server}/moved', SHA256, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize('sha256', [None, '', SHA256[:8], SHA256.upper(), SHA256 + '0', SHA256[:-1] + 'g'])
def test_a_whole_sha256_is_needed(server, tmp_path, sha256):
    with pytest.raises(UnsafeFileError, match='needs its sha256, 64 digits'):
        fetch(f'{server}/good', sha256, tmp_path)


@pytest.mark.parametrize('url', ['http://example.com/a', 'file:///etc/passwd', 'ftp://127.0.0.1/a', 'a', ''])
def test_a_place_that_is_not_https_is_refused_without_asking(url, tmp_path):
    with pytest.raises(UnsafeFileError, match='is not https'):
        fetch(url, SHA256, tmp_path)


@pytest.mark.parametrize(('url', 'name'), [
    ('https://a/b/c.pth?x=../d', 'c.pth'), ('https://a/..%2F..%2Fetc', 'etc'), ('https://a/', 'file'),
    ('https://a/..', 'file'), ('https://a/.ssh', 'ssh'), ('https://a/x%00y', 'x_y'),
    ('https://a/' + 'x' * 300, 'x' * 100),
])  # fmt: skip
def test_the_name_of_a_kept_file_stays_in_its_folder(url, name):
    assert file_name(url) == name


def test_the_cache_may_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv('POSEPLUG_CACHE', str(tmp_path))
    assert cache_folder() == tmp_path


def test_an_error_of_fetching_is_ours():
    assert issubclass(CheckpointError, PoseplugError)


def test_a_checkpoint_may_be_an_address_with_its_sha256(monkeypatch, tmp_path):
    data = save({'weight': torch.ones(2)})
    monkeypatch.setattr('tests.reliability.server.CONTENT', data)
    monkeypatch.setenv('POSEPLUG_CACHE', str(tmp_path))
    with serving() as address:
        found = load(f'{address}/good.safetensors#sha256={hashlib.sha256(data).hexdigest()}')
        assert torch.equal(found['state_dict']['weight'], torch.ones(2))
        with pytest.raises(UnsafeFileError, match='give it as URL#sha256=DIGITS'):
            load(f'{address}/good.safetensors')


def test_a_file_without_end_is_left_at_what_is_allowed(server, tmp_path, monkeypatch):
    monkeypatch.setattr('poseplug.fetch.MOST', len(CONTENT) - 1)
    with pytest.raises(CheckpointError, match='good is larger than .* GiB; fetch it by hand'):
        fetch(f'{server}/good', SHA256, tmp_path)
    assert list(tmp_path.iterdir()) == []
