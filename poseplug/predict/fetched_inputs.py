"""Inputs of poseplug predict that are no files: addresses, standard input, cameras and network streams."""

from __future__ import annotations

__all__ = ['FetchedInputs', 'fetch_inputs']

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from poseplug.core.errors import ConfigError, ImageError
from poseplug.files.live_sources import LIVE_SCHEMES, describe_address
from poseplug.files.media_address import fetch_media
from poseplug.predict.standard_input import read_standard_input

_STANDARD_INPUT = '-'


@dataclass
class FetchedInputs:
    """The inputs of a command line as files on this machine.

    Attributes:
        inputs: files, folders and patterns.
        titles: what results call the files that were fetched.
        stream: index of the camera or address of the network stream, if the input is one.
    """

    inputs: list[str] = field(default_factory=list)
    titles: dict[Path, str] = field(default_factory=dict)
    stream: int | str | None = None


def fetch_inputs(inputs: Sequence[str], folder: Path) -> FetchedInputs:
    """Load inputs that are elsewhere into a folder.

    Args:
        inputs: files, folders, patterns, addresses, '-' for standard input, or the index of a camera.
        folder: where images and videos are written to, each in a folder of its own.

    Raises:
        ConfigError: there are a stream and other inputs, or an address of an unknown kind.
        ImageError: an address cannot be fetched, or standard input has nothing.
    """
    fetched = FetchedInputs()
    _add_inputs(fetched, inputs, folder)
    if fetched.stream is not None and (fetched.inputs or len(inputs) > 1):
        raise ConfigError(f'{fetched.stream} is a stream, which is predicted by itself; leave the other inputs out')
    return fetched


def _add_inputs(fetched: FetchedInputs, inputs: Iterable[str], folder: Path) -> None:
    for text in inputs:
        # one folder for each, since files of two addresses may have the same name
        target = folder / str(len(fetched.titles))
        if text == _STANDARD_INPUT:
            content = read_standard_input(target)
            if isinstance(content, Path):
                _add_file(fetched, content, text)
            else:
                # '-' in the list would read the same standard input again
                lines = [line for line in content if line != _STANDARD_INPUT]
                if not lines:
                    raise ImageError("standard input lists nothing but '-', which is itself; send paths, one a line")
                _add_inputs(fetched, lines, folder)
        # as in a call of the predictor: a file of that name comes first
        elif text.isdecimal() and not os.path.lexists(text):
            fetched.stream = int(text)
        elif '://' in text:
            _add_address(fetched, text, target)
        else:
            fetched.inputs.append(text)


def _add_address(fetched: FetchedInputs, address: str, target: Path) -> None:
    scheme = urlsplit(address).scheme.lower()
    if scheme == 'file':
        fetched.inputs.append(url2pathname(urlsplit(address).path))
    elif scheme in LIVE_SCHEMES:
        fetched.stream = address
    elif scheme in ('http', 'https'):
        file = fetch_media(address, target)
        if file is None:
            fetched.stream = address
        else:
            # without the password, since the title is in result files
            _add_file(fetched, file, describe_address(address))
    else:
        schemes = ', '.join(('http', 'https', 'file', *LIVE_SCHEMES))
        raise ConfigError(f'{address} is an address that has no reader; give one of {schemes}')


def _add_file(fetched: FetchedInputs, file: Path, title: str) -> None:
    fetched.inputs.append(str(file))
    fetched.titles[file] = title
