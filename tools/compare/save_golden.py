"""Save what MMPose's codecs encode and decode, for tests/golden: python save_golden.py OUT SEED.

Runs under the other environment's Python (docs/lab/benchmark.md). OUT receives the files enc_*.npz and dec_*.npz, as
tests/golden reads them from the folder named by POSEPLUG_GOLDEN; each seed gives other keypoints, maps and tags.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import stand_ins

stand_ins.install_stand_ins()

import mmpose.codecs  # noqa: E402  (MMPose cannot be imported before its stand-ins)
import numpy as np  # noqa: E402
import torch  # noqa: E402

NUM_CASES = 50
SMALL = dict(input_size=(192, 256), heatmap_size=(48, 64))
LARGE = dict(input_size=(368, 368), heatmap_size=(46, 46))
# sqrt(192 / 8) and sqrt(256 / 8), as its configs have them.
RTMPOSE = dict(sigma=(4.9, 5.66), normalize=False)
SIMCC_VERSIONS = {
    'default': {},
    'rtmpose': RTMPOSE,
    'dark': dict(**RTMPOSE, use_dark=True),
    'standard': dict(smoothing_type='standard', label_smooth_weight=0.1),
    'standard0': dict(smoothing_type='standard', label_smooth_weight=0.0),
}
HEATMAP_ENCODERS = {  # file: codec, its settings, keypoints, cases whose maps are kept
    'enc_msra': ('MSRAHeatmap', dict(**SMALL, sigma=2), 17, NUM_CASES),
    'enc_msra_dark': ('MSRAHeatmap', dict(**SMALL, sigma=2, unbiased=True), 17, 4),
    'enc_udp': ('UDPHeatmap', dict(**SMALL, sigma=2), 17, NUM_CASES),
    'enc_udp_combined': ('UDPHeatmap', dict(**SMALL, heatmap_type='combined'), 17, 4),
    'enc_megvii_14_368': ('MegviiHeatmap', dict(**LARGE, kernel_size=11), 14, 10),
    'enc_msra_14_368': ('MSRAHeatmap', dict(**LARGE, sigma=2), 14, 10),
}
HEATMAP_DECODERS = {
    'msra': ('MSRAHeatmap', dict(**SMALL, sigma=2)),
    'msra_dark': ('MSRAHeatmap', dict(**SMALL, sigma=2, unbiased=True)),
    'udp': ('UDPHeatmap', dict(**SMALL, sigma=2)),
    'megvii': ('MegviiHeatmap', dict(**SMALL, kernel_size=11)),
}
TAG_DECODERS = {  # settings, and the number of tags per keypoint
    'l1': ({}, 1),
    'l2': ({}, 2),
    'l1_udp': (dict(use_udp=True), 1),
    'l1_shift': (dict(decode_center_shift=0.5, decode_max_instances=30), 1),
}


def build_codec(name: str, settings: Mapping[str, Any]) -> Any:
    """One of MMPose's codecs."""
    return getattr(mmpose.codecs, name)(**settings)


def draw_keypoints(rng: np.random.Generator, input_size: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Keypoints (*shape, 2) in px, up to a tenth of the input outside it."""
    return (rng.uniform(-0.1, 1.1, (*shape, 2)) * input_size).astype(np.float32)


def draw_peaks(rng: np.random.Generator, num_maps: int, height: int, width: int, noise: float = 0.02) -> np.ndarray:
    """Maps (num_maps, height, width), float16: a Gaussian each, which may stand outside, and noise."""
    center = rng.uniform(-0.1, 1.1, (2, num_maps, 1, 1)) * np.reshape([width, height], (2, 1, 1, 1))
    sigma, top = rng.uniform(1.5, 3, (num_maps, 1, 1)), rng.uniform(0.2, 1, (num_maps, 1, 1))
    rows, columns = np.mgrid[:height, :width]
    maps = top * np.exp(-((columns - center[0]) ** 2 + (rows - center[1]) ** 2) / (2 * sigma**2))
    return (maps + noise * rng.standard_normal(maps.shape)).astype(np.float16)


def compute_stats(maps: np.ndarray) -> np.ndarray:
    """(..., 4): sum, sum of squares, largest value and its index, of maps (..., cells)."""
    maps = maps.astype(np.float64)
    return np.stack([maps.sum(-1), (maps**2).sum(-1), maps.max(-1), maps.argmax(-1)], axis=-1)


def encode_heatmaps(rng: np.random.Generator, name: str) -> dict[str, np.ndarray]:
    """Keypoints, and the maps that one codec draws of them."""
    codec_name, settings, num_keypoints, num_kept = HEATMAP_ENCODERS[name]
    codec = build_codec(codec_name, settings)
    keypoints = draw_keypoints(rng, settings['input_size'], (NUM_CASES, num_keypoints))
    visible = rng.integers(0, 5, keypoints.shape[:2]).clip(0, 1).astype(np.float32)
    encoded = [codec.encode(k[None], v[None]) for k, v in zip(keypoints, visible, strict=True)]
    maps = np.stack([e['heatmaps'] for e in encoded])
    stats, weights = (
        compute_stats(maps.reshape(*maps.shape[:2], -1)),
        np.stack([e['keypoint_weights'] for e in encoded]),
    )
    # Whole maps of some cases, and numbers of all: the files stay small.
    kept = maps[:num_kept].astype(np.float32)
    return dict(keypoints=keypoints, visible=visible, heatmaps=kept, heatmap_stats=stats, weights=weights[:, 0])


def decode_heatmaps(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Maps, some of them without a clear peak, and the keypoints that each codec reads from them."""
    maps = np.stack([draw_peaks(rng, 8, 64, 48) for _ in range(NUM_CASES)])
    # Cases that noise never draws: empty and negative maps, two equal peaks, peaks at the border.
    maps[0, 0], maps[1, 0] = 0, -0.5
    maps[2, 0, 20, 20] = maps[2, 0, 40, 30] = 1.5
    for case, keypoint, row, column in ((3, 0, 0, 0), (3, 1, 63, 47), (4, 0, 1, 1)):
        maps[case, keypoint, row, column] = 1.25
    arrays = dict(heatmaps_f16=maps)
    for name, (codec_name, settings) in HEATMAP_DECODERS.items():
        codec = build_codec(codec_name, settings)
        decoded = [codec.decode(m.astype(np.float32)) for m in maps]
        arrays[f'{name}_keypoints'], arrays[f'{name}_scores'] = (np.stack([d[i][0] for d in decoded]) for i in (0, 1))
    return arrays


def decode_combined(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Maps of class, x and y by keypoint, and the keypoints."""
    codec = build_codec('UDPHeatmap', dict(**SMALL, heatmap_type='combined'))
    maps = np.stack([draw_peaks(rng, 12, 64, 48) for _ in range(20)])
    decoded = [codec.decode(m.astype(np.float32)) for m in maps]
    return dict(
        heatmaps_f16=maps, keypoints=np.stack([d[0][0] for d in decoded]), scores=np.stack([d[1][0] for d in decoded])
    )


def encode_simcc(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Keypoints, and the lines of bins of every version."""
    keypoints = draw_keypoints(rng, SMALL['input_size'], (NUM_CASES, 17))
    visible = rng.integers(0, 5, keypoints.shape[:2]).clip(0, 1).astype(np.float32)
    arrays = dict(keypoints=keypoints, visible=visible)
    for name, settings in SIMCC_VERSIONS.items():
        codec = build_codec('SimCCLabel', dict(input_size=SMALL['input_size'], **settings))
        encoded = [codec.encode(k[None], v[None]) for k, v in zip(keypoints, visible, strict=True)]
        for axis in 'xy':
            lines = np.stack([e[f'keypoint_{axis}_labels'][0] for e in encoded])
            arrays[f'{name}_{axis}'] = lines[:4].astype(np.float32)
            arrays[f'{name}_{axis}_stats'] = compute_stats(lines)
        arrays[f'{name}_weights'] = np.stack([e['keypoint_weights'][0] for e in encoded])
    return arrays


def decode_simcc(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Lines of bins, two of them empty, and the keypoints of every version."""
    x, y = (np.stack([draw_peaks(rng, 8, 1, n)[:, 0] for _ in range(NUM_CASES)]) for n in (384, 512))
    # Empty and negative lines again.
    x[0, 0] = y[0, 0] = 0
    x[1, 0] = y[1, 0] = -0.5
    arrays = dict(simcc_x_f16=x, simcc_y_f16=y)
    for name in ('default', 'rtmpose', 'dark'):
        codec = build_codec('SimCCLabel', dict(input_size=SMALL['input_size'], **SIMCC_VERSIONS[name]))
        decoded = [
            codec.decode(a.astype(np.float32)[None], b.astype(np.float32)[None]) for a, b in zip(x, y, strict=True)
        ]
        arrays[f'{name}_keypoints'], arrays[f'{name}_scores'] = (np.stack([d[i][0] for d in decoded]) for i in (0, 1))
    return arrays


def encode_tags(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Keypoints of three instances, their maps, and the cells of their tags."""
    keypoints = draw_keypoints(rng, (256, 256), (NUM_CASES, 3, 17))
    visible = rng.integers(0, 5, keypoints.shape[:3]).clip(0, 1).astype(np.float32)
    arrays = dict(keypoints=keypoints, visible=visible)
    for name, use_udp in (('plain', False), ('udp', True)):
        codec = build_codec('AssociativeEmbedding', dict(input_size=(256, 256), heatmap_size=(64, 64), use_udp=use_udp))
        encoded = [codec.encode(k, v) for k, v in zip(keypoints, visible, strict=True)]
        maps = np.stack([e['heatmaps'] for e in encoded])
        arrays[f'{name}_heatmaps'], arrays[f'{name}_stats'] = maps[:5], compute_stats(maps.reshape(*maps.shape[:2], -1))
        arrays[f'{name}_indices'] = np.stack([e['keypoint_indices'] for e in encoded])
        arrays[f'{name}_weights'] = np.stack([e['keypoint_weights'] for e in encoded])
    return arrays


def draw_tagged_instances(rng: np.random.Generator, num_instances: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps (5, 32, 32) and tags (10, 32, 32) of some instances, float16."""
    rows, columns = np.mgrid[:32, :32]
    maps, tags = 0.02 * np.abs(rng.standard_normal((5, 32, 32))), 0.1 * rng.standard_normal((10, 32, 32))
    for _ in range(num_instances):
        center = rng.uniform(5, 27, (2, 5, 1, 1))
        peaks = rng.uniform(0.4, 1, (5, 1, 1)) * np.exp(-((columns - center[0]) ** 2 + (rows - center[1]) ** 2) / 2)
        peaks *= rng.random((5, 1, 1)) > 0.15  # some keypoints are missing
        own = np.tile(peaks > 0.05, (2, 1, 1))
        instance_tags = np.repeat(rng.uniform(-4, 4, 2), 5)[:, None, None]
        tags = np.where(own, instance_tags + 0.1 * rng.standard_normal(tags.shape), tags)
        maps = np.maximum(maps, peaks)
    return maps.astype(np.float16), tags.astype(np.float16)


def decode_tags(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Maps and tags of one to three instances, and the instances that each version groups."""
    maps, tags = (
        np.stack(a) for a in zip(*(draw_tagged_instances(rng, 1 + i % 3) for i in range(NUM_CASES)), strict=True)
    )
    arrays = dict(heatmaps_f16=maps, tags_f16=tags)
    for name, (settings, num_tags) in TAG_DECODERS.items():
        sizes = dict(input_size=(128, 128), heatmap_size=(32, 32), decode_keypoint_order=list(range(5)))
        codec = build_codec('AssociativeEmbedding', {**sizes, **settings})
        tensors = (torch.from_numpy(a.astype(np.float32)) for a in (maps, tags[:, : 5 * num_tags]))
        keypoints, scores, instance_scores = codec.batch_decode(*tensors)
        arrays[f'{name}_count'] = np.array([len(k) for k in keypoints])
        for part, values in (('keypoints', keypoints), ('scores', scores), ('instance_scores', instance_scores)):
            arrays[f'{name}_{part}'] = np.concatenate([v for v in values if len(v)]).astype(np.float32)
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, help='the folder of the new files')
    parser.add_argument('seed', type=int, help='of all random numbers')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    files = {name: encode_heatmaps(rng, name) for name in HEATMAP_ENCODERS}
    files |= {'dec_heatmaps': decode_heatmaps(rng), 'dec_udp_combined': decode_combined(rng)}
    files |= {'enc_simcc': encode_simcc(rng), 'dec_simcc': decode_simcc(rng)}
    files |= {'enc_ae': encode_tags(rng), 'dec_ae': decode_tags(rng)}
    for name, arrays in files.items():
        np.savez_compressed(args.out / f'{name}.npz', **arrays)
        print(name, {key: array.shape for key, array in arrays.items()})


if __name__ == '__main__':
    main()
