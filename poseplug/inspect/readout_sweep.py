"""Several ways to read heatmaps, compared on the fields of one pass (tables 1 to 3 of Zhang et al. 2020)."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from poseplug.codecs.base import Codec
from poseplug.codecs.heatmap import Heatmap
from poseplug.config.build import build_evaluator
from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.engine.dataloaders import build_dataloader
from poseplug.evaluation.results import compute_metrics
from poseplug.inspect.oracle_noise import OraclePredictor
from poseplug.models.estimators.augmentation import FrameFields

# settings of the codec by name; those without modulation leave out the smoothing
READOUTS: Mapping[str, Mapping[str, Any]] = {
    'none': dict(refine='none'),
    'quarter': dict(refine='quarter'),
    'second_peak': dict(refine='second_peak'),
    'taylor': dict(refine='taylor'),
    'dark': dict(refine='dark'),
    'dark_range': dict(refine='dark', rescale='range'),
    'dark_unmodulated': dict(refine='dark', modulate=False, blur_kernel_size=None),
    'udp': dict(refine='udp'),
    'udp_unmodulated': dict(refine='udp', modulate=False, blur_kernel_size=None),
}


@dataclass
class ReadoutResult:
    """The result of one way to read heatmaps.

    Attributes:
        name: of the readout.
        values: scores by name.
        network_ms: time of the network per instance; 0 for true fields.
        decode_ms: time of decoding per instance.
    """

    name: str
    values: dict[str, float]
    network_ms: float
    decode_ms: float

    @property
    def decode_percent(self) -> float:
        """The time of decoding in percent of a whole prediction; NaN for true fields."""
        return 100 * self.decode_ms / (self.network_ms + self.decode_ms) if self.network_ms else float('nan')


def change_readout(codec: Codec, settings: Mapping[str, Any]) -> Codec:
    """Return a codec that reads its heatmaps in another way.

    Args:
        codec: of heatmaps, alone or beside other fields.
        settings: of the codec of the heatmaps, as in `READOUTS`.

    Raises:
        ConfigError: the codec has no heatmaps, or cannot read them so.
    """
    settings = {'modulate': True, 'rescale': 'peak', **settings}
    if isinstance(codec, Heatmap):
        return replace(codec, **settings)
    heatmap_codec = getattr(codec, 'built_heatmap_codec', None)
    if heatmap_codec is None:
        raise ConfigError(f'{type(codec).__name__} reads no peaks of heatmaps; choose a config with such a codec')
    changed: Any = codec
    # a codec with its own refinement would keep it otherwise; None takes that of the heatmaps
    refine = {'refine': None} if 'refine' in type(codec).__dataclass_fields__ else {}
    return replace(changed, heatmap_codec=replace(heatmap_codec, **settings), **refine)


def compare_readouts(
    cfg: Any, model: Any, readouts: Sequence[str], noise_std: float | None = None, seed: int = 0
) -> list[ReadoutResult]:
    """Predict the test set once and decode the fields in several ways.

    Args:
        cfg: the config, whose test set and metrics are used.
        model: its estimator.
        readouts: names in `READOUTS`.
        noise_std: decode the codec's targets with noise of this standard deviation instead of the network's fields.
        seed: of the noise.

    Returns:
        One result per readout.

    Raises:
        ConfigError: there is no such readout, or the model has no heatmaps.
    """
    for name in readouts:
        if name not in READOUTS:
            hint, known = suggest_closest(name, READOUTS), f'known: {", ".join(READOUTS)}'
            raise ConfigError(compose_message(f'there is no readout {name!r}', hint, known))
        change_readout(model.codec, READOUTS[name])  # fails here, if it does
    oracle = None if noise_std is None else OraclePredictor(model, noise_std, seed)
    create_metrics = functools.partial(build_evaluator, cfg, 'test', model.skeleton)
    metrics = {name: create_metrics() for name in readouts}
    seconds, network_seconds, count = dict.fromkeys(readouts, 0.0), 0.0, 0
    batches: Iterable[Batch] = build_dataloader(cfg, 'test_dataloader', seed)
    for batch in batches:
        frames, took = _predict_frames(model, batch, oracle)
        network_seconds += took
        count += len(batch)
        for name in readouts:
            poses, took = _decode_frames(model, frames, batch, READOUTS[name])
            seconds[name] += took
            for metric in metrics[name]:
                for image_poses, record in zip(poses, batch.records, strict=True):
                    metric.update(image_poses, record)
    network_ms = 0.0 if oracle else 1000 * network_seconds / max(count, 1)
    return [
        ReadoutResult(name, compute_metrics(metrics[name]).values, network_ms, 1000 * seconds[name] / max(count, 1))
        for name in readouts
    ]


@torch.inference_mode()
def _predict_frames(model: Any, batch: Batch, oracle: OraclePredictor | None) -> tuple[list[FrameFields], float]:
    """The fused fields of a batch, of the network or true ones, and the seconds they took."""
    start = time.perf_counter()
    if oracle is None:
        batch = batch.to(model.device)
        view_fields = [stages[-1] for stages in model.predict_fields(batch)]
    else:
        view_fields = [oracle.add_noise(fields) for fields in oracle.encode_views(batch)]
    frames = list(model.augmentation.fuse_views(view_fields, batch))
    _synchronize_device(model.device)
    return frames, time.perf_counter() - start


@torch.inference_mode()
def _decode_frames(
    model: Any, frames: Sequence[FrameFields], batch: Batch, settings: Mapping[str, Any]
) -> tuple[list[Any], float]:
    """The instances of every image of a batch, read by other settings, and the seconds that took."""
    # outside of the measured time
    changed = [replace(frame, codec=change_readout(frame.codec, settings)) for frame in frames]
    start = time.perf_counter()
    poses = model.postprocess(changed, batch)
    _synchronize_device(model.device)
    return poses, time.perf_counter() - start


def _synchronize_device(device: torch.device) -> None:
    """Wait for a GPU, so that times are those of finished work."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
