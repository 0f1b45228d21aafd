"""A published file of a small model, and a server on this machine that gives it out under its published name."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import torch


def save_as_mmpose(model: Any, keypoints: Sequence[str] | None = None) -> bytes:
    """The file of a heatmap model as MMPose publishes it: its names, and beside the weights those of the keypoints."""
    heads = ('head.predict.heatmap.', 'head.final_layer.')
    state = {key.replace(*heads): value for key, value in model.state_dict().items()}
    names = dict(enumerate(keypoints or model.skeleton.keypoints))
    meta = {'dataset_meta': {'dataset_name': 'coco', 'keypoint_id2name': names, 'sigmas': np.ones(len(names))}}
    file = io.BytesIO()
    torch.save({'state_dict': state, 'meta': meta}, file)
    return file.getvalue()


@dataclass
class ServedFiles:
    """What a server gives out, and what it was asked.

    Attributes:
        contents: by path.
        max_bytes: after so many bytes of an answer the connection ends; None for no limit.
        sends_parts: whether it sends parts of files.
        headers: of every answer, beside its own.
        requests: path and Range of every request for content.
        address: of the server.
    """

    contents: dict[str, bytes] = field(default_factory=dict)
    max_bytes: int | None = None
    sends_parts: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    address: str = ''

    def get_url(self, path: str) -> str:
        return f'{self.address}/{path}'


@contextmanager
def serve_files(files: ServedFiles) -> Iterator[ServedFiles]:
    """Run a server within the context."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_content('')

        def do_GET(self) -> None:
            wanted_range = self.headers.get('Range', '')
            files.requests.append((self.path.lstrip('/'), wanted_range))
            content = self.send_content(wanted_range)
            self.wfile.write(content if files.max_bytes is None else content[: files.max_bytes])

        def send_content(self, wanted_range: str) -> bytes:
            """Send the headers of an answer; returns what follows them."""
            path = self.path.lstrip('/')
            if path not in files.contents:
                self.send_error(404)
                return b''
            content = files.contents[path]
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            start = 0
            if wanted_range and files.sends_parts and self.headers.get('If-Range') in (None, tag):
                start = int(wanted_range.removeprefix('bytes=').removesuffix('-'))
                self.send_response(206)
                self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
            else:
                self.send_response(200)
            self.send_header('ETag', tag)
            self.send_header('Content-Length', str(len(content) - start))
            for name, value in files.headers.items():
                self.send_header(name, value)
            self.end_headers()
            return content[start:]

        def log_message(self, *_: Any) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True)
    thread.start()
    files.address = f'http://127.0.0.1:{server.server_port}'
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
