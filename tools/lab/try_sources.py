"""Predict every kind of source and print what came back: a table of docs/lab/prediction.md.

python tools/lab/try_sources.py IMAGE
Servers run on this machine alone; a camera, a screen or a package that is missing is reported with its message.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from PIL import Image

from poseplug.core.errors import PoseplugError
from poseplug.predict.image_input import ImageArray, is_endless
from poseplug.predict.predictor import Predictor

NUM_FRAMES = 3


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder, and `/live` as a stream of JPEG images, without a log."""

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path != '/live':
            super().do_GET()
            return
        self.send_response(200)
        self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=frame')
        self.end_headers()
        data = Path(self.directory, 'photo.jpg').read_bytes()
        for _ in range(NUM_FRAMES):
            self.wfile.write(b'--frame\r\nContent-Type: image/jpeg\r\n\r\n' + data + b'\r\n')


def write_files(image: Path, folder: Path) -> np.ndarray:
    """Write an image in several formats, and clips of it; returns its pixels (H, W, 3), BGR."""
    pixels = cv2.resize(cv2.imread(str(image)), (160, 120))
    for name in ('photo.jpg', 'photo.png', 'photo.webp', 'photo.bmp', 'photo.tif', 'folder/a.jpg', 'folder/b.jpg'):
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), pixels)
    frames = [Image.fromarray(np.ascontiguousarray(np.roll(pixels, 9 * n, 1)[..., ::-1])) for n in range(NUM_FRAMES)]
    frames[0].save(folder / 'photo.avif')
    for name in ('clip.gif', 'clip.webp'):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=100)
    with av.open(str(folder / 'clip.mp4'), 'w') as container:
        stream: Any = container.add_stream('libx264', rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, 'yuv420p'
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return pixels


def list_sources(folder: Path, address: str, pixels: np.ndarray) -> dict[str, Any]:
    """Every kind of source that Python code gives, by name."""
    photo, rgb = folder / 'photo.jpg', np.ascontiguousarray(pixels[..., ::-1])
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    gray = pixels.mean(axis=2)
    return {
        **{f'path, {suffix}': folder / f'photo.{suffix}' for suffix in ('jpg', 'png', 'webp', 'bmp', 'tif', 'avif')},
        'text of a path': str(photo),
        'folder': folder / 'folder',
        'pattern': str(folder / '**/*.jpg'),
        'list of a path, a folder and an array': [photo, folder / 'folder', pixels],
        'bytes': photo.read_bytes(),
        'open file': io.BytesIO(photo.read_bytes()),
        'image of Pillow': Image.fromarray(rgb),
        'array, uint8, BGR': pixels,
        'array, float, undeclared': pixels / 255,
        'array, RGBA, undeclared': np.dstack([rgb, rgb[..., 0]]),
        'ImageArray, gray, uint8': ImageArray(gray.astype(np.uint8), 'gray'),
        'ImageArray, RGB, uint16': ImageArray(rgb.astype(np.uint16) * 257, 'rgb'),
        'ImageArray, RGBA': ImageArray(np.dstack([rgb, rgb[..., 0]]), 'rgba'),
        'ImageArray, RGB, float': ImageArray(rgb / 255, 'rgb', max_value=1.0),
        'ImageArray of a tensor, (3, H, W)': ImageArray(torch.from_numpy(rgb).permute(2, 0, 1), 'rgb', layout='chw'),
        'ImageArray of two images': ImageArray(np.stack([rgb, rgb]), 'rgb'),
        'tensor, undeclared': torch.from_numpy(rgb),
        'video': folder / 'clip.mp4',
        'animated GIF': folder / 'clip.gif',
        'animated WebP': folder / 'clip.webp',
        'http address of an image': f'{address}/photo.jpg',
        'the same with its SHA-256': f'{address}/photo.jpg#sha256={digest}',
        'the same with a wrong one': f'{address}/photo.jpg#sha256={"0" * 64}',
        'http address of a video': f'{address}/clip.mp4',
        'file address': photo.as_uri(),
        'stream of JPEG images by http': f'{address}/live',
        'camera': 0,
        'rtsp address, nobody answers': 'rtsp://127.0.0.1:9/live',
        'ftp address': 'ftp://127.0.0.1/photo.jpg',
        'file that is missing': folder / 'missing.jpg',
        'pattern without files': str(folder / '*.xyz'),
        'number': 1.5,
    }


def describe_outcome(predict: Callable[[], Iterator[Any]]) -> str:
    """What came back: the number of results and their sizes, or the message of the error."""
    try:
        results = list(islice(predict(), NUM_FRAMES + 2))
    except PoseplugError as error:
        return f'{type(error).__name__}: {str(error).splitlines()[0]}'
    sizes = sorted({f'{width}x{height}' for width, height in (result.image_size for result in results)})
    times = [result.seconds for result in results if result.seconds is not None]
    frames = f', times {", ".join(f"{time:.2f}" for time in times)} s' if times else ''
    return f'{len(results)} of {", ".join(sizes)} px{frames}'


def try_command(folder: Path, command_input: str, standard_input: bytes) -> str:
    """The first line that the command prints for its standard input, or its error."""
    command = [sys.executable, '-m', 'poseplug', 'predict', command_input, '--out', str(folder / 'out'), '--no-flip']
    run = subprocess.run([*command, '--device', 'cpu'], input=standard_input, capture_output=True, check=False)
    return run.stderr.decode().splitlines()[-1] if run.returncode else run.stdout.decode().splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('image', type=Path, help='an image file')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    predictor = Predictor(device='cpu', flip_test=False)
    print('| source | what came back |\n|---|---|')
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels = write_files(args.image, folder)
        server = ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(QuietHandler, directory=name))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        for kind, source in list_sources(folder, address, pixels).items():
            outcome = describe_outcome(functools.partial(predictor.stream, source))
            outcome = outcome.replace(name, '...').replace(f':{server.server_port}', '')
            print(f'| {kind}{" (endless)" if is_endless(source) else ""} | {outcome} |', flush=True)
        photo, video = (folder / 'photo.jpg').read_bytes(), (folder / 'clip.mp4').read_bytes()
        inputs = {'an image': photo, 'a video': video, 'a list of paths': str(folder / 'photo.png').encode()}
        for kind, content in inputs.items():
            outcome = try_command(folder, '-', content).replace(name, '...')
            print(f'| standard input, {kind} (command) | {outcome} |', flush=True)
        print(f'| screen (command) | {try_command(folder, "screen://1", b"")} |')


if __name__ == '__main__':
    main()
