"""A server on loopback whose stream ends, stalls and comes back; it sends JPEG images one after the other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

BOUNDARY = b'--frame\r\n'
SIZE = (96, 64)


def draw_gray_frame(value: int) -> np.ndarray:
    """An image of one gray value, which decoding keeps."""
    return np.full((SIZE[1], SIZE[0], 3), value, np.uint8)


class StreamServer:
    """Serves the next script of (gray values, what comes then) to each connection; then it refuses.

    What comes then is 'end', which closes the connection, or 'stall', which leaves it open without data.
    """

    def __init__(self, scripts: Sequence[tuple[Sequence[int], str]], frame_delay_s: float = 0.02):
        self.scripts, self.frame_delay_s = list(scripts), frame_delay_s
        self.is_over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.send_script(self)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        self.address = f'http://user:secret@127.0.0.1:{self.server.server_port}/live'

    def send_script(self, handler: BaseHTTPRequestHandler) -> None:
        if not self.scripts:
            handler.send_error(503)
            return
        values, ending = self.scripts.pop(0)
        handler.send_response(200)
        handler.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=frame')
        handler.end_headers()
        try:
            for value in values:
                data = cv2.imencode('.jpg', draw_gray_frame(value))[1].tobytes()
                head = b'Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n' % len(data)
                handler.wfile.write(BOUNDARY + head + data + b'\r\n')
                self.is_over.wait(self.frame_delay_s)
            if ending == 'stall':
                self.is_over.wait(10)
        except OSError:  # the reader is gone
            pass

    def __enter__(self) -> StreamServer:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *failure) -> None:
        self.is_over.set()
        self.server.shutdown()
        self.server.server_close()
