"""Trained models by name, by config and by weights: what `load_model` and `Predictor` open."""

from __future__ import annotations

__all__ = [
    'ModelFiles',
    'ModelSource',
    'list_models',
    'load_model',
    'resolve_model',
]

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.config.matching import match_weights
from poseplug.config.shipped import list_configs
from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.files.weights import WeightKind, load_weights
from poseplug.models.devices import parse_device
from poseplug.models.estimators.base import Estimator
from poseplug.predict.shipped_model import SHIPPED_MODEL_DIR, load_shipped_model
from poseplug.zoo.index import MODEL_PRESETS, is_model_name, list_published_models
from poseplug.zoo.published_models import get_published_files, load_published_config

ModelSource = str | Path | Mapping[str, Any]  # the name of a model, a config file or a loaded config


class ModelFiles(NamedTuple):
    """The config and the weights of a trained model.

    Attributes:
        cfg: its config: skeleton, model and test pipeline at least.
        weights: the file of its weights.
        name: names of the config and of the weights, for result files.
    """

    cfg: Mapping[str, Any]
    weights: str | Path
    name: str


def list_models(pattern: str = '*', with_weights: bool = False) -> list[str]:
    """List the models that have a name: those of the configs that come with poseplug, and the published ones.

    Args:
        pattern: of the names, with `*` and `?` as in file names.
        with_weights: only those with trained weights: the installed model, and the published ones, whose weights are
            fetched when they are used.

    Returns:
        Names that `load_model` and `Predictor` accept, without weights only for those that have some; sorted.

    Example:
        >>> list_models('cpm_*', with_weights=True)
        ['cpm_efficientnet_lsp', 'cpm_lsp_lite']
        >>> list_models('rtmo-?')
        ['rtmo-l', 'rtmo-m', 'rtmo-s', 'rtmo-t']
        >>> list_models('hrnet_w32_coco_256*')
        ['hrnet_w32_coco_256x192', 'hrnet_w32_coco_256x192_dark']
    """
    names = {*_list_installed_models(), *list_published_models()}
    if not with_weights:
        names |= set(list_configs())
    return sorted(name for name in names if fnmatchcase(name, pattern))


def load_model(
    model: ModelSource | None = None,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    weight_kind: WeightKind | None = None,
    map_keypoints: bool = False,
) -> Estimator:
    """Build an estimator, load its weights and set it to evaluation mode.

    Args:
        model: a name of `list_models`, or an alias or preset of a published model; a config file or a loaded config;
            None for the installed model.
        weights: a checkpoint of that model; None for the weights that a named model has. Those of a published model
            are fetched once, verified, and kept in the folder POSEPLUG_CACHE.
        device: where the network runs; by default a GPU if there is one.
        weight_kind: 'raw' or 'averaged', where a checkpoint has both; by default the averaged ones.
        map_keypoints: whether the channels of weights are taken by the names of their keypoints, where these differ.

    Returns:
        The estimator. Its `predict` takes a `Batch` of inputs; for images and files use `Predictor`.

    Raises:
        ConfigError: the model is unknown, or has no weights of its own and was given none; or there is no such device.
        CheckpointError: the weights cannot be fetched or read, or do not fit the model.
        UnsafeFileError: the fetched weights are not the published ones.

    Example:
        >>> model = load_model('cpm_lsp_lite', device='cpu')
        >>> model.training, len(model.skeleton), model.codec.input_size
        (False, 14, (128, 128))
    """
    torch_device = parse_device(device)
    files = resolve_model(model, weights)
    estimator = build_model(files.cfg)
    if not isinstance(estimator, Estimator):
        raise ConfigError(
            f'model.type is {type(estimator).__name__}, which is no estimator; give one that predicts poses'
        )
    load_weights(estimator, files.weights, weight_kind, map_keypoints)
    return estimator.to(torch_device).eval()


def resolve_model(model: ModelSource | None, weights: str | Path | None) -> ModelFiles:
    """Find the config and the weights of a model; converted weights set the config's `model.codec.match`.

    Args:
        model: as for `load_model`.
        weights: a checkpoint; None for the weights of a named model.

    Raises:
        ConfigError: the model is unknown, has no weights of its own and was given none, or weights were given alone.
        CheckpointError: the files of an installed model are missing or damaged, or published ones cannot be fetched.
    """
    _check_model_source(model)
    cfg: Mapping[str, Any]
    # Four cases: 1. a published model; 2. an installed one; 3. a published model's config with other weights; 4. a
    # config and its weights.
    if weights is None and is_model_name(model):
        cfg, weights, entry = get_published_files(str(model))
        return ModelFiles(match_weights(cfg, weights), weights, entry.name)
    if weights is None:
        cfg, weights = _load_installed_model(model)
    elif model is None:
        raise ConfigError('weights alone do not say which model they belong to; give a config and its checkpoint')
    elif is_model_name(model):
        cfg = load_published_config(str(model))
    else:
        cfg = load_config(model) if isinstance(model, (str, Path)) else model
    cfg = match_weights(cfg, weights)
    config_name = Path(getattr(cfg, 'filename', None) or weights).stem
    return ModelFiles(cfg, weights, f'{config_name}, {Path(weights).name}')


def _check_model_source(model: Any) -> None:
    """Raise for a network, which alone does not say how images become its input, nor what it predicts."""
    # mmengine's Config is no Mapping.
    if model is not None and not isinstance(model, str | Path) and not callable(getattr(model, 'get', None)):
        remedy = 'give its config and a file of its weights' if isinstance(model, nn.Module) else 'give one of these'
        raise ConfigError(
            f'a model is a name, a config file or a loaded config, which say how images are cropped and decoded; got '
            f'one of type {type(model).__name__}: {remedy}'
        )


def _list_installed_models() -> list[str]:
    """The models that are installed with trained weights."""
    return sorted(card.stem for card in SHIPPED_MODEL_DIR.glob('*.json'))


def _load_installed_model(model: ModelSource | None) -> tuple[dict[str, Any], Path]:
    """The config and the weights of a model that is installed with poseplug."""
    if model is None:
        return load_shipped_model()
    installed = _list_installed_models()
    if isinstance(model, str) and model in installed:
        return load_shipped_model(name=model)
    name = str(model) if isinstance(model, (str, Path)) else getattr(model, 'filename', None) or 'the config'
    name = name or 'an empty name'
    hint = suggest_closest(name, [*list_models(with_weights=True), *MODEL_PRESETS])
    raise ConfigError(
        compose_message(
            f'{name} has no weights of its own: give a config and its checkpoint, or the name of a model that has some',
            hint,
            f'installed: {", ".join(installed)}; published: see poseplug models',
        )
    )
