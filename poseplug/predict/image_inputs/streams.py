"""Images that come from elsewhere: addresses, cameras, network streams, standard input and opened videos."""

from __future__ import annotations

__all__ = ['CameraIndex', 'ImageAddress', 'LiveAddress', 'MediaAddress', 'OpenClip', 'StandardInput']

import numbers
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from poseplug.core.errors import ImageError
from poseplug.files.animations import ANIMATION_SUFFIXES, AnimationReader
from poseplug.files.images import IMAGE_SUFFIXES, read_image
from poseplug.files.live_sources import LIVE_SCHEMES
from poseplug.files.live_stream import LiveStream
from poseplug.files.video_decoding import VideoFrame
from poseplug.files.video_reader import VideoReader
from poseplug.predict.image_inputs.base import ImageForm, NamedImage
from poseplug.registry import IMAGE_INPUTS


@IMAGE_INPUTS.register_module()
class ImageAddress(ImageForm):
    """The http or https address of an image file; with `#sha256=DIGITS` it is verified and loaded once."""

    keeps_pixels = True

    def matches(self, value: Any) -> bool:
        # GIF and WebP may be animations, which are several images
        return _is_web_address(value) and _get_suffix(value) in {*IMAGE_SUFFIXES} - {*ANIMATION_SUFFIXES}

    def read(self, value: str, name: str) -> NamedImage:
        with tempfile.TemporaryDirectory(prefix='poseplug-') as folder:
            path = _fetch_media(value, Path(folder))
            if path is None:
                raise ImageError(f'{value} sends a live stream, no image; predict it by Predictor.stream')
            # a verified file stays in the cache and has a path; any other is gone with the folder
            return NamedImage(Path(path.name) if path.is_relative_to(folder) else path, read_image(path))


@IMAGE_INPUTS.register_module()
class MediaAddress(ImageForm):
    """Any other http, https or file address: an image, a video, or a live stream."""

    is_single = False

    def matches(self, value: Any) -> bool:
        is_address = isinstance(value, str) and '://' in value
        return is_address and not ImageAddress().matches(value) and not LiveAddress().matches(value)

    def expand(self, value: str) -> Iterator[Any]:
        scheme = urlsplit(value).scheme
        if scheme == 'file':
            from urllib.request import url2pathname

            yield Path(url2pathname(urlsplit(value).path))
            return
        if not _is_web_address(value):
            schemes = ', '.join(('http', 'https', 'file', *LIVE_SCHEMES))
            raise ImageError(f'{value}: there is no reader for {scheme}; give an address of {schemes}')
        with tempfile.TemporaryDirectory(prefix='poseplug-') as folder:
            path = _fetch_media(value, Path(folder))
            if path is None:
                yield from _name_frames(LiveStream(value))
            else:
                yield from _read_file(path)


@IMAGE_INPUTS.register_module()
class LiveAddress(ImageForm):
    """The address of a stream, as in 'rtsp://host/path': its newest frame whenever one is read."""

    is_single = False
    is_endless = True

    def matches(self, value: Any) -> bool:
        return isinstance(value, str) and value.partition('://')[0].lower() in LIVE_SCHEMES and '://' in value

    def expand(self, value: str) -> Iterator[NamedImage]:
        yield from _name_frames(LiveStream(value))


@IMAGE_INPUTS.register_module()
class CameraIndex(ImageForm):
    """The index of a camera, a whole number or its digits: its newest frame whenever one is read."""

    is_single = False
    is_endless = True

    def matches(self, value: Any) -> bool:
        if isinstance(value, str):
            # a file that is called `0` is meant where there is one
            return value.isdecimal() and not os.path.lexists(value)
        # NumPy's integers are indices, too, and True is a mistake
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)

    def expand(self, value: Any) -> Iterator[NamedImage]:
        yield from _name_frames(LiveStream(int(value)))


@IMAGE_INPUTS.register_module()
class OpenClip(ImageForm):
    """A `VideoReader`, `AnimationReader` or `LiveStream`: its frames."""

    is_single = False

    def matches(self, value: Any) -> bool:
        return isinstance(value, VideoReader | AnimationReader | LiveStream)

    def expand(self, value: VideoReader | AnimationReader | LiveStream) -> Iterator[NamedImage]:
        yield from _name_frames(value)


@IMAGE_INPUTS.register_module()
class StandardInput(ImageForm):
    """'-': the image, the video, or the list of inputs, one a line, that standard input has."""

    is_single = False

    def matches(self, value: Any) -> bool:
        return isinstance(value, str) and value == '-'

    def expand(self, value: str) -> Iterator[Any]:
        with tempfile.TemporaryDirectory(prefix='poseplug-') as folder:
            from poseplug.predict.standard_input import read_standard_input

            content = read_standard_input(Path(folder))
            if isinstance(content, Path):
                yield from _read_file(content)
            else:
                yield from content


def _fetch_media(address: str, folder: Path) -> Path | None:
    """As `fetch_media`; the modules of downloads, which take long to import, are loaded here alone."""
    from poseplug.files.media_address import fetch_media

    return fetch_media(address, folder)


def _read_file(path: Path) -> Iterator[NamedImage]:
    """Yield the opened images of a file that is removed behind them."""
    if path.suffix.lower() in IMAGE_SUFFIXES and path.suffix.lower() not in ANIMATION_SUFFIXES:
        yield NamedImage(Path(path.name), read_image(path))
        return
    from poseplug.predict.image_inputs.files import VideoFile

    if VideoFile().matches(path):
        yield from (image._replace(path=Path(path.name)) for image in VideoFile().expand(path))
    else:
        yield NamedImage(Path(path.name), read_image(path))


def _name_frames(clip: Any) -> Iterator[NamedImage]:
    frames: Iterable[VideoFrame] = clip
    for frame in frames:
        yield NamedImage(clip.path, frame.image, frame.seconds)


def _is_web_address(value: Any) -> bool:
    return isinstance(value, str) and value.lower().startswith(('http://', 'https://'))


def _get_suffix(address: str) -> str:
    """The suffix of an address's file, in lower case."""
    return Path(unquote(urlsplit(address).path)).suffix.lower()
