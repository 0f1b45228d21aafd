"""A local server whose responses are valid, invalid, truncated or redirected."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REDIRECTS = {
    '/http': 'http://example.invalid/good',
    '/file': 'file:///etc/passwd',
    '/round': '/round',
    '/moved': '/good',
}
requested_paths: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Responds to /good* with the content, to /cut with half of it, to /broken without HTTP, else REDIRECTS or 404."""

    def do_GET(self) -> None:
        requested_paths.append(self.path)
        if self.path == '/broken':
            self.wfile.write(b'no valid response\r\n')
        elif self.path in REDIRECTS:
            self.respond(302, b'', Location=REDIRECTS[self.path])
        elif self.path.startswith('/good'):
            self.respond(200, CONTENT)
        elif self.path == '/cut':
            self.respond(200, CONTENT[: len(CONTENT) // 2], declared_length=len(CONTENT))
        else:
            self.respond(404, b'<html>404 Not Found</html>')

    def respond(self, code: int, content: bytes, declared_length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        for name, value in {
            'Content-Length': str(len(content) if declared_length is None else declared_length),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def run_server() -> Iterator[str]:
    """Run a server within the context; the value is its address."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}'
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
