"""Addresses that files are downloaded from: which ones are accepted, and what their files are called here."""

from __future__ import annotations

__all__ = ['HUB_SCHEME', 'MAX_DOWNLOAD_BYTES', 'check_download_url', 'open_download', 'url_to_file_name']

import re
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from poseplug.core.errors import UnsafeFileError

HUB_SCHEME = 'hf'
MAX_DOWNLOAD_BYTES = 20 << 30  # so that an endless answer does not fill the disk
_LOCAL_HOSTS = ('127.0.0.1', '::1', 'localhost')  # plain http is accepted from this machine alone
_TIMEOUT_S = 30  # without a byte


class _CheckedRedirectHandler(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to URLs that `check_download_url` accepts."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        try:
            check_download_url(newurl, f'{req.full_url} leads to {newurl}')
        except UnsafeFileError:
            # urllib closes the answer only where it follows the redirect.
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_download_url(url: str, description: str) -> None:
    """Check that an address is https, or http on this machine.

    Args:
        url: the address.
        description: begins the message.

    Raises:
        UnsafeFileError: it is another one.
    """
    parts = urlsplit(url)
    is_local = parts.scheme == 'http' and parts.hostname in _LOCAL_HOSTS
    if parts.scheme != 'https' and not is_local:
        raise UnsafeFileError(f'{description}, which is not https; give an https address')


def url_to_file_name(url: str) -> str:
    """Turn the last part of a URL into a safe file name of at most 100 characters.

    Of an address of the Hugging Face Hub all parts count: many repositories there have a `model.safetensors`.

    Example:
        >>> url_to_file_name('https://example.org/models/hrnet%20w32.pth?download=1')
        'hrnet_w32.pth'
        >>> url_to_file_name('hf://owner/vitpose@main/model.safetensors')
        'owner--vitpose_main--model.safetensors'
    """
    scheme, _, hub_path = url.partition('://')
    if scheme == HUB_SCHEME:
        last_part = hub_path.replace('/', '--')
    else:
        last_part = unquote(urlsplit(url).path).rpartition('/')[2]
    safe_name = re.sub(r'[^A-Za-z0-9._-]', '_', last_part)
    # Neither hidden nor '..': the name must stay in its folder.
    return safe_name.lstrip('.')[-100:] or 'file'


def open_download(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """Open an address for reading; redirects are followed only to addresses that `check_download_url` accepts.

    Args:
        url: the address.
        headers: of the request, by name.

    Returns:
        The response, to be closed by the caller.
    """
    request = urllib.request.Request(url, headers=dict(headers or {}))
    return urllib.request.build_opener(_CheckedRedirectHandler).open(request, timeout=_TIMEOUT_S)
