"""A static page that runs an exported model in the browser: what `poseplug export --web` writes."""

from __future__ import annotations

__all__ = ['check_browser_folder', 'check_browser_model', 'find_runtime_files', 'write_browser_page']

import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from poseplug.config.build import build_model
from poseplug.core.errors import ConfigError
from poseplug.deploy.export import find_export_kind
from poseplug.deploy.exported_model import ExportedModel
from poseplug.deploy.page_files import describe_drawing, read_page_file
from poseplug.files.atomic import write_atomically
from poseplug.predict.model_loading import ModelSource, resolve_model

RUNTIME_PACKAGE = 'onnxruntime-web'
_RUNTIME_FILES = ('ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm')
_PAGE_FILES = ('page.css', 'browser.js', 'controls.js', 'drawing.js', 'model_runner.js', 'model_worker.js')
_KINDS = ('top_down', 'one_stage')
_NPM_TIMEOUT_S = 600


def check_browser_folder(folder: Path) -> None:
    """Check that a page may be written to a folder.

    Args:
        folder: of the page.

    Raises:
        ConfigError: it has other files than those of an earlier page, or is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f'--web {folder} is a file; name a folder')
    # a file that only these pages have: an earlier page may be replaced
    is_page = (folder / 'model_worker.js').is_file()
    if folder.is_dir() and any(folder.iterdir()) and not is_page:
        raise ConfigError(f'--web {folder} has other files, which are not overwritten; name an empty or new folder')


def check_browser_model(model: ModelSource | None, weights: str | Path | None) -> None:
    """Check that a model can run in the page, before it is exported.

    Args:
        model: as for `export_checked`.
        weights: as for `export_checked`.

    Raises:
        ConfigError: its instances are grouped outside of the exported file, which the page does not do.
    """
    cfg, _, name = resolve_model(model, weights)
    kind = find_export_kind(build_model(cfg))
    if kind not in _KINDS:
        raise ConfigError(
            f'{name} predicts fields that are grouped outside of the exported file, which the page does not do; '
            f'--web takes top-down and one-stage models'
        )


def find_runtime_files(package: Path | None, report: Callable[[str], None] = print) -> dict[str, bytes]:
    """Find the files of onnxruntime-web that the page needs.

    Args:
        package: its folder, one that it is installed below (node_modules or its parent), or its .tgz file; None to
            fetch it by npm.
        report: receives a line before something is fetched.

    Returns:
        The bytes of each file by name, with `licenses.txt`.

    Raises:
        ConfigError: the package is not there, lacks a file, or npm is not installed or fails.

    Example:
        >>> find_runtime_files(Path('node_modules'))  # doctest: +SKIP
    """
    with ExitStack() as stack:
        if package is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='poseplug-')))
            package = _fetch_package(folder, report)
        if package.is_file():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='poseplug-')))
            package = _unpack_package(package, folder)
        return _read_package(package)


def _fetch_package(folder: Path, report: Callable[[str], None]) -> Path:
    """The package as a file, fetched by npm."""
    hint = f'or name a folder or file of the npm package {RUNTIME_PACKAGE} by --web-runtime'
    npm = shutil.which('npm')
    if npm is None:
        raise ConfigError(f'the page runs the model by {RUNTIME_PACKAGE}; install npm, which fetches it, {hint}')
    report(f'fetching {RUNTIME_PACKAGE} by npm')
    # `pack` fetches the archive alone; `install` would run scripts of the package
    command = [npm, 'pack', '--silent', RUNTIME_PACKAGE]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_NPM_TIMEOUT_S)
        (file,) = folder.glob('*.tgz')
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        lines = (getattr(error, 'stderr', '') or str(error)).strip().splitlines()
        reason = '; '.join(lines[-2:])
        raise ConfigError(f'npm pack {RUNTIME_PACKAGE} failed ({reason}); try again, {hint}') from None
    return file


def _unpack_package(file: Path, folder: Path) -> Path:
    """The folder of the package in a .tgz file, of which the files of the page are unpacked."""
    names = {f'package/dist/{name}' for name in _RUNTIME_FILES} | {'package/package.json'}
    try:
        with tarfile.open(file) as archive:
            # the files of the page by name, so that nothing else of an archive is written
            members = [member for member in archive if member.name in names and member.isfile()]
            archive.extractall(folder, members, filter='data')
    except (OSError, tarfile.TarError) as error:
        raise ConfigError(f'{file} is no file of the npm package {RUNTIME_PACKAGE}: {error}') from None
    return folder / 'package'


def _read_package(package: Path) -> dict[str, bytes]:
    """The files of the page in a folder of the package, or one that it is installed below."""
    candidates = [package, package / RUNTIME_PACKAGE, package / 'node_modules' / RUNTIME_PACKAGE]
    folder = next((each for each in candidates if (each / 'dist').is_dir()), None)
    if folder is None:
        raise ConfigError(f'{package}: there is no npm package {RUNTIME_PACKAGE}; npm install {RUNTIME_PACKAGE}')
    try:
        files = {name: (folder / 'dist' / name).read_bytes() for name in _RUNTIME_FILES}
        description = json.loads((folder / 'package.json').read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f'{folder} is no complete {RUNTIME_PACKAGE} of version 1.20 or later ({error}); install it again'
        ) from None
    return {**files, 'licenses.txt': _describe_license(description).encode()}


def _describe_license(description: dict[str, Any]) -> str:
    """What package.json says about the license, with the text of the license that it names today."""
    author = description.get('author', '')
    name = (author.get('name') if isinstance(author, dict) else author) or 'Microsoft Corporation'
    license_name, version = description.get('license', 'unknown'), description.get('version', '')
    text = f'{RUNTIME_PACKAGE} {version}, in the folder {RUNTIME_PACKAGE}\nLicense: {license_name}\n'
    text += f'Copyright (c) {name}\n'
    if license_name != 'MIT':
        return text
    license_text = read_page_file('mit_license.txt')
    return f'{text}\n{license_text}'


def write_browser_page(onnx_file: Path, folder: Path, runtime_files: dict[str, bytes]) -> Path:
    """Write the page of an exported model.

    Args:
        onnx_file: written by `poseplug export`, of a top-down or one-stage model.
        folder: of the page; it is created. Files of an earlier page are replaced.
        runtime_files: as `find_runtime_files` returns them.

    Returns:
        The page, `index.html`.

    Raises:
        ConfigError: the model's instances are grouped outside of the file, or a file cannot be written.
        CheckpointError: the file was not written by `poseplug export`.
    """
    # opening the file runs no image, but refuses one that ONNX Runtime cannot run
    exported = ExportedModel(onnx_file)
    settings = exported.settings
    kind, known = settings['kind'], ', '.join(_KINDS)
    if kind not in _KINDS:
        raise ConfigError(f'{onnx_file} is of another kind ({kind}) than the page runs: {known}')
    drawing = describe_drawing(exported.skeleton)
    description = {**settings, 'skeleton': exported.skeleton.name, 'centric': exported.skeleton.centric, **drawing}
    description['accepts_boxes'] = settings['kind'] == 'top_down' and bool((settings.get('crop') or {}).get('box'))
    files: dict[str, bytes] = {name: read_page_file(name).encode() for name in _PAGE_FILES}
    files |= {f'{RUNTIME_PACKAGE}/{name}': data for name, data in runtime_files.items() if name != 'licenses.txt'}
    files |= {'model.onnx': onnx_file.read_bytes(), 'model.json': json.dumps(description, indent=1).encode()}
    files |= {'licenses.txt': runtime_files['licenses.txt'], 'index.html': read_page_file('browser.html').encode()}
    try:
        for name, data in files.items():
            # `index.html` comes last, so that a page that can be opened is complete
            write_atomically(folder / name, data)
    except OSError as error:
        file = error.filename or folder
        raise ConfigError(f'{file}: {error.strerror}; name another folder for --web') from None
    return folder / 'index.html'
