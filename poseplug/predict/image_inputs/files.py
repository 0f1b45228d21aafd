"""Images as files: paths, folders, patterns, videos and the bytes of files."""

from __future__ import annotations

__all__ = ['EncodedImage', 'FilePattern', 'ImageFile', 'ImageFolder', 'OpenFile', 'TextFile', 'VideoFile']

import glob
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poseplug.core.errors import ImageError
from poseplug.files.images import IMAGE_SUFFIXES, read_image, read_image_bytes
from poseplug.files.video_reader import VIDEO_SUFFIXES
from poseplug.predict.image_inputs.base import ImageForm, NamedImage
from poseplug.registry import IMAGE_INPUTS

_MAX_PATH_LENGTH = 4096  # PATH_MAX of Linux
_NUM_SHOWN = 40  # characters of a longer text in its message


@IMAGE_INPUTS.register_module()
class ImageFolder(ImageForm):
    """A folder: the image files in it, sorted; hidden files and the folders below are ignored, videos reported."""

    is_single = False

    def matches(self, value: Any) -> bool:
        return isinstance(value, (str, Path)) and os.path.isdir(value)

    def expand(self, value: str | Path) -> Iterator[Path]:
        try:
            names = sorted(os.listdir(value))
        except OSError as error:
            reason = error.strerror or error
            raise ImageError(f'{value}: {reason}; make the folder readable, or leave it out') from None
        files = [Path(value, name) for name in names if not name.startswith('.')]
        images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            raise ImageError(f'{value} holds no image ({", ".join(IMAGE_SUFFIXES)})')
        # not read as `poseplug predict` does: phones store a clip beside each photograph
        num_videos = sum(file.suffix.lower() in VIDEO_SUFFIXES for file in files)
        if num_videos:
            logging.getLogger('poseplug').warning(
                '%s also holds videos (%d), which are not read with its images; give their paths', value, num_videos
            )
        yield from images


@IMAGE_INPUTS.register_module()
class FilePattern(ImageForm):
    """A pattern such as 'photos/**/*.jpg': the files that it fits, sorted."""

    is_single = False

    def matches(self, value: Any) -> bool:
        # a file whose name has brackets or stars is that file and no pattern
        return isinstance(value, str) and glob.has_magic(value) and '://' not in value and not os.path.lexists(value)

    def expand(self, value: str) -> Iterator[Path]:
        paths = sorted(glob.glob(value, recursive=True))
        if not paths:
            raise ImageError(f'{value}: no file fits this pattern')
        yield from map(Path, paths)


@IMAGE_INPUTS.register_module()
class VideoFile(ImageForm):
    """A video file: its frames, with their times, read as they are predicted."""

    is_single = False

    def matches(self, value: Any) -> bool:
        from poseplug.predict.video import is_video  # which imports this package

        return isinstance(value, (str, Path)) and '://' not in str(value) and is_video(Path(value))

    def expand(self, value: str | Path) -> Iterator[NamedImage]:
        from poseplug.files.animations import open_clip

        path = Path(value)
        for frame in open_clip(path):
            yield NamedImage(path, frame.image, frame.seconds)


@IMAGE_INPUTS.register_module()
class ImageFile(ImageForm):
    """The path of an image file."""

    def matches(self, value: Any) -> bool:
        return isinstance(value, (str, Path))

    def read(self, value: str | Path, name: str) -> NamedImage:
        if isinstance(value, str) and not value.strip():
            raise ImageError(f'{name} is an empty text; give the path of a file')
        if isinstance(value, str) and len(value) > _MAX_PATH_LENGTH:  # the content of a file, perhaps in base64
            start = value[:_NUM_SHOWN]
            raise ImageError(
                f'{name} is a text of {len(value):,} characters, {start!r}..., which no path is; give the content of a '
                f'file as bytes'
            )
        return NamedImage(Path(value), read_image(Path(value)))


@IMAGE_INPUTS.register_module()
class EncodedImage(ImageForm):
    """The bytes of an image file."""

    def matches(self, value: Any) -> bool:
        return isinstance(value, (bytes, bytearray, memoryview))

    def read(self, value: bytes | bytearray | memoryview, name: str) -> NamedImage:
        return NamedImage(Path(name), read_image_bytes(bytes(value), name))


@IMAGE_INPUTS.register_module()
class OpenFile(ImageForm):
    """An image file that is open for reading bytes, such as `io.BytesIO`; it is read from where it stands."""

    keeps_pixels = True

    def matches(self, value: Any) -> bool:
        return isinstance(value, io.BufferedIOBase | io.RawIOBase)

    def read(self, value: Any, name: str) -> NamedImage:
        path = getattr(value, 'name', '')
        try:
            data = value.read()
        except (OSError, ValueError) as error:  # closed, or open for writing
            raise ImageError(f'{name} is an open file that cannot be read: {error}; open it with mode "rb"') from error
        return NamedImage(Path(path if isinstance(path, str) and path else name), read_image_bytes(data, name))


@IMAGE_INPUTS.register_module()
class TextFile(ImageForm):
    """A file that is open for reading text, whose bytes are gone: refused."""

    def matches(self, value: Any) -> bool:
        return isinstance(value, io.TextIOBase)

    def read(self, value: Any, name: str) -> NamedImage:
        raise ImageError(f'{name} is a file that is open as text; open it with mode "rb", or give its path')
