"""Images in tar files, such as the shards of WebDataset, by paths like `shard-000000.tar/000000012.jpg`."""

from __future__ import annotations

__all__ = ['TAR_SUFFIX', 'list_tar_images', 'read_tar_image', 'split_tar_path']

import tarfile
from functools import lru_cache
from pathlib import Path

from poseplug.core.errors import ImageError
from poseplug.files.images import IMAGE_SUFFIXES

TAR_SUFFIX = '.tar'
_MAX_LISTED = 4  # tar files whose members are kept in memory; successive images are in one


def list_tar_images(file: Path) -> list[str]:
    """List the images of a tar file.

    Args:
        file: not compressed.

    Returns:
        The path of each, which is that of the tar file and the name in it, in their order.

    Raises:
        ImageError: the file cannot be read, is cut, or holds no image.
    """
    names = [name for name in _list_members(file) if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if not names:
        raise ImageError(f'{file} holds no image ({", ".join(IMAGE_SUFFIXES)}); name a tar file of images')
    return [f'{file}/{name}' for name in names]


def split_tar_path(text: str) -> tuple[Path, str] | None:
    """Split the path of an image in a tar file into the file and the name in it; None for any other path.

    Args:
        text: a path as `list_tar_images` returns it.
    """
    separator = f'{TAR_SUFFIX}/'
    end = text.find(separator)
    while end >= 0:
        file = Path(text[: end + len(TAR_SUFFIX)])
        if file.is_file():
            return file, text[end + len(separator) :]
        end = text.find(separator, end + 1)  # a folder may end in .tar, too
    return None


def read_tar_image(file: Path, name: str) -> bytes:
    """Read an image file in a tar file.

    Raises:
        ImageError: the tar file cannot be read, or has no such file.
    """
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


@lru_cache(maxsize=_MAX_LISTED)
def _list_members(file: Path) -> dict[str, tuple[int, int]]:
    """Offset and length of every file by its name."""
    members = {}
    try:
        with tarfile.open(file, 'r:') as tar:
            for member in tar:
                if member.isfile():
                    members[member.name] = (member.offset_data, member.size)
            end = tar.offset
        with open(file, 'rb') as stream:
            stream.seek(end)
            is_whole = stream.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    except (OSError, tarfile.TarError) as error:
        raise ImageError(f'{file}: no whole tar file ({error}); fetch it again') from error
    # tarfile takes a file that was cut, or has damaged headers, for one that ends there
    if not is_whole:
        raise ImageError(f'{file}: no whole tar file (cut or damaged at byte {end:,}); fetch it again')
    return members
