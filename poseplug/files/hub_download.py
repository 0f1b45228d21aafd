"""Files of the Hugging Face Hub, `hf://OWNER/REPOSITORY[@REVISION]/FILE`, by the package huggingface_hub (extra `hf`).

The package brings what a plain download lacks: logins for private and gated repositories, mirrors (HF_ENDPOINT), and
the files that other programs have fetched already.
"""

from __future__ import annotations

__all__ = ['download_hub_file', 'is_hub_address', 'parse_hub_address']

import os
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from poseplug.core.errors import CheckpointError, UnsafeFileError
from poseplug.files.download_address import HUB_SCHEME, MAX_DOWNLOAD_BYTES, check_download_url

# Names as the hub allows them; a file's folders must not lead out of the folder that it is downloaded to.
_NAME = r'[A-Za-z0-9_][A-Za-z0-9._-]*'
_HUB_PATTERN = re.compile(
    rf'{HUB_SCHEME}://(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>[^/@#?]+))?/(?P<file>{_NAME}(?:/{_NAME})*)'
)


class HubFile(NamedTuple):
    """A file of the Hugging Face Hub.

    Attributes:
        repository: OWNER/REPOSITORY.
        revision: a branch, a tag or a commit; None for the newest of the main branch.
        file: its path in the repository.
    """

    repository: str
    revision: str | None
    file: str


def is_hub_address(url: str) -> bool:
    """Whether an address is one of the Hugging Face Hub, by its scheme."""
    return url.startswith(f'{HUB_SCHEME}://')


def parse_hub_address(url: str) -> HubFile:
    """Parse the address of a file of the Hugging Face Hub.

    Args:
        url: `hf://OWNER/REPOSITORY[@REVISION]/FILE`, as huggingface_hub writes it.

    Raises:
        UnsafeFileError: it has another form.

    Example:
        >>> parse_hub_address('hf://owner/vitpose@v1/weights/model.safetensors')
        HubFile(repository='owner/vitpose', revision='v1', file='weights/model.safetensors')
    """
    match = _HUB_PATTERN.fullmatch(url)
    if match is None:
        raise UnsafeFileError(
            f'{url} is no address of a file of the Hugging Face Hub; give hf://OWNER/REPOSITORY/FILE, with a branch, '
            f'tag or commit as hf://OWNER/REPOSITORY@REVISION/FILE'
        )
    return HubFile(match['repository'], match['revision'], match['file'])


def download_hub_file(url: str, path: Path) -> None:
    """Download a file of the Hugging Face Hub; it is not verified here.

    What came before a cut stays in a folder beside the file, and the next call goes on from there.

    Args:
        url: as for `parse_hub_address`.
        path: where the file is written.

    Raises:
        CheckpointError: huggingface_hub is not installed, or there is no such file, no access or no network.
        UnsafeFileError: the address has another form, or HF_ENDPOINT is not https.
        OSError: the folder cannot be written.
    """
    address = parse_hub_address(url)
    try:
        hub: Any = import_module('huggingface_hub')
    except ImportError:
        raise CheckpointError(
            f"{url} needs the package huggingface_hub, which is not installed; pip install 'poseplug[hf]'"
        ) from None
    settings = dict(repo_id=address.repository, filename=address.file, revision=address.revision)
    endpoint_url = hub.hf_hub_url(**settings)
    check_download_url(endpoint_url, f'{url} is at {endpoint_url}')
    part_folder = path.with_name(f'{path.name}.hub')
    # Here, where the error says that the folder cannot be written; below, all errors are of the download.
    part_folder.mkdir(parents=True, exist_ok=True)
    if not sys.stderr.isatty():
        hub.utils.disable_progress_bars()
    try:
        num_bytes = hub.get_hf_file_metadata(endpoint_url).size
        if num_bytes is not None and num_bytes > MAX_DOWNLOAD_BYTES:
            raise ValueError(f'it is larger than {MAX_DOWNLOAD_BYTES >> 30} GiB')
        downloaded = hub.hf_hub_download(**settings, local_dir=part_folder)
    # Which library speaks HTTP, and so what it raises, depends on the version of the package.
    except Exception as error:
        raise CheckpointError(_describe_failure(url, error)) from error
    os.replace(downloaded, path)
    shutil.rmtree(part_folder, ignore_errors=True)


def _describe_failure(url: str, error: Exception) -> str:
    """What went wrong, by the status of the answer if there was one."""
    status = getattr(getattr(error, 'response', None), 'status_code', None)
    if status in (401, 403):
        return (
            f'{url}: {status}; there is no such repository, or it is private or gated: accept the terms on its page, '
            f'and log in by hf auth login or set HF_TOKEN'
        )
    if status is not None:
        return f'{url}: {status}; is the address right?'
    reason = str(error).partition('\n')[0] or type(error).__name__
    return f'{url} cannot be fetched ({reason})'
