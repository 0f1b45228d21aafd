"""Save what MMPose's published networks compute: python save_published_networks.py FILE.npz [NAMES...].

FILE is tests/zoo/mmpose_networks.npz. Runs under the other environment's Python (docs/lab/benchmark.md). The weights
follow from their names, so that the file holds a few outputs of each network alone. By default it receives the networks
that it lacks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import stand_ins

stand_ins.install_stand_ins()

import inputs  # noqa: E402  (MMPose cannot be imported before its stand-ins)
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmpose_side import get_config_file  # noqa: E402
from save_mmpose import HEATMAP_CONFIGS, flatten_outputs  # noqa: E402

NUM_VALUES = 200  # of each output, equally spaced
SMALL = (128, 128)
FLOW = 'head.loss_module.flow_model.'
CONSTANTS = ('data_preprocessor.', 'head.linspace_', f'{FLOW}loc', f'{FLOW}cov', f'{FLOW}mask')
FACE = 'face_2d_keypoint/topdown_heatmap/300w/td-hm_'
REGRESSION, INTEGRAL = (
    'body_2d_keypoint/topdown_regression/coco/td-reg_',
    'body_2d_keypoint/integral_regression/coco/ipr_',
)
NETWORKS = {  # config, and (width, height) of the input
    'resnetv1d50': (HEATMAP_CONFIGS + 'resnetv1d50_8xb64-210e_coco-256x192.py', SMALL),
    'resnext50': (HEATMAP_CONFIGS + 'resnext50_8xb64-210e_coco-256x192.py', SMALL),
    'seresnet50': (HEATMAP_CONFIGS + 'seresnet50_8xb64-210e_coco-256x192.py', SMALL),
    'resnest50': (HEATMAP_CONFIGS + 'resnest50_8xb64-210e_coco-256x192.py', SMALL),
    'scnet50': (HEATMAP_CONFIGS + 'scnet50_8xb64-210e_coco-256x192.py', SMALL),
    'mobilenetv2': (HEATMAP_CONFIGS + 'mobilenetv2_8xb64-210e_coco-256x192.py', SMALL),
    'shufflenetv1': (HEATMAP_CONFIGS + 'shufflenetv1_8xb64-210e_coco-256x192.py', SMALL),
    'shufflenetv2': (HEATMAP_CONFIGS + 'shufflenetv2_8xb64-210e_coco-256x192.py', SMALL),
    'litehrnet18': (HEATMAP_CONFIGS + 'litehrnet-18_8xb64-210e_coco-256x192.py', SMALL),
    'vipnas_mbv3': (HEATMAP_CONFIGS + 'vipnas-mbv3_8xb64-210e_coco-256x192.py', SMALL),
    'vipnas_res50': (HEATMAP_CONFIGS + 'vipnas-res50_8xb64-210e_coco-256x192.py', SMALL),
    'vgg16': (HEATMAP_CONFIGS + 'vgg16-bn_8xb64-210e_coco-256x192.py', SMALL),
    'hrnetv2_w18': (FACE + 'hrnetv2-w18_8xb64-60e_300w-256x256.py', SMALL),
    'regression_res50': (REGRESSION + 'res50_8xb64-210e_coco-256x192.py', SMALL),
    'rle_mobilenetv2': (REGRESSION + 'mobilenetv2_rle-pretrained-8xb64-210e_coco-256x192.py', SMALL),
    'ipr_res50': (INTEGRAL + 'res50_8xb64-210e_coco-256x256.py', (256, 256)),
    'ipr_res50_debias': (INTEGRAL + 'res50_debias-8xb64-210e_coco-256x256.py', (256, 256)),
    'simcc_mobilenetv2': (
        'body_2d_keypoint/simcc/coco/simcc_mobilenetv2_wo-deconv-8xb64-210e_coco-256x192.py',
        (192, 256),
    ),
    'simcc_vipnas': ('body_2d_keypoint/simcc/coco/simcc_vipnas-mbv3_8xb64-210e_coco-256x192.py', (192, 256)),
}


def compute_outputs(name: str) -> list[np.ndarray]:
    """The outputs of a network for an input that follows from a seed."""
    from mmengine.config import Config
    from mmpose.models import build_pose_estimator
    from mmpose.utils import register_all_modules

    register_all_modules()
    path, (width, height) = NETWORKS[name]
    cfg = Config.fromfile(get_config_file(path))
    cfg.model.backbone.init_cfg = None
    model = build_pose_estimator(cfg.model).eval()
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not key.startswith(CONSTANTS):
            value.copy_(torch.from_numpy(inputs.create_weight(key, tuple(value.shape), np.float32)))
    images = torch.from_numpy(inputs.create_network_input(width, height))
    with torch.no_grad():
        outputs = flatten_outputs(model(images, None, mode='tensor'))
        if type(model.head).__name__ == 'RLEHead':  # whose error scales pass a sigmoid when they are read
            points, scales = np.split(outputs[0], 2, axis=-1)
            outputs = [np.concatenate([points, 1 / (1 + np.exp(-scales))], axis=-1)]
            errors = torch.from_numpy(inputs.create_errors())
            outputs.append(model.head.loss_module.flow_model.log_prob(errors).numpy())
    return outputs


def sample_values(array: np.ndarray) -> np.ndarray:
    """Equally spaced values of an array."""
    flat = array.reshape(-1)
    return flat[np.linspace(0, flat.size - 1, min(flat.size, NUM_VALUES)).round().astype(int)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('file', type=Path)
    parser.add_argument('names', nargs='*', default=[], metavar='NAME', help=f'networks: {", ".join(NETWORKS)}')
    args = parser.parse_args()
    saved = dict(np.load(args.file)) if args.file.is_file() else {}
    for name in args.names or [n for n in NETWORKS if f'{n}/0/values' not in saved]:
        for i, array in enumerate(compute_outputs(name)):
            saved[f'{name}/{i}/shape'] = np.array(array.shape)
            saved[f'{name}/{i}/values'] = sample_values(array)
            print(name, i, array.shape, f'standard deviation {array.std():.3g}, largest {np.abs(array).max():.3g}')
        np.savez_compressed(args.file, **saved)


if __name__ == '__main__':
    main()
