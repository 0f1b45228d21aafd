"""Compare keypoints of image files and boxes: OTHER/bin/python tools/compare/end_to_end.py IMAGES [NAMES...].

Runs under the other environment's Python (docs/lab/benchmark.md), with PYTHONPATH=. MMPose's own model gets random
weights and is saved as a checkpoint; poseplug converts it. Both predict the same boxes in the JPEG files of a folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import stand_ins

stand_ins.install_stand_ins()

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmpose.apis import inference_topdown, init_model  # noqa: E402
from mmpose_side import get_config_file  # noqa: E402
from save_mmpose import randomize_weights  # noqa: E402

from poseplug.config.load import load_config  # noqa: E402
from poseplug.config.matching import match_weights  # noqa: E402
from poseplug.predict.predictor import Predictor  # noqa: E402
from poseplug.zoo.mmpose import convert_checkpoint  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
COCO = 'body_2d_keypoint/topdown_heatmap/coco/td-hm_'
HRNET = 'hrnet/hrnet_w32_coco_256x192'
# name -> MMPose's config, the config here, and what changes in it
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    'hrnet_w32': (COCO + 'hrnet-w32_8xb64-210e_coco-256x192', HRNET, {}),
    'hrnet_w32_dark': (
        COCO + 'hrnet-w32_dark-8xb64-210e_coco-256x192',
        HRNET,
        {'model.codec.type': 'DARKHeatmap'},
    ),
    'hrnet_w32_udp': (COCO + 'hrnet-w32_udp-8xb64-210e_coco-256x192', HRNET, {'model.codec.type': 'UDPHeatmap'}),
    'res50': (COCO + 'res50_8xb64-210e_coco-256x192', 'simple_baseline/simple_baseline_r50_coco_256x192', {}),
    'vitpose_s': (COCO + 'ViTPose-small_8xb64-210e_coco-256x192', 'vitpose/vitpose_s_coco_256x192', {}),
    'simcc_res50': (
        'body_2d_keypoint/simcc/coco/simcc_res50_8xb64-210e_coco-256x192',
        'simcc/simcc_r50_coco_256x192',
        {'model.codec.from_logits': False},
    ),
    'rtmpose_m': (
        'body_2d_keypoint/rtmpose/coco/rtmpose-m_8xb256-420e_coco-256x192',
        'rtmpose/rtmpose_m_coco_256x192',
        {},
    ),
    'swin_t': (COCO + 'swin-t-p4-w7_8xb32-210e_coco-256x192', 'swin/swin_t_coco_256x192', {}),
    'pvtv2_b2': (COCO + 'pvtv2-b2_8xb64-210e_coco-256x192', 'pvt/pvtv2_b2_coco_256x192', {}),
    'hourglass52': (
        COCO + 'hourglass52_8xb32-210e_coco-256x256',
        'corner_hourglass/corner_hourglass_coco_256',
        {},
    ),
}


def build_pair(name: str, flip_test: bool) -> tuple[Any, Predictor]:
    """MMPose's model with random weights, and a predictor of the converted checkpoint."""
    mmpose_config, config, options = CASES[name]
    model = init_model(str(get_config_file(f'{mmpose_config}.py')), device='cpu')
    model.test_cfg['flip_test'] = flip_test
    randomize_weights(model, 0)
    cfg = load_config(CONFIGS / f'{config}.py', options)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, weights = Path(folder) / 'random.pth', Path(folder) / 'random.safetensors'
        torch.save({'state_dict': model.state_dict()}, checkpoint)
        convert_checkpoint(checkpoint, cfg, weights, trust=True)
        return model, Predictor(match_weights(cfg, weights), weights, device='cpu', flip_test=flip_test)


def create_boxes(file: Path) -> np.ndarray:
    """Two boxes (2, 4) xyxy within an image, one of them beyond its left border."""
    height, width = cv2.imread(str(file)).shape[:2]
    fractions = np.array([[0.1, 0.1, 0.6, 0.9], [-0.1, 0.2, 0.5, 0.7]])
    return (fractions * [width, height, width, height]).astype(np.float32)


def compare_case(name: str, files: list[Path], flip_test: bool) -> str:
    """A row of a table: the largest differences of keypoints, and of scores relative to the largest score."""
    model, predictor = build_pair(name, flip_test)
    distances, differences, scores = [], [], []
    for file in files:
        boxes = create_boxes(file)
        instances = [r.pred_instances for r in inference_topdown(model, str(file), boxes)]
        result = predictor([str(file)], [boxes], box_format='xyxy')[0]
        expected = np.concatenate([i.keypoints for i in instances])
        expected_scores = np.concatenate([i.keypoint_scores for i in instances])
        distances.append(np.abs(np.asarray(result.keypoints) - expected).max(axis=-1))
        differences.append(np.abs(np.asarray(result.keypoint_scores) - expected_scores))
        scores.append(np.abs(expected_scores))
    worst = np.concatenate(distances)
    relative = np.max(differences) / np.max(scores)
    fraction = 100 * (worst <= 0.01).mean()
    return f'| `{name}` | {"yes" if flip_test else "no"} | {worst.max():.1e} | {fraction:.2f} % | {relative:.1e} |'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', type=Path)
    parser.add_argument('names', nargs='*', default=[], metavar='NAME', help=f'networks: {", ".join(CASES)}')
    parser.add_argument('--num-images', type=int, default=50)
    parser.add_argument('--no-flip', action='store_true')
    args = parser.parse_args()
    files = sorted(args.images.resolve().glob('*.jpg'))[: args.num_images]
    torch.set_num_threads(1)
    os.chdir(get_config_file('..'))  # MMPose's configs name files relative to the present folder
    for name in args.names or CASES:
        print(compare_case(name, files, not args.no_flip), flush=True)


if __name__ == '__main__':
    main()
