"""Published models by name: their configs, and their weights, fetched, verified and converted once."""

from __future__ import annotations

__all__ = [
    'PublishedModelFiles',
    'build_published_model',
    'find_weights',
    'get_published_files',
    'get_published_weights',
    'load_published_config',
]

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from torch import nn

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.config.matching import follow_released_code, match_weights
from poseplug.core.errors import CheckpointError
from poseplug.core.version import __version__
from poseplug.files.fetch import compute_file_sha256
from poseplug.files.weights import load_weights
from poseplug.zoo.index import PublishedModel, find_published_model, is_model_name
from poseplug.zoo.installed_models import find_installed_weights
from poseplug.zoo.weight_cache import WeightCache


class PublishedModelFiles(NamedTuple):
    """The config and the weights of a published model.

    Attributes:
        cfg: its config.
        weights: the file of its converted weights.
        entry: its entry in the index.
    """

    cfg: Config
    weights: Path
    entry: PublishedModel


def load_published_config(name: str, options: Mapping[str, Any] | None = None) -> Config:
    """Load the config of a published model; nothing is fetched.

    Its crops, read-out and scores are those of the code that the model was published with.

    Args:
        name: of the model, an alias or a preset.
        options: settings that replace those of the model, by dotted keys.

    Raises:
        ConfigError: there is no such model, or a setting is wrong.

    Example:
        >>> codec = load_published_config('hrnet-w48-384x288').model.codec
        >>> codec.input_size, codec.match
        ((288, 384), 'mmpose')
    """
    entry = find_published_model(name)
    cfg = load_config(entry.config, {**entry.overrides, **(options or {})})
    # Before anything is fetched, so that a config alone is that of the later prediction.
    if entry.converter != 'poseplug' and 'model.codec.match' not in (options or {}):
        follow_released_code(cfg, entry.converter)
    return cfg


def get_published_files(name: str, options: Mapping[str, Any] | None = None) -> PublishedModelFiles:
    """Return the config and the weights of a published model; what is not on this machine is fetched.

    Args:
        name: of the model, an alias or a preset.
        options: settings that replace those of the model, by dotted keys.

    Raises:
        ConfigError: there is no such model, or a setting is wrong.
        CheckpointError: the weights cannot be fetched; the message says where to put them.
        UnsafeFileError: they are not the published file.
    """
    cfg = load_published_config(name, options)
    return PublishedModelFiles(cfg, get_published_weights(name), find_published_model(name))


def get_published_weights(name: str, cache_folder: Path | None = None) -> Path:
    """Return the weights of a published model, by the names that poseplug's model has.

    Args:
        name: of the model, an alias or a preset.
        cache_folder: where files are kept; by default as for `WeightCache`.

    Returns:
        A .safetensors file, verified.

    Raises:
        ConfigError, CheckpointError, UnsafeFileError: as for `get_published_files`.
    """
    entry, weight_cache = find_published_model(name), WeightCache(cache_folder)
    if entry.converter == 'poseplug':
        return weight_cache.fetch_published_file(entry)
    source_name = weight_cache.get_file_path(entry).name
    # By version: another version may convert otherwise.
    converted = weight_cache.folder / f'{entry.name}-{__version__}.safetensors'
    pinned = weight_cache.read_record(source_name)
    record = weight_cache.read_record(converted.name)
    # A conversion is reused only if it is of the pinned file and has not changed since.
    if pinned and record and record.get('source_sha256') == pinned['sha256'] and converted.is_file():
        is_intact = compute_file_sha256(converted) == record['sha256']
        if is_intact:
            return converted
    source = weight_cache.fetch_published_file(entry)
    source_sha256 = weight_cache.read_digest(source)
    try:
        with weight_cache.lock_folder(converted.name):
            sha256 = _convert_published_file(entry, source, converted)
    except OSError:  # the folder cannot be written
        converted = Path(_create_session_folder()) / converted.name
        _convert_published_file(entry, source, converted)
        return converted
    weight_cache.write_record(converted.name, dict(sha256=sha256, source_sha256=source_sha256))
    return converted


def build_published_model(name: str) -> nn.Module:
    """Build a published model with its weights, which are fetched if they are not on this machine.

    Args:
        name: of the model, an alias or a preset.

    Raises:
        ConfigError, CheckpointError, UnsafeFileError: as for `get_published_files`.
    """
    files = get_published_files(name)
    model = build_model(match_weights(files.cfg, files.weights))
    load_weights(model, files.weights)
    return model


def find_weights(source: str | Path) -> str | Path:
    """Return a file of weights, which may be named by the model that has them.

    Args:
        source: a file, a work dir or an address, which is returned as it is; or the name of an installed model, or of
            a published one, of which `get_published_weights` returns the weights. A file of that name counts more.

    Raises:
        CheckpointError: the weights of an installed model are damaged, or published ones cannot be fetched.
    """
    # A folder that happens to have the name of a model is what the user typed.
    if Path(source).exists():
        return source
    if is_model_name(source):
        return get_published_weights(str(source))
    return find_installed_weights(str(source)) or source


def _convert_published_file(entry: PublishedModel, source: Path, out: Path) -> str:
    """Convert a verified file; returns the SHA-256 of the new one."""
    from poseplug.zoo.mmpose import convert_checkpoint

    cfg = load_published_config(entry.name)
    try:
        # Trusted, since it is the published file: objects beside the weights are skipped without being run.
        return convert_checkpoint(source, cfg, out, trust=True, names_are_known=True).sha256
    except CheckpointError as error:
        raise CheckpointError(
            f'{error}. The index says that {source.name} is {entry.name}; if it was put there by hand, fetch it again'
        ) from error


@cache
def _create_session_folder() -> str:
    """A folder for converted weights where the cache cannot be written; it is deleted when the process ends."""
    import atexit
    import shutil

    folder = tempfile.mkdtemp(prefix='poseplug-')
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
