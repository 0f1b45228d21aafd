"""Save MMPose's own models with random weights, to test `tools/convert.py`: python save_mmpose.py OUT [NAMES...].

Runs under the other environment's Python (docs/benchmark.md). For each model OUT receives NAME.pth, as MMPose's runner
lays it out, and NAME.npz: `input` (2, 3, H, W), as the network sees it, and its raw outputs `out0`, `out1`, ... .
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import stand_ins

stand_ins.install()

import numpy as np  # noqa: E402  (MMPose cannot be imported before its stand-ins)
import torch  # noqa: E402
from mmpose_side import config_file  # noqa: E402

HEATMAP = 'body_2d_keypoint/topdown_heatmap/coco/td-hm_'
CONFIGS = {
    'hrnet_w32': HEATMAP + 'hrnet-w32_8xb64-210e_coco-256x192.py',
    'hrnet_w32_udp': HEATMAP + 'hrnet-w32_udp-8xb64-210e_coco-256x192.py',
    'res50': HEATMAP + 'res50_8xb64-210e_coco-256x192.py',
    'vitpose_s': HEATMAP + 'ViTPose-small_8xb64-210e_coco-256x192.py',
    'simcc_res50': 'body_2d_keypoint/simcc/coco/simcc_res50_8xb64-210e_coco-256x192.py',
    'rtmpose_s': 'body_2d_keypoint/rtmpose/coco/rtmpose-s_8xb256-420e_coco-256x192.py',
}


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights that keep the size of what passes through, and norms that are not at their start, so that none hides."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point() or name.startswith('data_preprocessor.'):
                continue
            drawn = torch.randn(value.shape, generator=chance)
            if value.ndim >= 2:
                drawn *= 0.7 * math.sqrt(2 / max(1, value[0].numel()))
            elif name.endswith('running_var'):
                drawn = 1 + 0.2 * drawn.abs()
            elif name.endswith(('bias', 'running_mean')):
                drawn *= 0.1
            else:
                drawn = 1 + 0.1 * drawn
            value.copy_(drawn)


def outputs(found: Any) -> list[np.ndarray]:
    """The tensors of a network's answer, in order."""
    return [found.numpy()] if isinstance(found, torch.Tensor) else [array for part in found for array in outputs(part)]


def save(name: str, out: Path, seed: int = 0) -> None:
    from mmpose.apis import init_model

    model = init_model(str(config_file(CONFIGS[name])), device='cpu')
    randomise(model, seed)
    width, height = model.cfg.codec['input_size']
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed + 1))
    with torch.no_grad():
        found = outputs(model(images, None, mode='tensor'))
        if found[0].ndim == 4:  # maps, whose last layer is linear: to a spread of 1
            size = float(found[0].std())
            for value in model.head.final_layer.parameters():
                value /= size
            found = outputs(model(images, None, mode='tensor'))
    meta = dict(dataset_meta=model.dataset_meta, cfg=model.cfg.pretty_text, epoch=1)
    torch.save(dict(meta=meta, state_dict=model.state_dict()), out / f'{name}.pth')
    np.savez(out / f'{name}.npz', input=images.numpy(), **{f'out{i}': array for i, array in enumerate(found)})
    print(name, [array.shape for array in found], [f'{array.std():.3g}' for array in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('names', nargs='*', default=[], metavar='NAME', help=f'models: {", ".join(CONFIGS)}')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or CONFIGS:
        save(name, args.out)


if __name__ == '__main__':
    main()
