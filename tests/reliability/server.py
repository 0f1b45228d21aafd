"""A server of this machine whose answers are right, wrong, cut or elsewhere."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MOVED = {'/http': 'http://example.invalid/good', '/file': 'file:///etc/passwd', '/round': '/round', '/moved': '/good'}
asked: list[str] = []  # every path that was asked for


class Answers(BaseHTTPRequestHandler):
    """What a path is answered with: /good* the content, /cut half of it, /broken no HTTP, others as MOVED or 404."""

    def do_GET(self) -> None:
        asked.append(self.path)
        if self.path == '/broken':
            self.wfile.write(b'nothing that one could read\r\n')
        elif self.path in MOVED:
            self.answer(302, b'', Location=MOVED[self.path])
        elif self.path.startswith('/good'):
            self.answer(200, CONTENT)
        elif self.path == '/cut':
            self.answer(200, CONTENT[: len(CONTENT) // 2], stated=len(CONTENT))
        else:
            self.answer(404, b'<html>404 Not Found</html>')

    def answer(self, code: int, content: bytes, stated: int | None = None, **headers: str) -> None:
        self.send_response(code)
        for name, value in {'Content-Length': str(len(content) if stated is None else stated), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server that runs meanwhile."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}'
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
