"""A page in the browser: a picture goes to a server on this machine, and its people and belief maps come back.

    GET /            the page (any query is the page's own)
    GET /model       JSON: the model, its skeleton as it is drawn, the names of the samples (`about`)
    GET /samples/N   PNG: sample N, from 0
    POST /predict    the bytes of a picture file as the body; JSON (`answer`)

A request that is refused has a JSON body {"error": MESSAGE}. Nothing that is sent is kept.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from poseplug.datasets.images import image_of
from poseplug.datasets.synthetic import coco_scene, lsp_scene
from poseplug.engine.results import plain
from poseplug.errors import ConfigError, ImageError
from poseplug.inference.predictor import Predictor
from poseplug.inference.records import heading, people_of
from poseplug.poses import Poses
from poseplug.visualization.draw import EDGE, SIDES, Color, joint_sides, limb_side
from poseplug.visualization.fields import stage_strips

log = logging.getLogger('poseplug')

LOCAL = ('127.0.0.1', 'localhost')  # by these names nobody but this machine is asked
PORT = 8000
MOST_BYTES = 32 << 20  # of a picture file
PATIENCE = 30  # s without a byte after which a connection is closed
LINGER = 1  # s without a byte after which a refused client has sent what it had to
LONGEST = 1600  # px of the longer side, at most, of the picture that is shown
SEED, SAMPLES = 5, (0, 3, 8, 13, 5, 9)  # pictures of the embedded set; the last one is hard
NONCE = '{{nonce}}'  # stands in the page where its script and its style are let in
MAPS = 'A row a stage; all joints together, then a column a joint.'
JSON, PNG, HTML = 'application/json', 'image/png', 'text/html; charset=utf-8'
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    'Cache-Control': 'no-store',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}


class Refused(Exception):
    """A request that is not answered, and why."""

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


# --- what is told -----------------------------------------------------------------------------------------------------


def about(predictor: Predictor) -> dict[str, Any]:
    """The model and its skeleton: sides of the joints, `limbs` as two places and a side, colours by side."""
    skeleton = predictor.skeleton
    sides = joint_sides(skeleton)
    return heading(predictor) | {
        'finds_people': predictor.finds_people,
        'sides': sides,
        'limbs': [[int(a), int(b), limb_side(sides[a], sides[b])] for a, b in skeleton.limb_indices],
        'colors': {side: web_color(color) for side, color in {**SIDES, 'edge': EDGE}.items()},
    }


def answer(predictor: Predictor, data: bytes) -> dict[str, Any]:
    """The people of a picture file, as a file of results tells them, and two pictures to look at.

    The picture is turned upright, and so are the joints. `picture` is what the joints lie on, at most `LONGEST` px;
    `fields` are the belief maps of the first person, or None; `note` says what they show, or why there are none.
    """
    image = image_of(data, 'the picture', upright=True)
    (people,) = predictor([image])
    fields, note = beliefs(predictor, image, people)
    record = {'width': image.shape[1], 'height': image.shape[0], 'people': people_of(people)}
    shown = {'picture': jpeg_url(shrunk(image)), 'fields': fields, 'note': note}
    return heading(predictor) | {'images': [record]} | shown


def beliefs(predictor: Predictor, image: np.ndarray, people: Poses) -> tuple[str | None, str]:
    """The belief maps of the first person as the URL of a picture and what they show, or why there are none."""
    box, whose = None, ''
    if predictor.detector is not None:
        if people.boxes is None or not len(people):
            return None, 'The detector finds nobody, and so there are no belief maps.'
        box, whose = people.boxes[0], 'Person 1. '
    try:
        return jpeg_url(stage_strips(predictor.fields(image, box, 'corners'))), f'{whose}{MAPS}'
    except ConfigError as error:
        return None, str(error)


def samples(several: bool) -> list[tuple[str, bytes]]:
    """Drawn pictures of the embedded set, of one person or of `several`: what they show, and their bytes as PNG."""
    found = []
    for n in SAMPLES:
        scene = coco_scene(SEED, 1, n)[0] if several else lsp_scene(SEED, n)[0]
        poses = dict.fromkeys(p.family.replace('_', ' ') for p in scene.people)
        found.append((', '.join(poses), cv2.imencode('.png', scene.image)[1].tobytes()))
    return found


def shrunk(image: np.ndarray) -> np.ndarray:
    """A picture whose longer side is at most `LONGEST` px."""
    factor = LONGEST / max(image.shape[:2])
    if factor >= 1:
        return image
    width, height = (max(1, round(factor * n)) for n in image.shape[1::-1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def jpeg_url(image: np.ndarray) -> str:
    """A picture (H, W, 3) as a URL that holds it."""
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    return f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'


def web_color(color: Color) -> str:
    """A BGR colour as pages write it."""
    return '#{2:02x}{1:02x}{0:02x}'.format(*color)


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """JSON that any browser reads: what is not finite is null."""
    return json.dumps(plain(content)).encode()


# --- who is served ----------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """One predictor behind a lock, the page and the samples; on port 0 the system chooses (`server_port`).

    On a name of this machine alone a request must ask for such a name, so that no other site's name can be led here.

    Raises:
        ConfigError: the page cannot be read, or the address cannot be had.
    """

    def __init__(
        self, predictor: Predictor, page: Path, host: str = LOCAL[0], port: int = PORT, most_bytes: int = MOST_BYTES
    ):
        self.predictor, self.most_bytes, self.local = predictor, most_bytes, host in LOCAL
        self.busy = Lock()  # one picture is decoded and predicted at a time
        try:
            self.page = page.read_text(encoding='utf-8')
        except OSError as error:
            raise ConfigError(f'{page}: {error.strerror or error}; the page belongs there') from error
        self.samples = samples(predictor.finds_people)
        names = [name for name, _ in self.samples]
        self.about = json_bytes(
            about(predictor) | {'samples': names, 'most_bytes': most_bytes, 'host': host, 'local': self.local}
        )
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f'{host}, port {port}: {error}; name another --port or --host') from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is no event."""
        log.debug('%s: the connection broke', client_address, exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    server_version, sys_version = 'poseplug', ''
    timeout = PATIENCE

    def do_GET(self) -> None:
        self._reply(self._shown)

    def do_POST(self) -> None:
        self._reply(self._predicted)

    def _reply(self, make: Callable[[], tuple[str, bytes]]) -> None:
        """Send what `make` returns, a type and a body, or why it is refused."""
        self.nonce = secrets.token_urlsafe(16)
        try:
            self._check_sender()
            self._send(HTTPStatus.OK, *make())
        except Refused as error:
            self._send(error.status, JSON, json_bytes({'error': str(error)}))
            self._linger()

    def _check_sender(self) -> None:
        """Refuse what another site's page, or a name that leads here from outside, asks for."""
        host, origin = self.headers.get('Host', ''), self.headers.get('Origin')
        if self.server.local and name_of(host) not in LOCAL:
            raise Refused(HTTPStatus.FORBIDDEN, f'this server is asked as {" or ".join(LOCAL)}, and by no other name')
        if origin is not None and origin.partition('://')[2] != host:
            raise Refused(HTTPStatus.FORBIDDEN, 'only its own page may ask this server')

    def _shown(self) -> tuple[str, bytes]:
        path = urlsplit(self.path).path
        if path == '/':
            return HTML, self.server.page.replace(NONCE, self.nonce).encode()
        if path == '/model':
            return JSON, self.server.about
        for n, (_, picture) in enumerate(self.server.samples):
            if path == f'/samples/{n}':
                return PNG, picture
        raise Refused(HTTPStatus.NOT_FOUND, 'there is nothing here; the page is at /')

    def _predicted(self) -> tuple[str, bytes]:
        if urlsplit(self.path).path != '/predict':
            raise Refused(HTTPStatus.NOT_FOUND, 'there is nothing here; pictures go to /predict')
        data = self._body()
        try:
            with self.server.busy:
                return JSON, json_bytes(answer(self.server.predictor, data))
        except ImageError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
        except Exception as error:  # whatever it is, the next picture is served
            trace = bool(os.environ.get('POSEPLUG_TRACE'))
            log.error('a picture of %d bytes failed: %s: %s', len(data), type(error).__name__, error, exc_info=trace)
            message = 'the model failed on this picture; the server tells why where it was started'
            raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, message) from None

    def _body(self) -> bytes:
        """The bytes that were sent, as many as were announced."""
        given = self.headers.get('Content-Length')
        if given is None:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, 'the request does not say how many bytes it sends')
        if not re.fullmatch('[0-9]{1,15}', given):
            raise Refused(HTTPStatus.BAD_REQUEST, 'Content-Length is not a number of bytes')
        size, most = int(given), self.server.most_bytes
        if size > most:
            message = f'{size:,} bytes are more than the {most:,} that are taken; make the picture smaller'
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        data = self.rfile.read(size)
        if len(data) < size:
            raise Refused(HTTPStatus.BAD_REQUEST, f'{len(data):,} of {size:,} bytes arrived; send the picture again')
        return data

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        policy = {'Content-Security-Policy': POLICY.format(nonce=self.nonce)}
        for name, value in {'Content-Type': kind, 'Content-Length': str(len(body)), **HEADERS, **policy}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _linger(self) -> None:
        """Take in what a refused client still sends: a connection closed on it would lose the answer, too."""
        left = 4 * self.server.most_bytes
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER)
            while left > 0 and (piece := self.connection.recv(1 << 16)):
                left -= len(piece)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug('%s: %r', self.client_address[0], format % args)


def name_of(host: str) -> str:
    """The name in a Host header, without its port; '' for what is none."""
    try:
        return urlsplit(f'//{host}').hostname or ''
    except ValueError:
        return ''


def serve(predictor: Predictor, page: Path, host: str = LOCAL[0], port: int = PORT) -> None:
    """Serve the page until Ctrl-C; on any other host than this machine alone with a warning."""
    with Server(predictor, page, host, port) as server:
        if not server.local:
            log.warning('--host %s: whoever reaches this machine can use the page, without encryption', host)
        print(f'{predictor.name} at http://{host}:{server.server_port}/ (Ctrl-C ends it)', flush=True)
        server.serve_forever()
