"""Save MMPose's own models with random weights, to test `poseplug convert`: python save_mmpose.py OUT [NAMES...].

Runs under the other environment's Python (docs/lab/benchmark.md). For each model OUT receives NAME.pth, as MMPose's
runner stores it, and NAME.npz: `input` (2, 3, H, W), as the network receives it, and its raw outputs `out0`, `out1`
and so on.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import stand_ins

stand_ins.install_stand_ins()

import numpy as np  # noqa: E402  (MMPose cannot be imported before its stand-ins)
import torch  # noqa: E402
from mmpose_side import get_config_file  # noqa: E402

HEATMAP_CONFIGS = 'body_2d_keypoint/topdown_heatmap/coco/td-hm_'
CONFIGS = {
    'hrnet_w32': HEATMAP_CONFIGS + 'hrnet-w32_8xb64-210e_coco-256x192.py',
    'hrnet_w32_udp': HEATMAP_CONFIGS + 'hrnet-w32_udp-8xb64-210e_coco-256x192.py',
    'res50': HEATMAP_CONFIGS + 'res50_8xb64-210e_coco-256x192.py',
    'vitpose_s': HEATMAP_CONFIGS + 'ViTPose-small_8xb64-210e_coco-256x192.py',
    'simcc_res50': 'body_2d_keypoint/simcc/coco/simcc_res50_8xb64-210e_coco-256x192.py',
    'rtmpose_s': 'body_2d_keypoint/rtmpose/coco/rtmpose-s_8xb256-420e_coco-256x192.py',
}


def randomize_weights(model: torch.nn.Module, seed: int) -> None:
    """Replace all weights: activations keep their size, and norms are not as initialized, so that no error hides."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point() or name.startswith('data_preprocessor.'):
                continue
            random = torch.randn(value.shape, generator=generator)
            if value.ndim >= 2:
                random *= 0.7 * math.sqrt(2 / max(1, value[0].numel()))
            elif name.endswith('running_var'):
                random = 1 + 0.2 * random.abs()
            elif name.endswith(('bias', 'running_mean')):
                random *= 0.1
            else:
                random = 1 + 0.1 * random
            value.copy_(random)


def flatten_outputs(output: Any) -> list[np.ndarray]:
    """The tensors of a network's output, in order."""
    if isinstance(output, torch.Tensor):
        return [output.numpy()]
    return [array for part in output for array in flatten_outputs(part)]


def save_model(name: str, out: Path, seed: int = 0) -> None:
    """Write checkpoint, input and outputs of a model."""
    from mmpose.apis import init_model

    model = init_model(str(get_config_file(CONFIGS[name])), device='cpu')
    randomize_weights(model, seed)
    width, height = model.cfg.codec['input_size']
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed + 1))
    with torch.no_grad():
        outputs = flatten_outputs(model(images, None, mode='tensor'))
        if outputs[0].ndim == 4:  # heatmaps, whose last layer is linear: scaled to a standard deviation of 1
            std = float(outputs[0].std())
            for value in model.head.final_layer.parameters():
                value /= std
            outputs = flatten_outputs(model(images, None, mode='tensor'))
    meta = dict(dataset_meta=model.dataset_meta, cfg=model.cfg.pretty_text, epoch=1)
    torch.save(dict(meta=meta, state_dict=model.state_dict()), out / f'{name}.pth')
    np.savez(out / f'{name}.npz', input=images.numpy(), **{f'out{i}': array for i, array in enumerate(outputs)})
    print(name, [array.shape for array in outputs], [f'{array.std():.3g}' for array in outputs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('names', nargs='*', default=[], metavar='NAME', help=f'models: {", ".join(CONFIGS)}')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or CONFIGS:
        save_model(name, args.out)


if __name__ == '__main__':
    main()
