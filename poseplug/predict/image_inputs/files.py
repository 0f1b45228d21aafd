"""Images as files: paths, folders, patterns, videos, addresses and the bytes of files."""

from __future__ import annotations

__all__ = ['EncodedImage', 'FilePattern', 'ImageAddress', 'ImageFile', 'ImageFolder', 'VideoFile']

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poseplug.core.errors import CheckpointError, ImageError
from poseplug.files.fetch import fetch_pinned_url
from poseplug.files.images import IMAGE_SUFFIXES, read_image, read_image_bytes
from poseplug.predict.image_inputs.base import ImageForm, NamedImage
from poseplug.registry import IMAGE_INPUTS


@IMAGE_INPUTS.register_module()
class ImageAddress(ImageForm):
    """`URL#sha256=DIGITS` of an image file, which is downloaded once and verified."""

    def matches(self, value: Any) -> bool:
        return isinstance(value, str) and '://' in value

    def read(self, value: str, name: str) -> NamedImage:
        if '#sha256=' not in value:
            raise ImageError(
                f'{value}: an image is read from an address only if its SHA-256 is known; give URL#sha256=DIGITS, or '
                f'download the file and name it'
            )
        try:
            path = fetch_pinned_url(value)
        except CheckpointError as error:  # as downloads of weights call it
            raise ImageError(str(error)) from None
        return NamedImage(path, read_image(path))


@IMAGE_INPUTS.register_module()
class ImageFolder(ImageForm):
    """A folder: the image files in it, sorted; hidden files and the folders below are ignored."""

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
        yield from images


@IMAGE_INPUTS.register_module()
class FilePattern(ImageForm):
    """A pattern such as 'photos/**/*.jpg': the files that it fits, sorted."""

    is_single = False

    def matches(self, value: Any) -> bool:
        return isinstance(value, str) and glob.has_magic(value) and not os.path.lexists(value)

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

        return isinstance(value, (str, Path)) and is_video(Path(value))

    def expand(self, value: str | Path) -> Iterator[NamedImage]:
        from poseplug.files.video_reader import VideoReader

        path = Path(value)
        for frame in VideoReader(path):
            yield NamedImage(path, frame.image, frame.seconds)


@IMAGE_INPUTS.register_module()
class ImageFile(ImageForm):
    """The path of an image file."""

    def matches(self, value: Any) -> bool:
        return isinstance(value, (str, Path))

    def read(self, value: str | Path, name: str) -> NamedImage:
        return NamedImage(Path(value), read_image(Path(value)))


@IMAGE_INPUTS.register_module()
class EncodedImage(ImageForm):
    """The bytes of an image file."""

    def matches(self, value: Any) -> bool:
        return isinstance(value, (bytes, bytearray, memoryview))

    def read(self, value: bytes | bytearray | memoryview, name: str) -> NamedImage:
        return NamedImage(Path(name), read_image_bytes(bytes(value), name))
