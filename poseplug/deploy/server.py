"""A web page for trying a model: an image goes to a server on this machine, instances and heatmaps come back.

    GET /            the page (a query is ignored by the server and read by the page)
    GET /model       JSON: the model, its skeleton with colors, and the names of the samples (`_describe_model`)
    GET /samples/N   PNG: sample N, from 0
    POST /predict    the bytes of an image file as the body; JSON (`build_response`)

A refused request gets the JSON body {"error": MESSAGE}. Nothing that is sent is stored.
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

from poseplug.core.errors import ConfigError, ImageError
from poseplug.core.poses import Poses
from poseplug.data.synthetic import render_coco_scene, render_lsp_scene
from poseplug.files.images import read_image_bytes
from poseplug.files.jsonable import to_json_values
from poseplug.predict.predictor import Predictor
from poseplug.predict.result_records import build_result_header
from poseplug.report.draw import EDGE_COLOR
from poseplug.report.drawing_style import SIDE_COLORS, Color, keypoint_sides, limb_side
from poseplug.report.heatmaps import draw_heatmap_strips

_LOGGER = logging.getLogger('poseplug')

LOCAL_HOSTS = ('127.0.0.1', 'localhost')  # addresses that only this machine can reach
_DEFAULT_PORT = 8000
_MAX_UPLOAD_BYTES = 32 << 20
_CONNECTION_TIMEOUT_S = 30  # a connection is closed after so long without a byte
_DRAIN_TIMEOUT_S = 1  # a refused client counts as finished after so long without a byte
_MAX_SIDE_PX = 1600  # longer side of the image that the page shows
_JPEG_QUALITY = 92
_SAMPLE_SEED = 5
SAMPLE_INDICES = (0, 3, 8, 13, 5, 9)  # images of the embedded data set; the last one is hard
_NONCE_PLACEHOLDER = '{{nonce}}'  # stands in the page where its script and its style are allowed
HEATMAPS_NOTE = 'One row per stage; all keypoints together, then one column per keypoint.'
_JSON_TYPE, _PNG_TYPE, _HTML_TYPE = 'application/json', 'image/png', 'text/html; charset=utf-8'
# The page needs nothing but its own script and style, and may connect to this server alone.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_RESPONSE_HEADERS = {
    'Cache-Control': 'no-store',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}


class _RequestError(Exception):
    """A request that is refused, with its HTTP status."""

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


# --- the content of responses -----------------------------------------------------------------------------------------


def _describe_model(predictor: Predictor) -> dict[str, Any]:
    """The model and its skeleton: the side of each keypoint, `limbs` as two indices and a side, colors by side."""
    skeleton = predictor.skeleton
    sides = keypoint_sides(skeleton)
    limbs = [[int(a), int(b), limb_side(sides[a], sides[b])] for a, b in skeleton.limb_indices]
    colors = {side: _color_to_hex(color) for side, color in {**SIDE_COLORS, 'edge': EDGE_COLOR}.items()}
    return build_result_header(predictor) | {
        'finds_instances': predictor.finds_instances,
        'sides': sides,
        'limbs': limbs,
        'colors': colors,
    }


def build_response(predictor: Predictor, image_bytes: bytes) -> dict[str, Any]:
    """Predict an image file and build the JSON content of the response.

    The image is turned upright as its EXIF orientation says, and so are the keypoints.

    Args:
        predictor: of the image.
        image_bytes: the image file.

    Returns:
        The content of `results.json` for this image, and `image_url` (the upright image, its longer side at most 1600
        px), `heatmaps_url` (the heatmaps of the first instance, or None) and `note` (what they show, or why there are
        none).

    Raises:
        ImageError: the bytes are no complete image.
    """
    image = read_image_bytes(image_bytes, 'the image')
    (poses,) = predictor([image])
    heatmaps_url, note = _render_heatmaps(predictor, image, poses)
    result = {'width': image.shape[1], 'height': image.shape[0], 'instances': poses.to_dicts()}
    image_url = encode_jpeg_url(shrink_image(image))
    header = build_result_header(predictor)
    return header | {'images': [result], 'image_url': image_url, 'heatmaps_url': heatmaps_url, 'note': note}


def _render_heatmaps(predictor: Predictor, image: np.ndarray, poses: Poses) -> tuple[str | None, str]:
    """The heatmaps of the first instance as a data URL and what they show, or None and why there are none."""
    box, prefix = None, ''
    if predictor.detector is not None:
        if poses.boxes is None or not len(poses):
            return None, 'The detector finds no instance, so there are no heatmaps.'
        box, prefix = poses.boxes[0], 'Instance 1. '
    try:
        heatmap_stages = predictor.predict_heatmaps(image, box, 'xyxy')
        return encode_jpeg_url(draw_heatmap_strips(heatmap_stages)), f'{prefix}{HEATMAPS_NOTE}'
    except ConfigError as error:
        return None, str(error)


def draw_sample_images(multi_person: bool) -> list[tuple[str, bytes]]:
    """Draw the sample images, from the embedded data sets.

    Args:
        multi_person: draw images of several people.

    Returns:
        For each image what it shows, and its bytes as PNG.
    """
    samples = []
    for index in SAMPLE_INDICES:
        if multi_person:
            scene, _ = render_coco_scene(_SAMPLE_SEED, 1, index)
        else:
            scene, _ = render_lsp_scene(_SAMPLE_SEED, index)
        poses = dict.fromkeys(person.pose_family.replace('_', ' ') for person in scene.persons)
        samples.append((', '.join(poses), cv2.imencode('.png', scene.image)[1].tobytes()))
    return samples


def shrink_image(image: np.ndarray) -> np.ndarray:
    """Shrink an image (H, W, 3) whose longer side exceeds 1600 px to that; return any other unchanged."""
    scale = _MAX_SIDE_PX / max(image.shape[:2])
    if scale >= 1:
        return image
    width, height = (max(1, round(scale * length)) for length in image.shape[1::-1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def encode_jpeg_url(image: np.ndarray) -> str:
    """Encode an image (H, W, 3; BGR) as a data URL of a JPEG file."""
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'


def _color_to_hex(color: Color) -> str:
    """A BGR color in CSS notation."""
    return '#{2:02x}{1:02x}{0:02x}'.format(*color)


def _encode_json(content: Mapping[str, Any]) -> bytes:
    """JSON for browsers: values that are not finite become null."""
    return json.dumps(to_json_values(content)).encode()


# --- the server -------------------------------------------------------------------------------------------------------


class PredictionServer(ThreadingHTTPServer):
    """Serves one predictor, the page and the samples.

    On an address of this machine alone a request must name such an address in its Host header, so that no other site
    can point its own name here (DNS rebinding).

    Args:
        predictor: predicts one image at a time, behind a lock.
        page: HTML file of the page.
        host: address to listen on.
        port: 0 lets the system choose one; see `server_port`.
        max_bytes: larger image files are refused.

    Raises:
        ConfigError: the page cannot be read, or the address is not available.
    """

    def __init__(
        self,
        predictor: Predictor,
        page: Path,
        host: str = LOCAL_HOSTS[0],
        port: int = _DEFAULT_PORT,
        max_bytes: int = _MAX_UPLOAD_BYTES,
    ):
        self.predictor, self.max_bytes, self.is_local = predictor, max_bytes, host in LOCAL_HOSTS
        self.predict_lock = Lock()  # one image is decoded and predicted at a time
        try:
            self.page = page.read_text(encoding='utf-8')
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f'{page}: {reason}; the page belongs there') from error
        self.sample_images = draw_sample_images(predictor.finds_instances)
        sample_names = [name for name, _ in self.sample_images]
        server_facts = {'samples': sample_names, 'max_bytes': max_bytes, 'host': host, 'local': self.is_local}
        self.model_json = _encode_json(_describe_model(predictor) | server_facts)
        try:
            super().__init__((host, port), _RequestHandler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f'{host}, port {port}: {error}; name another --port or --host') from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a broken connection at debug level: a client that leaves is no error."""
        _LOGGER.debug('%s: the connection broke', client_address, exc_info=True)


class _RequestHandler(BaseHTTPRequestHandler):
    """Handles one request."""

    server: PredictionServer
    server_version, sys_version = 'poseplug', ''
    timeout = _CONNECTION_TIMEOUT_S

    def do_GET(self) -> None:
        self._send_reply(self._respond_to_get)

    def do_POST(self) -> None:
        self._send_reply(self._respond_to_post)

    def _send_reply(self, build_reply: Callable[[], tuple[str, bytes]]) -> None:
        """Send what `build_reply` returns, a content type and a body, or the reason of a refusal."""
        self.nonce = secrets.token_urlsafe(16)
        try:
            self._check_sender()
            self._send_body(HTTPStatus.OK, *build_reply())
        except _RequestError as error:
            self._send_body(error.status, _JSON_TYPE, _encode_json({'error': str(error)}))
            self._drain_request()

    def _check_sender(self) -> None:
        """Refuse requests from other sites' pages, and those under a name that was pointed here from outside."""
        host, origin = self.headers.get('Host', ''), self.headers.get('Origin')
        if self.server.is_local and parse_host_name(host) not in LOCAL_HOSTS:
            names = ' or '.join(LOCAL_HOSTS)
            raise _RequestError(HTTPStatus.FORBIDDEN, f'this server answers to {names} and to no other name')
        if origin is not None and origin.partition('://')[2] != host:
            raise _RequestError(HTTPStatus.FORBIDDEN, 'this server answers to its own page alone')

    def _respond_to_get(self) -> tuple[str, bytes]:
        path = urlsplit(self.path).path
        if path == '/':
            return _HTML_TYPE, self.server.page.replace(_NONCE_PLACEHOLDER, self.nonce).encode()
        if path == '/model':
            return _JSON_TYPE, self.server.model_json
        for n, (_, image_bytes) in enumerate(self.server.sample_images):
            if path == f'/samples/{n}':
                return _PNG_TYPE, image_bytes
        raise _RequestError(HTTPStatus.NOT_FOUND, 'there is nothing here; the page is at /')

    def _respond_to_post(self) -> tuple[str, bytes]:
        if urlsplit(self.path).path != '/predict':
            raise _RequestError(HTTPStatus.NOT_FOUND, 'there is nothing here; images go to /predict')
        data = self._read_body()
        try:
            with self.server.predict_lock:
                return _JSON_TYPE, _encode_json(build_response(self.server.predictor, data))
        except ImageError as error:
            raise _RequestError(HTTPStatus.BAD_REQUEST, str(error)) from None
        except Exception as error:  # whatever it is, the next image must be served
            show_trace = bool(os.environ.get('POSEPLUG_TRACE'))
            _LOGGER.error(
                'an image of %d bytes failed: %s: %s', len(data), type(error).__name__, error, exc_info=show_trace
            )
            message = 'the model failed on this image; the terminal of the server shows the reason'
            raise _RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, message) from None

    def _read_body(self) -> bytes:
        """Read the body, as many bytes as the request announces."""
        length = self.headers.get('Content-Length')
        if length is None:
            raise _RequestError(HTTPStatus.LENGTH_REQUIRED, 'the request does not say how many bytes it sends')
        if not re.fullmatch('[0-9]{1,15}', length):
            raise _RequestError(HTTPStatus.BAD_REQUEST, 'Content-Length is not a number of bytes')
        num_bytes, max_bytes = int(length), self.server.max_bytes
        if num_bytes > max_bytes:
            message = f'{num_bytes:,} bytes exceed the limit of {max_bytes:,}; make the image smaller'
            raise _RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        data = self.rfile.read(num_bytes)
        if len(data) < num_bytes:
            message = f'{len(data):,} of {num_bytes:,} bytes arrived; send the image again'
            raise _RequestError(HTTPStatus.BAD_REQUEST, message)
        return data

    def _send_body(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        headers = {
            'Content-Type': content_type,
            'Content-Length': str(len(body)),
            **_RESPONSE_HEADERS,
            'Content-Security-Policy': _CONTENT_SECURITY_POLICY.format(nonce=self.nonce),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drain_request(self) -> None:
        """Read what a refused client still sends: closing the connection at once would lose the answer, too."""
        bytes_left = 4 * self.server.max_bytes
        with suppress(OSError):
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


def serve_predictor(predictor: Predictor, page: Path, host: str = LOCAL_HOSTS[0], port: int = _DEFAULT_PORT) -> None:
    """Serve the page until Ctrl-C; on an address that other machines can reach with a warning.

    Args:
        predictor: of the images.
        page: HTML file of the page.
        host: address to listen on.
        port: 0 lets the system choose one.

    Raises:
        ConfigError: the page cannot be read, or the address is not available.
    """
    with PredictionServer(predictor, page, host, port) as server:
        if not server.is_local:
            _LOGGER.warning('--host %s: anyone who reaches this machine can use the page, without encryption', host)
        print(f'{predictor.name} at http://{host}:{server.server_port}/ (Ctrl-C ends it)', flush=True)
        server.serve_forever()
