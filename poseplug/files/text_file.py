"""Reads text files as editors of all systems write them."""

from __future__ import annotations

__all__ = ['read_text_file']

import codecs
from pathlib import Path

from poseplug.core.errors import AnnotationError

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text_file(file: Path) -> str:
    """Read a text in UTF-8, or in UTF-16 with the mark of its byte order, as Windows' editors write it.

    Args:
        file: the file.

    Returns:
        The text without a byte order mark.

    Raises:
        AnnotationError: the file cannot be read, or is in another encoding.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / 'a.txt'
        >>> _ = file.write_text('0 0.5', encoding='utf-8-sig')
        >>> read_text_file(file)
        '0 0.5'
    """
    try:
        content = file.read_bytes()
        return content.decode('utf-16' if content.startswith(_UTF16_MARKS) else 'utf-8-sig')
    except OSError as error:
        cause = error.strerror or error
        raise AnnotationError(f'{file}: {cause}; restore the file') from error
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f'{file} is no text in UTF-8 ({error.reason} at byte {error.start}); save it so'
        ) from error
