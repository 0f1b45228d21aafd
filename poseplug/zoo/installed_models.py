"""The models that are installed with poseplug, as entries beside the published ones."""

from __future__ import annotations

__all__ = ['CARDS_FILE', 'find_installed_weights', 'list_installed_entries']

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poseplug.core.errors import CheckpointError
from poseplug.files.fetch import compute_file_sha256
from poseplug.zoo.index import PublishedModel, PublishedScore

_FOLDER = Path(__file__).parents[1] / 'weights'
CARDS_FILE = 'cards.toml'
_TEXTS = (
    'task', 'training_data', 'trained_by', 'code_license', 'weights_license', 'data_license', 'citation',
    'intended_use', 'limits',
)  # fmt: skip


def list_installed_entries(folder: Path = _FOLDER) -> list[PublishedModel]:
    """List the models that are installed with poseplug.

    Args:
        folder: of the weights, of the cards that `poseplug package_model` writes, and of the texts (`CARDS_FILE`).

    Returns:
        Their entries, sorted by name.

    Example:
        >>> entry = list_installed_entries()[-1]
        >>> entry.name, entry.skeleton, entry.urls, entry.sha256[:8]
        ('cpm_lsp_lite', 'lsp', (), '3cf673b4')
    """
    texts = tomllib.loads((folder / CARDS_FILE).read_text(encoding='utf-8'))
    return [_build_entry(json.loads(card.read_text(encoding='utf-8')), texts) for card in sorted(folder.glob('*.json'))]


def find_installed_weights(name: str, folder: Path = _FOLDER) -> Path | None:
    """Find the weights of a model that is installed with poseplug.

    Args:
        name: of the model.
        folder: of the weights and their cards.

    Returns:
        The file, verified; None if no model of this name is installed.

    Raises:
        CheckpointError: the file is missing, or its SHA-256 is not the card's.

    Example:
        >>> find_installed_weights('cpm_lsp_lite').name
        'cpm_lsp_lite.safetensors'
    """
    entry = next((entry for entry in list_installed_entries(folder) if entry.name == name), None)
    if entry is None:
        return None
    file = folder / f'{name}.safetensors'
    if not file.is_file() or compute_file_sha256(file) != entry.sha256:
        raise CheckpointError(
            f'{file} is missing or is not the file that {name}.json describes; install poseplug again'
        )
    return file


def _build_entry(card: Mapping[str, Any], texts: Mapping[str, Mapping[str, Any]]) -> PublishedModel:
    # A model that was packaged just now has no texts yet.
    text = texts.get(card['name'], {})
    score = PublishedScore(text.get('test_data', ''), card['metrics'], 'poseplug', text.get('score_note', ''))
    return PublishedModel(
        name=card['name'],
        aliases=(),
        config=text.get('config', card['name']),
        overrides={},
        urls=(),
        skeleton=card['skeleton']['name'],
        input_size=tuple(card['model']['codec']['input_size']),
        parameters=card['parameters'],
        macs=text.get('macs'),
        num_bytes=card['bytes'],
        sha256=card['sha256'],
        converter='poseplug',
        scores=(score,),
        finds_instances=card['model']['type'] != 'TopDown',
        # TOML's texts of several lines end with a line break
        **{'task': 'body', **{key: text[key].strip() for key in _TEXTS if key in text}},
    )
