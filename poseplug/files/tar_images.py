"""Images in tar files, such as the shards of WebDataset, by paths like `shard-000000.tar/000000012.jpg`.

A tar file at an address is fetched whole, so its images are called `https://host/shard-000000.tar/000000012.jpg`.
"""

from __future__ import annotations

__all__ = ['COMPRESSED_SUFFIXES', 'TAR_SUFFIX', 'list_tar_images', 'read_tar_image', 'split_tar_path']

import logging
import posixpath
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from poseplug.core.errors import ImageError
from poseplug.files.images import IMAGE_SUFFIXES
from poseplug.files.live_sources import describe_address
from poseplug.files.remote_files import is_remote_address
from poseplug.files.tar_cache import fetch_tar

TAR_SUFFIX = '.tar'
# Archives whose images cannot be read one by one.
COMPRESSED_SUFFIXES = (
    *('.tar.gz', '.tgz', '.tar.bz2', '.tbz', '.tbz2', '.tar.xz', '.txz', '.tar.zst', '.tzst', '.tar.lz4'),
    *('.zip', '.7z', '.rar'),
)
_MAX_LISTED = 4  # tar files whose members are kept in memory; successive images are in one
_MAX_FETCHED = 3  # times that a tar file is fetched for one image: a cache that is too small deletes it again
_CHUNK_BYTES = 1 << 20
# First bytes of compressed files, and what unpacks them.
_COMPRESSIONS = {b'\x1f\x8b': 'gunzip', b'BZh': 'bunzip2', b'\xfd7zXZ\x00': 'unxz', b'\x28\xb5\x2f\xfd': 'unzstd'}


def list_tar_images(file: str) -> list[str]:
    """List the images of a tar file.

    Args:
        file: path or address of a tar file that is not compressed.

    Returns:
        The path of each, which is that of the tar file and the name in it, in their order. Hidden files (`.name`) are
        ignored, links to other members are read, and of two members of one name the last one counts, as when the file
        is unpacked.

    Raises:
        ImageError: the file cannot be fetched or read, is cut, compressed, or holds no image.
    """
    if is_remote_address(file):
        with _name_address(copy := fetch_tar(file, is_new=True), file):
            members = _list_members(copy)
    else:
        members = _list_members(Path(file))
    names = [name for name in members if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if not names:
        raise ImageError(f'{file} holds no image ({", ".join(IMAGE_SUFFIXES)}); name a tar file of images')
    paths = [f'{file}/{name}' for name in names]
    if any(split_tar_path(path) != (file, name) for path, name in zip(paths, names, strict=True)):
        raise ImageError(f'{file} has a folder whose name ends in {TAR_SUFFIX}; fetch it, and name the file')
    return paths


def split_tar_path(text: str) -> tuple[str, str] | None:
    """Split the path of an image in a tar file into the tar file and the name in it; None for any other path.

    Args:
        text: a path or an address as `list_tar_images` returns it.

    Example:
        >>> split_tar_path('https://host/shard-000000.tar/a.jpg')
        ('https://host/shard-000000.tar', 'a.jpg')
        >>> split_tar_path('https://host/a.jpg')
    """
    ends = [match.end() for match in re.finditer(re.escape(TAR_SUFFIX) + '/', text, re.IGNORECASE)]
    if is_remote_address(text):
        # a folder may end in .tar, too; one in a tar file is refused when its images are listed
        return (text[: ends[-1] - 1], text[ends[-1] :]) if ends else None
    end = next((end for end in ends if Path(text[: end - 1]).is_file()), None)
    return None if end is None else (text[: end - 1], text[end:])


def read_tar_image(file: str, name: str) -> bytes:
    """Read an image file in a tar file.

    Args:
        file: path or address of the tar file.
        name: of the image in it.

    Raises:
        ImageError: the tar file cannot be fetched or read, or has no such file.
    """
    if not is_remote_address(file):
        return _read_member(Path(file), name)
    for number in range(1, _MAX_FETCHED + 1):
        copy = fetch_tar(file)
        try:
            with _name_address(copy, file):
                return _read_member(copy, name)
        except ImageError:
            # another process may delete the copy to make room
            if copy.is_file() or number == _MAX_FETCHED:
                raise
    raise AssertionError  # the last try returns or raises


@contextmanager
def _name_address(copy: Path, address: str) -> Iterator[None]:
    """Let errors of a copy name the address that it is of."""
    try:
        yield
    except ImageError as error:
        raise ImageError(str(error).replace(str(copy), describe_address(address))) from error


def _read_member(file: Path, name: str) -> bytes:
    members = _list_members(file)
    if name not in members:
        raise ImageError(f'{file} holds no {name}; list its images again')
    offset, length = members[name]
    try:
        with open(file, 'rb') as stream:
            stream.seek(offset)
            return stream.read(length)
    except OSError as error:
        reason = error.strerror or error
        raise ImageError(f'{file}: {reason}; check its path, or restore the file') from error


def _list_members(file: Path) -> dict[str, tuple[int, int]]:
    """Offset and length of every file by its name."""
    try:
        status = file.stat()
    except OSError as error:
        reason = error.strerror or error
        raise ImageError(f'{file}: {reason}; restore the file') from error
    # a tar file at an address may have other members when it was fetched again
    return _list_members_once(file, status.st_mtime_ns)


@lru_cache(maxsize=_MAX_LISTED)
def _list_members_once(file: Path, _time: int) -> dict[str, tuple[int, int]]:
    try:
        _check_compression(file)
        with tarfile.open(file, 'r:') as tar:
            # hidden files are those of systems, as `._a.jpg`, in which macOS stores attributes of a.jpg
            members = [member for member in tar if not posixpath.basename(member.name).startswith('.')]
            end = tar.offset
        is_whole, is_last = _check_end(file, end)
    except (OSError, tarfile.TarError) as error:
        raise ImageError(f'{file}: no whole tar file ({error}); fetch it again') from error
    # tarfile takes a file that was cut, or has damaged headers, for one that ends there
    if not is_whole:
        raise ImageError(f'{file}: no whole tar file (cut or damaged at byte {end:,}); fetch it again')
    if not is_last:
        raise ImageError(f'{file}: something follows its end at byte {end:,}, as of two tar files in one; split it')
    return _collect_files(file, members)


def _check_compression(file: Path) -> None:
    """Refuse a compressed file under the name of a tar file."""
    with open(file, 'rb') as stream:
        head = stream.read(max(map(len, _COMPRESSIONS)))
    for signature, program in _COMPRESSIONS.items():
        if head.startswith(signature):
            raise ImageError(f'{file} is compressed; unpack it with {program} and name the tar file that comes out')


def _check_end(file: Path, end: int) -> tuple[bool, bool]:
    """Whether the block of the end of a tar file is there, and whether there are zeros alone after it."""
    with open(file, 'rb') as stream:
        stream.seek(end)
        is_whole = stream.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
        is_last = not any(chunk.strip(b'\0') for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b''))
    return is_whole, is_last


def _collect_files(file: Path, members: list[tarfile.TarInfo]) -> dict[str, tuple[int, int]]:
    """Where the content of each file is; that of a link is at another name."""
    files: dict[str, tuple[int, int]] = {}
    num_repeated, lost = 0, []
    for member in members:
        byte_range: tuple[int, int] | None = None
        if member.isfile():
            byte_range = member.offset_data, member.size
        elif member.islnk():
            byte_range = files.get(member.linkname)
        elif member.issym():
            byte_range = files.get(posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname)))
        else:  # a folder
            continue
        if byte_range is None:
            lost.append(member.name)
            continue
        num_repeated += member.name in files
        files[member.name] = byte_range
    logger = logging.getLogger('poseplug')
    if num_repeated:
        logger.warning('%s: %d names come again; the last one counts, as when it is unpacked', file, num_repeated)
    if lost:
        logger.warning('%s: %d links lead to no file before them and are not read: %s', file, len(lost), lost[0])
    return files
