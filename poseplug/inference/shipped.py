"""The model that comes with poseplug: two files that need no config, written by `package_model`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from poseplug.build import build_model, need
from poseplug.config import load_config
from poseplug.engine.checkpoint import load_weights, write_whole
from poseplug.errors import CheckpointError
from poseplug.registry import listless
from poseplug.skeleton import get_skeleton

FOLDER = Path(__file__).parent.parent / 'weights'
NAME = 'cpm_lsp_lite'
LIMIT = 10_000_000  # bytes; heavier weights are kept in half precision
KEYS = ('skeleton', 'model', 'pipeline', 'sha256')


def package_model(
    config: str | Path,
    checkpoint: str | Path,
    out_dir: str | Path = FOLDER,
    name: str = NAME,
    metrics: Mapping[str, float] | None = None,
) -> tuple[Path, Path]:
    """Write NAME.safetensors and NAME.json: the weights, and all that is needed to predict with them.

    Weights of more than 10 MB are kept as float16 (the vectors, such as the statistics of batch norms, as float32).
    `metrics` are the model's scores; those of single joints (with a '/') are left out.
    """
    from safetensors.torch import save

    cfg = load_config(config)
    model = build_model(cfg)
    load_weights(model, checkpoint)
    tensors = {n: t.detach().contiguous() for n, t in model.state_dict().items()}
    data = save(tensors)
    if len(data) > LIMIT:
        data = save({n: halved(t, n) for n, t in tensors.items()})
    content = {
        'name': name,
        'skeleton': asdict(get_skeleton(need(cfg, 'skeleton'))),
        'model': need(cfg, 'model'),
        'pipeline': need(cfg, 'test_dataloader')['dataset']['pipeline'],
        'metrics': {k: v for k, v in (metrics or {}).items() if '/' not in k},
        'parameters': sum(p.numel() for p in model.parameters()),
        'bytes': len(data),
        'sha256': hashlib.sha256(data).hexdigest(),
    }
    weights, card = Path(out_dir) / f'{name}.safetensors', Path(out_dir) / f'{name}.json'
    write_whole(weights, data)
    write_whole(card, (json.dumps(content, indent=1) + '\n').encode())
    return weights, card


def halved(tensor: Tensor, name: str) -> Tensor:
    """A weight of two or more axes as float16, or an error if it does not fit; everything else as it is."""
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return tensor
    half = tensor.to(torch.float16)
    if not half.isfinite().all():
        raise CheckpointError(f'{name} holds values beyond the range of float16; train on, or package a smaller model')
    return half


def shipped_model(folder: str | Path = FOLDER, name: str = NAME) -> tuple[dict[str, Any], Path]:
    """What a config would say of a packaged model, and its weights; both files are verified."""
    weights, card = Path(folder) / f'{name}.safetensors', Path(folder) / f'{name}.json'
    content = read_card(card)
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise absent(weights, error) from error
    if hashlib.sha256(data).hexdigest() != content['sha256']:
        raise CheckpointError(
            f'{weights} ({len(data):,} bytes) is not the file that {card.name} describes: its SHA-256 differs; restore '
            f'both files, or install poseplug anew'
        )
    cfg = {
        'skeleton': content['skeleton'],
        'model': listless(content['model']),
        'test_dataloader': {'dataset': {'pipeline': listless(content['pipeline'])}},
    }
    return cfg, weights


def read_card(card: Path) -> dict[str, Any]:
    """The description beside packaged weights, with every key that it needs."""
    try:
        content = json.loads(card.read_text())
    except OSError as error:
        raise absent(card, error) from error
    except ValueError as error:
        raise CheckpointError(f'{card} is damaged: {error}; restore it, or install poseplug anew') from error
    missing = [k for k in KEYS if not isinstance(content, dict) or k not in content]
    if missing:
        raise CheckpointError(f'{card} lacks {", ".join(missing)}; restore it, or install poseplug anew')
    return content


def absent(file: Path, error: OSError) -> CheckpointError:
    """The error for a file of the shipped model that cannot be read."""
    return CheckpointError(
        f'{file}: {error.strerror or error}. The model that comes with poseplug is not in this copy; name a config and '
        f'its checkpoint, or put one there: python tools/package_model.py CONFIG CHECKPOINT'
    )
