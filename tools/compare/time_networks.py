"""Time networks of both toolboxes in turns: PYTHONPATH=. OTHER/bin/python tools/compare/time_networks.py [NAMES...].

Runs under the other environment's Python (docs/lab/benchmark.md), which also finds poseplug. Random weights, one image
of normalized noise, one thread, from pixels to the last outputs; the fastest of all repeats counts.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stand_ins

stand_ins.install_stand_ins()

import mmpose.models  # noqa: E402, F401  registers the parts; cannot be imported before the stand-ins
import torch  # noqa: E402
from inputs import create_images  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmpose.registry import MODELS  # noqa: E402
from mmpose_side import get_config_file  # noqa: E402
from poseplug_side import build_random_predictor  # noqa: E402

from poseplug.config.load import load_config  # noqa: E402
from poseplug.models.estimators.network import predict_from_features  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
COCO = 'body_2d_keypoint/topdown_heatmap/coco/td-hm_'
# name -> MMPose's config and the config here
NETWORKS = {
    **{
        name: (COCO + f'{name}_8xb64-210e_coco-256x192.py', f'simple_baseline/simple_baseline_{name}_coco_256x192.py')
        for name in (
            *('resnetv1d50', 'seresnet50', 'resnext50', 'resnest50', 'scnet50'),
            *('mobilenetv2', 'shufflenetv1', 'shufflenetv2'),
        )
    },
    'vgg16': (COCO + 'vgg16-bn_8xb64-210e_coco-256x192.py', 'simple_baseline/simple_baseline_vgg16_coco_256x192.py'),
    'litehrnet18': (COCO + 'litehrnet-18_8xb64-210e_coco-256x192.py', 'lite_hrnet/lite_hrnet18_coco_256x192.py'),
    'vipnas_res50': (COCO + 'vipnas-res50_8xb64-210e_coco-256x192.py', 'vipnas/vipnas_res50_coco_256x192.py'),
    'vipnas_mbv3': (COCO + 'vipnas-mbv3_8xb64-210e_coco-256x192.py', 'vipnas/vipnas_mbv3_coco_256x192.py'),
    'mspn50': (COCO + 'mspn50_8xb32-210e_coco-256x192.py', 'mspn/mspn50_coco_256x192.py'),
    'rsn18': (COCO + 'rsn18_8xb32-210e_coco-256x192.py', 'rsn/rsn18_coco_256x192.py'),
    'cpm': (COCO + 'cpm_8xb64-210e_coco-256x192.py', 'cpm/cpm_mmpose_coco_256x192.py'),
    'hourglass52': (
        COCO + 'hourglass52_8xb32-210e_coco-256x256.py',
        'corner_hourglass/corner_hourglass_coco_256.py',
    ),
    'swin_t': (COCO + 'swin-t-p4-w7_8xb32-210e_coco-256x192.py', 'swin/swin_t_coco_256x192.py'),
    'hrformer_s': (COCO + 'hrformer-small_8xb32-210e_coco-256x192.py', 'hrformer/hrformer_s_coco_256x192.py'),
    'pvt_s': (COCO + 'pvt-s_8xb64-210e_coco-256x192.py', 'pvt/pvt_s_coco_256x192.py'),
    'pvtv2_b2': (COCO + 'pvtv2-b2_8xb64-210e_coco-256x192.py', 'pvt/pvtv2_b2_coco_256x192.py'),
    'yoloxpose_s': (
        'body_2d_keypoint/yoloxpose/coco/yoloxpose_s_8xb32-300e_coco-640.py',
        'yoloxpose/yoloxpose_pafpn_s_coco_640.py',
    ),
    'rtmw_m': (
        'wholebody_2d_keypoint/rtmpose/cocktail14/rtmw-m_8xb1024-270e_cocktail14-256x192.py',
        'rtmw/rtmw_m_coco_wholebody_256x192.py',
    ),
}


def build_mmpose_network(config: str, images: torch.Tensor) -> Callable[[], Any]:
    """What runs MMPose's network on images."""
    cfg = Config.fromfile(str(get_config_file(config)))
    parts = [MODELS.build(cfg.model[name]) for name in ('backbone', 'neck', 'head') if name in cfg.model]
    for part in parts:
        part.eval()  # some return nothing

    def run() -> Any:
        output: Any = images
        for part in parts:
            output = part(output)
        return output

    return run


def build_poseplug_network(config: str, images: torch.Tensor) -> Callable[[], Any]:
    """What runs the network here on images, as `predict` does."""
    network = build_random_predictor(load_config(CONFIGS / config)).model.network
    pixels = images.contiguous(memory_format=network.memory_format)
    return lambda: predict_from_features(network.neck, network.head, network.backbone(pixels))


def time_networks(name: str, repeats: int) -> tuple[float, float]:
    """Milliseconds of the fastest run here and of MMPose's."""
    mmpose_config, config = NETWORKS[name]
    size = load_config(CONFIGS / config).model.codec.input_size
    images = torch.from_numpy(create_images(tuple(size)))
    runs = build_poseplug_network(config, images), build_mmpose_network(mmpose_config, images)
    fastest = [float('inf'), float('inf')]
    for _ in range(repeats):
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            fastest[index] = min(fastest[index], time.perf_counter() - start)
    return 1e3 * fastest[0], 1e3 * fastest[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', default=[], metavar='NAME', help=f'networks: {", ".join(NETWORKS)}')
    parser.add_argument('--repeats', type=int, default=10)
    args = parser.parse_args()
    init_default_scope('mmpose')
    torch.set_num_threads(1)
    os.chdir(get_config_file('..'))  # MMPose's configs name files relative to the present folder
    for name in args.names or NETWORKS:
        with torch.inference_mode():
            poseplug_ms, mmpose_ms = time_networks(name, args.repeats)
        print(f'| `{name}` | {poseplug_ms:.1f} | {mmpose_ms:.1f} | {mmpose_ms / poseplug_ms:.2f} |', flush=True)


if __name__ == '__main__':
    main()
