"""Tar files of other programs: every image is listed once and read, or the file is refused for its fault."""

import bz2
import gzip
import io
import logging
import lzma
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from poseplug.core.errors import ConfigError, ImageError
from poseplug.files import remote_files, tar_cache
from poseplug.files.tar_images import list_tar_images, read_tar_image, split_tar_path


def write_tar(file, members, **options):
    """A tar file of (name, content) or `TarInfo`."""
    with tarfile.open(file, 'w', **options) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return str(file)


def create_link(name, target, kind=tarfile.LNKTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def read_all(file):
    """The content of every listed image by its name in the tar file."""
    parts = [split_tar_path(path) for path in list_tar_images(file)]
    assert {path for path, _ in parts} == {file}
    return {name: read_tar_image(*split_tar_path(f'{file}/{name}')) for _, name in parts}


def test_images_beside_other_files_in_folders_and_with_suffixes_in_capitals_are_read(tmp_path):
    members = [('a/b.x/1.JPG', b'1'), ('a/b.x/1.json', b'{}'), ('a/b.x/1.cls', b'3'), ('a/b.x/1.txt', b'cat')]
    members += [('2.jpeg', b'2'), ('2.seg.png', b'mask'), ('./3.webp', b'3'), ('._3.webp', b'of macOS')]
    file = write_tar(tmp_path / 'x.TAR', [tarfile.TarInfo('a'), *members])
    assert read_all(file) == {'a/b.x/1.JPG': b'1', '2.jpeg': b'2', '2.seg.png': b'mask', './3.webp': b'3'}


@pytest.mark.parametrize('format', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_any_length_and_alphabet_are_read_in_every_format(tmp_path, format):
    long = 'f/' * 40 + 'n' * 60 + '.jpg'
    members = {long: b'long', 'größe 日本.jpg': b'names', 'e.jpg': b''}
    file = write_tar(tmp_path / 'x.tar', members.items(), format=format)
    assert read_all(file) == members


def test_names_that_are_no_utf_8_are_read(tmp_path):
    name = b'\xff\xfe.jpg'.decode('utf-8', 'surrogateescape')
    file = write_tar(tmp_path / 'x.tar', [(name, b'1')], format=tarfile.GNU_FORMAT)
    assert read_all(file) == {name: b'1'}


def test_links_are_the_file_that_they_lead_to_and_lost_ones_are_counted(tmp_path, caplog):
    members = [('a/1.jpg', b'1'), create_link('b/hard.jpg', 'a/1.jpg')]
    members += [create_link('b/soft.jpg', '../a/1.jpg', tarfile.SYMTYPE), create_link('lost.jpg', '/etc/x.jpg')]
    with caplog.at_level(logging.WARNING, 'poseplug'):
        assert read_all(write_tar(tmp_path / 'x.tar', members)) == dict.fromkeys(
            ('a/1.jpg', 'b/hard.jpg', 'b/soft.jpg'), b'1'
        )
    assert caplog.messages == [f'{tmp_path}/x.tar: 1 links lead to no file before them and are not read: lost.jpg']


def test_files_that_tar_itself_links_are_read(tmp_path):
    (tmp_path / '1.jpg').write_bytes(b'1')
    (tmp_path / '2.jpg').hardlink_to(tmp_path / '1.jpg')
    subprocess.run(['tar', '-C', tmp_path, '-cf', tmp_path / 'x.tar', '1.jpg', '2.jpg'], check=True)
    assert read_all(str(tmp_path / 'x.tar')) == {'1.jpg': b'1', '2.jpg': b'1'}


def test_of_two_members_of_one_name_the_last_one_counts_and_a_message_says_so(tmp_path, caplog):
    file = write_tar(tmp_path / 'x.tar', [('1.jpg', b'old'), ('2.jpg', b'2'), ('1.jpg', b'new')])
    with caplog.at_level(logging.WARNING, 'poseplug'):
        assert read_all(file) == {'1.jpg': b'new', '2.jpg': b'2'}
    assert caplog.messages == [f'{file}: 1 names come again; the last one counts, as when it is unpacked']


def test_two_tar_files_in_one_are_refused(tmp_path):
    first, second = (write_tar(tmp_path / f'{name}.tar', [(f'{name}.jpg', b'1')]) for name in 'ab')
    both = tmp_path / 'both.tar'
    both.write_bytes(b''.join(Path(file).read_bytes() for file in (first, second)))
    with pytest.raises(ImageError, match=r'both.tar: something follows its end at byte 1,024, as of two tar files'):
        list_tar_images(str(both))


@pytest.mark.parametrize(
    ('compress', 'program'), [(gzip.compress, 'gunzip'), (bz2.compress, 'bunzip2'), (lzma.compress, 'unxz')]
)
def test_a_compressed_file_under_the_name_of_a_tar_file_is_refused_as_what_it_is(tmp_path, compress, program):
    file = write_tar(tmp_path / 'x.tar', [('1.jpg', b'1')])
    (tmp_path / 'x.tar').write_bytes(compress((tmp_path / 'x.tar').read_bytes()))
    with pytest.raises(ImageError, match=f'x.tar is compressed; unpack it with {program}'):
        list_tar_images(file)


@pytest.mark.parametrize('content', [b'', b'no tar file', bytes(512), bytes(10240)])
def test_what_holds_no_image_is_refused(tmp_path, content):
    (tmp_path / 'x.tar').write_bytes(content)
    with pytest.raises(ImageError, match='x.tar: no whole tar file|x.tar holds no image'):
        list_tar_images(str(tmp_path / 'x.tar'))


# --- at an address ----------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('POSEPLUG_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(remote_files, '_FIRST_WAIT_S', 0.0)
    return tmp_path / 'cache/tars'


def test_a_tar_file_at_an_address_is_fetched_once_and_again_when_it_changed(tmp_path, cache, monkeypatch):
    address = f'file://{write_tar(tmp_path / "x.tar", [("1.jpg", b"1"), ("2.jpg", b"2")])}'
    requests, fetch = [], tar_cache.fetch_remote_file
    monkeypatch.setattr(tar_cache, 'fetch_remote_file', lambda *a: requests.append(a[0]) or fetch(*a))
    assert read_all(address) == read_all(address) == {'1.jpg': b'1', '2.jpg': b'2'}
    assert requests == [address]
    write_tar(tmp_path / 'x.tar', [('1.jpg', b'3'), ('2.jpg', b'2')])  # as many bytes
    assert read_all(address)['1.jpg'] == b'3'
    shutil.rmtree(cache)
    assert read_tar_image(address, '1.jpg') == b'3'
    assert requests == [address] * 3


def test_the_cache_of_tar_files_stays_within_its_size(tmp_path, cache, monkeypatch):
    addresses = [f'file://{write_tar(tmp_path / f"{n}.tar", [("1.jpg", b"%d" % n)])}' for n in range(4)]
    monkeypatch.setattr(tar_cache, '_MAX_CACHE_BYTES', 2 * (tmp_path / '0.tar').stat().st_size)
    for _ in range(2):
        assert [read_all(address) for address in addresses] == [{'1.jpg': b'%d' % n} for n in range(4)]
        assert len(list(cache.glob('*.tar'))) == 2


def test_errors_name_the_address_and_not_the_copy(tmp_path, cache):
    with pytest.raises(ImageError, match=f'^file://{tmp_path}/x.tar: there is no such file; check the address'):
        list_tar_images(f'file://{tmp_path}/x.tar')
    write_tar(tmp_path / 'x.tar', [('1.jpg', b'1')])
    address = f'file://{tmp_path}/x.tar'
    with pytest.raises(ImageError, match=f'^{address} holds no 2.jpg'):
        read_tar_image(address, '2.jpg')
    (tmp_path / 'x.tar').write_bytes((tmp_path / 'x.tar').read_bytes()[:1024])
    with pytest.raises(ImageError, match=f'^{address}: no whole tar file'):
        list_tar_images(address)


def test_folders_whose_name_ends_like_that_of_a_tar_file_are_no_tar_files(tmp_path, cache):
    folder = tmp_path / 'a.tar/b.tar'
    folder.mkdir(parents=True)
    file = write_tar(folder / 'x.tar', [('1.jpg', b'1')])
    assert read_all(file) == read_all(f'file://{file}') == {'1.jpg': b'1'}
    nested = write_tar(folder / 'y.tar', [('c.tar/1.jpg', b'1')])
    assert read_all(nested) == {'c.tar/1.jpg': b'1'}
    with pytest.raises(ImageError, match='y.tar has a folder whose name ends in .tar; fetch it'):
        list_tar_images(f'file://{nested}')


def test_a_cache_that_cannot_be_written_is_named(tmp_path, cache):
    write_tar(tmp_path / 'x.tar', [('1.jpg', b'1')])
    cache.parent.mkdir()
    cache.write_bytes(b'')  # a file in place of the folder
    with pytest.raises(ConfigError, match=r'tars: the cache cannot be written .*POSEPLUG_CACHE'):
        list_tar_images(f'file://{tmp_path}/x.tar')
