"""Requests of the web page: who may send them, how many bytes they may have, and how replies and refusals are sent."""

from __future__ import annotations

__all__ = ['LOCAL_HOSTS', 'CheckedRequestHandler', 'Reply', 'RequestError', 'parse_host_name', 'reply_json']

import json
import logging
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import parse_qs, quote, urlsplit

from poseplug.core.errors import AnnotationError, ConfigError, ImageError, VideoError
from poseplug.files.jsonable import to_json_text

_LOGGER = logging.getLogger('poseplug')

LOCAL_HOSTS = ('127.0.0.1', 'localhost')  # addresses that only this machine can reach
_CONNECTION_TIMEOUT_S = 30  # a connection is closed after so long without a byte
_DRAIN_TIMEOUT_S = 1  # a refused client counts as finished after so long without a byte
_CHUNK_BYTES = 1 << 20
_JSON_TYPE = 'application/json'
# The page needs nothing but its own scripts and styles, and may connect to this server alone.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_RESPONSE_HEADERS = {
    'Cache-Control': 'no-store',
    'Content-Security-Policy': _CONTENT_SECURITY_POLICY,
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Permissions-Policy': 'camera=(self), microphone=(), geolocation=()',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}
# Errors of what was sent, whose messages the page shows
_SENDER_ERRORS = (AnnotationError, ConfigError, ImageError, VideoError)


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: of the reply.
        message: for the page.
    """

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


class Reply(NamedTuple):
    """The type and the content of an answer.

    Attributes:
        content_type: such as 'text/html'.
        body: the bytes.
        file_name: of a download.
    """

    content_type: str
    body: bytes
    file_name: str = ''


def reply_json(content: Mapping[str, Any]) -> Reply:
    """Return JSON for browsers: values that are not finite become null."""
    return Reply(_JSON_TYPE, to_json_text(content).encode())


class CheckedRequestHandler(BaseHTTPRequestHandler):
    """Handles one request: checks the sender, calls the route of its path, and sends what that returns.

    A server has `is_local`, whether it listens on an address of this machine alone, and `max_bytes`.

    Attributes:
        get_routes: what replies to GET, by pattern of the path; the groups of the pattern are its arguments.
        post_routes: what replies to POST.
        query: the parameters behind the path.
    """

    get_routes: Mapping[str, Callable[..., Reply]] = {}
    post_routes: Mapping[str, Callable[..., Reply]] = {}
    query: Mapping[str, str] = {}
    server_version, sys_version = 'poseplug', ''
    timeout = _CONNECTION_TIMEOUT_S

    @property
    def settings(self) -> Any:
        """The server, with its limits."""
        return cast(Any, self.server)

    def do_GET(self) -> None:
        """Reply to GET."""
        self._send_reply(self.get_routes, 'there is nothing here; the page is at /')

    def do_POST(self) -> None:
        """Reply to POST."""
        self._send_reply(self.post_routes, 'there is nothing here; images go to /predict')

    def _send_reply(self, routes: Mapping[str, Callable[..., Reply]], missing: str) -> None:
        """Send the reply of the route whose pattern the path has, or the reason of a refusal."""
        try:
            self._check_sender()
            parts = urlsplit(self.path)
            # of a parameter that is named twice the last counts
            self.query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            matches = ((build, re.fullmatch(pattern, parts.path)) for pattern, build in routes.items())
            build_reply, match = next(((build, m) for build, m in matches if m), (None, None))
            if build_reply is None or match is None:
                raise RequestError(HTTPStatus.NOT_FOUND, missing)
            self._send_body(HTTPStatus.OK, self._build_reply(build_reply, match.groups()))
        except RequestError as error:
            self._send_body(error.status, reply_json({'error': str(error)}))
            self._drain_request()

    def _build_reply(self, build_reply: Callable[..., Reply], groups: Sequence[str]) -> Reply:
        """The reply of a route; an error of what was sent is a refusal."""
        try:
            return build_reply(self, *groups)
        except _SENDER_ERRORS as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from None
        except (RequestError, ConnectionError, TimeoutError):
            raise
        except Exception as error:  # whatever it is, the next request must be served
            has_trace = bool(os.environ.get('POSEPLUG_TRACE'))
            _LOGGER.error(
                '%s failed: %s: %s', urlsplit(self.path).path, type(error).__name__, error, exc_info=has_trace
            )
            message = 'the server failed on what was sent; its terminal shows the reason'
            raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, message) from None

    def _check_sender(self) -> None:
        """Refuse requests from other sites' pages, and those under a name that was pointed here from outside."""
        host, origin = self.headers.get('Host', ''), self.headers.get('Origin')
        if self.settings.is_local and parse_host_name(host) not in LOCAL_HOSTS:
            names = ' or '.join(LOCAL_HOSTS)
            raise RequestError(HTTPStatus.FORBIDDEN, f'this server answers to {names} and to no other name')
        # browsers send Origin with every POST of another site; requests of programs have none
        if origin is not None and origin.partition('://')[2] != host:
            raise RequestError(HTTPStatus.FORBIDDEN, 'this server answers to its own page alone')

    # --- reading ------------------------------------------------------------------------------------------------------

    def read_formats(self) -> list[str]:
        """Read the names of formats from the query."""
        return [name for name in self.query.get('formats', '').split(',') if name]

    def read_threshold(self) -> float:
        """Read the threshold of the query.

        Raises:
            RequestError: it is not from 0 to 1.
        """
        try:
            threshold = float(self.query.get('threshold', '0.05'))
        except ValueError:
            threshold = -1.0
        if not 0 <= threshold <= 1:
            raise RequestError(HTTPStatus.BAD_REQUEST, 'threshold is a number from 0 to 1')
        return threshold

    def read_json(self) -> dict[str, Any]:
        """Read the body, which is a JSON object.

        Raises:
            RequestError: it is not, or is too large or incomplete.
        """
        try:
            content = json.loads(self.read_body('results'))
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise RequestError(HTTPStatus.BAD_REQUEST, 'what was sent is no JSON object')
        return content

    def read_body(self, noun: str) -> bytes:
        """Read the body, as many bytes as the request announces.

        Args:
            noun: what it is, for messages.

        Raises:
            RequestError: it is too large or incomplete.
        """
        num_bytes = self._read_length(self.settings.max_bytes, noun)
        data = self.rfile.read(num_bytes)
        self._check_complete(len(data), num_bytes, noun)
        return data

    def receive_body(self, file: BinaryIO, max_bytes: int, noun: str) -> None:
        """Write the body to a file, chunk by chunk.

        Args:
            file: that is open for writing.
            max_bytes: more are refused.
            noun: what it is, for messages.

        Raises:
            RequestError: it is too large or incomplete.
        """
        num_bytes = self._read_length(max_bytes, noun)
        received = 0
        # in chunks, so that a video of 1 GiB is never in memory as a whole
        while received < num_bytes and (chunk := self.rfile.read(min(_CHUNK_BYTES, num_bytes - received))):
            file.write(chunk)
            received += len(chunk)
        self._check_complete(received, num_bytes, noun)

    def _read_length(self, max_bytes: int, noun: str) -> int:
        """The number of bytes that the request announces."""
        length = self.headers.get('Content-Length')
        if length is None:
            raise RequestError(HTTPStatus.LENGTH_REQUIRED, 'the request does not say how many bytes it sends')
        if not re.fullmatch('[0-9]{1,15}', length):
            raise RequestError(HTTPStatus.BAD_REQUEST, 'Content-Length is not a number of bytes')
        if int(length) > max_bytes:
            message = f'{int(length):,} bytes exceed the limit of {max_bytes:,}; make the {noun} smaller'
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        return int(length)

    def _check_complete(self, received: int, num_bytes: int, noun: str) -> None:
        if received < num_bytes:
            message = f'{received:,} of {num_bytes:,} bytes arrived; send the {noun} again'
            raise RequestError(HTTPStatus.BAD_REQUEST, message)

    # --- sending ------------------------------------------------------------------------------------------------------

    def _send_body(self, status: HTTPStatus, reply: Reply) -> None:
        self.send_response(status)
        headers = {'Content-Type': reply.content_type, 'Content-Length': str(len(reply.body)), **_RESPONSE_HEADERS}
        if reply.file_name:
            # RFC 5987: names may have any characters
            headers['Content-Disposition'] = f"attachment; filename*=UTF-8''{quote(reply.file_name)}"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def _drain_request(self) -> None:
        """Read what a refused client still sends: closing the connection at once would lose the answer, too."""
        # a sender that never ends is cut off
        bytes_left = 4 * self.settings.max_bytes
        with suppress(OSError):
            # the answer is complete; the browser may read it while the rest arrives
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_DRAIN_TIMEOUT_S)
            while bytes_left > 0 and (chunk := self.connection.recv(1 << 16)):
                bytes_left -= len(chunk)

    def log_message(self, format: str, *args: Any) -> None:
        _LOGGER.debug('%s: %r', self.client_address[0], format % args)


def parse_host_name(host_header: str) -> str:
    """Parse the name in a Host header, without its port.

    Returns:
        The name in lower case; '' for a malformed header.

    Example:
        >>> parse_host_name('LOCALHOST:8000')
        'localhost'
    """
    try:
        return urlsplit(f'//{host_header}').hostname or ''
    except ValueError:
        return ''
