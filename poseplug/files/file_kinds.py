"""What a file is that was expected to hold weights, by its first bytes: so that a message can say what to do."""

from __future__ import annotations

__all__ = ['describe_file_kind']

import re
import zipfile
from pathlib import Path

_HEAD_BYTES = 512
_WEB_PAGE = 'is a web page, as servers send in place of a missing file; check the address that it came from'
# First bytes of a file -> what it is. Text is compared in lower case and without white space.
_TEXT_KINDS = (
    (b'<!doctypehtml', _WEB_PAGE),
    (b'<html', _WEB_PAGE),
    (b'<?xml', 'is an XML text, as servers send in place of a missing file; check the address that it came from'),
    (b'versionhttps://git-lfs', 'is a pointer of Git LFS, not the file itself; run git lfs pull in its repository'),
    (b'{"metadata"', 'is the list of weights in several files; join them with the program that wrote them'),
    (b'{', 'is a JSON text, as servers send in place of a missing file; check the address that it came from'),
)
_BINARY_KINDS = (
    (b'\x1f\x8b', 'is compressed by gzip; unpack it'),
    (b'7z\xbc\xaf', 'is a 7z archive; unpack it'),
    (b'Rar!', 'is a RAR archive; unpack it'),
    (b'\x28\xb5\x2f\xfd', 'is compressed by zstd; unpack it'),
    (b'\x89HDF', 'is an HDF5 file, as Keras writes; convert it with the program that wrote it'),
    (b'\x93NUMPY', 'is an array of NumPy; convert it with the program that wrote it'),
    (b'\x89PNG', 'is an image, not weights'),
    (b'\xff\xd8\xff', 'is an image, not weights'),
    (b'%PDF', 'is a PDF document'),
)
_TAR_MAGIC = b'ustar'
_TAR_MAGIC_OFFSET = 257
_ZIP_SIGNATURE = b'PK\x03\x04'


def describe_file_kind(path: Path) -> str:
    """Describe what a file is that cannot be read as weights.

    Args:
        path: the file.

    Returns:
        What it is and what to do, to follow its name in a message; '' for a kind that is not known.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / 'weights.pth'
        ...     _ = file.write_bytes(b'')
        ...     describe_file_kind(file)
        'is damaged: it is empty; fetch or write it again'
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(_HEAD_BYTES)
        return _describe_head(head) or _describe_archive(path, head) or _describe_other_ending(path, head)
    except OSError:  # whoever reads the file says why it cannot be read
        return ''


def _describe_head(head: bytes) -> str:
    if not head:
        return 'is damaged: it is empty; fetch or write it again'
    text = re.sub(rb'[\xef\xbb\xbf\s]', b'', head).lower()
    kinds = [kind for start, kind in _TEXT_KINDS if text.startswith(start)]
    kinds += [kind for start, kind in _BINARY_KINDS if head.startswith(start)]
    if head[_TAR_MAGIC_OFFSET:].startswith(_TAR_MAGIC):
        kinds.append('is a tar archive; unpack it')
    return kinds[0] if kinds else ''


def _describe_archive(path: Path, head: bytes) -> str:
    """What a zip archive holds: files of PyTorch are such archives, too, with a list of their content at the end."""
    if not head.startswith(_ZIP_SIGNATURE):
        return ''
    if not zipfile.is_zipfile(path):
        return 'is damaged: its end is missing; fetch or write it again'
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith('/')]
    last_parts = {name.rpartition('/')[2] for name in names}
    if 'constants.pkl' in last_parts:
        return 'is a TorchScript program, not weights; take the checkpoint that it was made from'
    if 'data.pkl' in last_parts:
        return ''
    if names and all(name.endswith('.npy') for name in names):
        return 'is an archive of NumPy; convert it with the program that wrote it'
    return f'is a zip archive of {len(names)} files (first: {", ".join(names[:3])}); unpack it and name the file in it'


def _describe_other_ending(path: Path, head: bytes) -> str:
    """Whether it is a file of safetensors or of PyTorch with the other's ending."""
    if path.suffix == '.safetensors':
        return (
            'is a file of PyTorch; rename it to end in .pth' if head.startswith((_ZIP_SIGNATURE, b'\x80\x02')) else ''
        )
    return 'is a safetensors file; rename it to end in .safetensors' if _is_safetensors_head(head) else ''


def _is_safetensors_head(head: bytes) -> bool:
    """Whether bytes begin as the format says: the length of a JSON text in 8 bytes, then the text."""
    return len(head) > 9 and 2 <= int.from_bytes(head[:8], 'little') < 1 << 32 and head[8:10] in (b'{"', b'{}', b'{ ')
