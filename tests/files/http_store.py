"""A server of files on loopback that delays, cuts, fails, redirects, or ignores requests of a part, as a path says."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Answers to /MODE/NAME; every second answer of 'cut' and 'busy' is whole."""

    protocol_version = 'HTTP/1.1'
    folder: Path
    counts: Counter[str]

    def do_HEAD(self) -> None:
        self.answer_request()

    def do_GET(self) -> None:
        self.answer_request()

    def answer_request(self) -> None:
        mode, _, name = self.path.lstrip('/').partition('/')
        self.counts[mode] += 1
        is_bad = self.counts[mode] % 2 == 1
        file = self.folder / name
        if mode == 'redirect':
            self.send_answer(302, b'', Location=f'/plain/{name}')
        elif mode == 'forbidden':
            self.send_answer(403, b'')
        elif mode == 'down' or (mode == 'busy' and is_bad):
            self.send_answer(503, b'')
        elif mode == 'nohead' and self.command == 'HEAD':
            self.send_answer(405, b'')
        elif not file.is_file():
            self.send_answer(404, b'')
        else:
            time.sleep(0.05 * (mode == 'slow'))
            self.send_file(file.read_bytes(), mode, is_bad)

    def send_file(self, data: bytes, mode: str, is_bad: bool) -> None:
        part = self.headers.get('Range')
        if part and mode == 'ranges':
            first, _, last = part.removeprefix('bytes=').partition('-')
            end = min(int(last or len(data)) + 1, len(data))
            headers = {'Content-Range': f'bytes {first}-{end - 1}/{len(data)}', 'Accept-Ranges': 'bytes'}
            self.send_answer(206, data[int(first) : end], **headers)
        elif mode == 'cut' and is_bad and len(data) > 1:
            self.send_answer(200, data, num_sent=len(data) // 2)
        else:
            # 'liar' states that it answers requests of a part
            headers = {'Accept-Ranges': 'bytes'} if mode in ('ranges', 'liar') else {}
            self.send_answer(200, data, **headers)

    def send_answer(self, status: int, data: bytes, num_sent: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {'Content-Length': str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(data[:num_sent])
        if num_sent is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def serve_folder(folder: Path) -> Iterator[tuple[str, Counter[str]]]:
    """Serve a folder within the context; the value is the address and the number of requests by mode."""
    counts: Counter[str] = Counter()
    handler = type('FolderHandler', (Handler,), {'folder': folder, 'counts': counts})
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}', counts
        server.shutdown()
