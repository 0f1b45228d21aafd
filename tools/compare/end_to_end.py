"""Compare keypoints of image files: OTHER/bin/python tools/compare/end_to_end.py DATA WEIGHTS [NAMES...].

Runs under the other environment's Python (docs/lab/benchmark.md), with PYTHONPATH=. DATA is COCO's folder, and WEIGHTS
that of the .pth files of train_briefly.py. The weights are exported to MMPose's names, loaded by MMPose's own model
with strict=True, and converted back. Both sides predict the same boxes, or whole images, from the files.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stand_ins

stand_ins.install_stand_ins()

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from inputs import list_test_images  # noqa: E402
from mmpose.apis import inference_bottomup, inference_topdown, init_model  # noqa: E402
from mmpose_side import get_config_file  # noqa: E402

from poseplug.config.build import build_model  # noqa: E402
from poseplug.config.load import load_config  # noqa: E402
from poseplug.config.matching import match_weights  # noqa: E402
from poseplug.files.weights import load_weights  # noqa: E402
from poseplug.predict.predictor import Predictor  # noqa: E402
from poseplug.zoo.mmpose import convert_checkpoint  # noqa: E402
from poseplug.zoo.mmpose_export import export_mmpose_checkpoint  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BODY = 'body_2d_keypoint/'
COCO = BODY + 'topdown_heatmap/coco/td-hm_'
HRNET = 'hrnet/hrnet_w32_coco_256x192'
MAX_DISTANCE_PX = 0.01  # what the two sides may differ by
MAX_TIE = 1e-5  # relative difference of the two largest values of a field that rounding may exchange
FIELD_DIFFERENCE = 2e-6  # by which the fields of both sides differ, as their scores show
NUM_DRAWS = 8


@dataclass(frozen=True)
class Case:
    """A model of both sides.

    Attributes:
        mmpose_config: of MMPose, without its ending.
        config: the one here.
        weights: the file below WEIGHTS, without its ending.
        options: what changes in the config here.
        mmpose_options: what changes in MMPose's config.
        whole_images: whether the model predicts all instances of an image.
    """

    mmpose_config: str
    config: str
    weights: str
    options: dict[str, Any] = field(default_factory=dict)
    mmpose_options: dict[str, Any] = field(default_factory=dict)
    whole_images: bool = False


CASES = {
    'hrnet_w32': Case(COCO + 'hrnet-w32_8xb64-210e_coco-256x192', HRNET, 'hrnet_w32'),
    'hrnet_w32_dark': Case(
        COCO + 'hrnet-w32_dark-8xb64-210e_coco-256x192', HRNET, 'hrnet_w32', {'model.codec.type': 'DARKHeatmap'}
    ),
    'hrnet_w32_udp': Case(
        COCO + 'hrnet-w32_udp-8xb64-210e_coco-256x192', HRNET, 'hrnet_w32', {'model.codec.type': 'UDPHeatmap'}
    ),
    'res50': Case(COCO + 'res50_8xb64-210e_coco-256x192', 'simple_baseline/simple_baseline_r50_coco_256x192', 'res50'),
    'vitpose_s': Case(COCO + 'ViTPose-small_8xb64-210e_coco-256x192', 'vitpose/vitpose_s_coco_256x192', 'vitpose_s'),
    # Fewer blocks and channels: what surrounds the network is that of the whole one.
    'vitpose_s_3': Case(
        COCO + 'ViTPose-small_8xb64-210e_coco-256x192',
        'vitpose/vitpose_s_coco_256x192',
        'vitpose_s_3',
        {'model.backbone.depth': 3},
        {'model.backbone.arch.num_layers': 3},
    ),
    'simcc_mobilenetv2': Case(
        BODY + 'simcc/coco/simcc_mobilenetv2_wo-deconv-8xb64-210e_coco-256x192',
        'simcc/simcc_mobilenetv2_coco_256x192',
        'simcc_mobilenetv2',
    ),
    'rtmpose_t': Case(
        BODY + 'rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192', 'rtmpose/rtmpose_t_coco_256x192', 'rtmpose_t'
    ),
    'rtmo_t': Case(
        BODY + 'rtmo/body7/rtmo-t_8xb32-600e_body7-416x416', 'rtmo/rtmo_t_coco_416', 'rtmo_t', whole_images=True
    ),
    'ae_hrnet_w32': Case(
        BODY + 'associative_embedding/coco/ae_hrnet-w32_8xb24-300e_coco-512x512',
        'associative_embedding/ae_hrnet_w32_coco_512',
        'ae_hrnet_w32',
        whole_images=True,
    ),
    'ae_hrnet_w8': Case(
        BODY + 'associative_embedding/coco/ae_hrnet-w32_8xb24-300e_coco-512x512',
        'associative_embedding/ae_hrnet_w32_coco_512',
        'ae_hrnet_w8',
        {'model.backbone.width': 8, 'model.backbone.num_modules': (1, 1, 1), 'model.codec.input_size': (256, 256)},
        {
            'model.backbone.extra.stage3.num_modules': 1,
            'model.backbone.extra.stage4.num_modules': 1,
            'model.backbone.extra.stage2.num_channels': (8, 16),
            'model.backbone.extra.stage3.num_channels': (8, 16, 32),
            'model.backbone.extra.stage4.num_channels': (8, 16, 32, 64),
            'model.head.in_channels': 8,
            'model.head.decoder.input_size': (256, 256),
            'model.head.decoder.heatmap_size': (256, 256),
            'test_dataloader.dataset.pipeline.1.input_size': (256, 256),
        },
        whole_images=True,
    ),
}


def build_pair(case: Case, weights_folder: Path, flip_test: bool) -> tuple[Any, Predictor]:
    """MMPose's model with exported weights, and a predictor of what the export is converted to."""
    cfg = load_config(CONFIGS / f'{case.config}.py', case.options)
    source = weights_folder / f'{case.weights}.pth'
    model: Any = build_model(cfg)
    load_weights(model, source)
    file = str(get_config_file(f'{case.mmpose_config}.py'))
    other = init_model(file, device='cpu', cfg_options=case.mmpose_options or None)
    other.test_cfg['flip_test'] = flip_test
    other.test_cfg['output_heatmaps'] = not case.whole_images
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, weights = Path(folder) / 'exported.pth', Path(folder) / 'converted.safetensors'
        export_mmpose_checkpoint(model, source, checkpoint)
        content = torch.load(checkpoint, weights_only=True)
        other.load_state_dict(content['state_dict'], strict=True)
        other.dataset_meta = content['meta']['dataset_meta']
        convert_checkpoint(checkpoint, cfg, weights)
        return other, Predictor(match_weights(cfg, weights), weights, device='cpu', flip_test=flip_test)


def predict_with_mmpose(model: Any, file: str, boxes: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Keypoints (N, K, 2), their scores (N, K) and the fields of the instances of one image."""
    results = inference_bottomup(model, file) if boxes is None else inference_topdown(model, file, boxes)
    instances = [result.pred_instances for result in results]
    if boxes is None:
        instances = [select_inside(each, file) for each in instances]
    if not instances:
        return np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0)
    fields = [result.pred_fields.heatmaps.numpy() for result in results if 'pred_fields' in result]
    keypoints = np.concatenate([np.asarray(i.keypoints) for i in instances])
    scores = np.concatenate([np.asarray(i.keypoint_scores) for i in instances])
    return keypoints, scores, np.stack(fields) if fields else np.zeros(0)


def select_inside(instances: Any, file: str) -> Any:
    """The instances whose boxes touch the image, if they have boxes: those in the padding are dropped here alone."""
    if 'bboxes' not in instances:
        return instances
    height, width = cv2.imread(file).shape[:2]
    low, high = np.split(np.asarray(instances.bboxes), 2, axis=1)
    return instances[((low < (width, height)) & (high > 0)).all(axis=1)]


def match_instances(keypoints: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of instances of both sides, the nearest first."""
    distances = np.abs(keypoints[:, None] - others[None]).max(axis=-1)
    costs = np.median(distances, axis=-1)
    pairs = []
    while costs.size and np.isfinite(costs).any():
        i, j = np.unravel_index(costs.argmin(), costs.shape)
        pairs.append((int(i), int(j)))
        costs[i], costs[:, j] = np.inf, np.inf
    return pairs


def is_rounding(model: Any, fields: np.ndarray, index: int, box: np.ndarray, distance: float) -> bool:
    """Whether a distance in px follows from a rounding of the fields (K, H, W): a tie, or a step over a flat peak."""
    if measure_tie(fields[index]) <= MAX_TIE:
        return True
    if 'Heatmap' not in type(model.head.decoder).__name__:
        return False
    px_per_input_px = 1.25 * float((box[2:] - box[:2]).max()) / min(model.head.decoder.input_size)
    return distance <= 2 * px_per_input_px * measure_sensitivity(model, fields, index)


def measure_sensitivity(model: Any, fields: np.ndarray, index: int) -> float:
    """How far MMPose's own read-out moves a keypoint, in px of the input, if its fields differ by rounding.

    Where a heatmap is nearly flat at its peak, the steps of DARK and UDP divide by a curvature near 0.
    """
    rng, decoder = np.random.default_rng(0), model.head.decoder
    position = decoder.decode(fields.copy())[0][0, index]
    draws = (rng.uniform(-FIELD_DIFFERENCE, FIELD_DIFFERENCE, fields.shape) for _ in range(NUM_DRAWS))
    moved = [decoder.decode((fields + noise).astype(np.float32))[0][0, index] for noise in draws]
    return float(np.abs(np.array(moved) - position).max())


def measure_tie(heatmap: np.ndarray) -> float:
    """The relative difference of the two largest values of a field (H, W)."""
    second, first = np.sort(heatmap.ravel())[-2:]
    return float((first - second) / max(abs(first), 1e-12))


def compare_case(name: str, images: Sequence[tuple[str, np.ndarray]], args: argparse.Namespace) -> None:
    """Print a row per flip test: the largest differences of keypoints and scores, and what explains them."""
    case = CASES[name]
    for flip_test in args.flip:
        model, predictor = build_pair(case, args.weights, flip_test)
        distances, differences, unmatched, outliers = [], [], 0, []
        for file, boxes in images:
            expected, expected_scores, fields = predict_with_mmpose(model, file, None if case.whole_images else boxes)
            result = predictor([file], None if case.whole_images else [boxes], box_format='xyxy')[0]
            keypoints, scores = np.asarray(result.keypoints), np.asarray(result.keypoint_scores)
            same = list(zip(range(len(boxes)), range(len(boxes)), strict=True))
            pairs = match_instances(keypoints, expected) if case.whole_images else same
            unmatched += abs(len(keypoints) - len(expected))
            for i, j in pairs:
                distance = np.abs(keypoints[i] - expected[j]).max(axis=-1)
                distances.append(distance)
                differences.append(np.abs(scores[i] - expected_scores[j]))
                for k in map(int, np.flatnonzero(distance > MAX_DISTANCE_PX)):
                    rounding = fields.size and is_rounding(model, fields[j], k, boxes[j], distance[k])
                    where = f'{Path(file).stem} {i} {k}: {distance[k]:.3g} px'
                    outliers.append((rounding, f'{where}, score {expected_scores[j][k]:.3g}, {scores[i][k]:.3g}'))
        report(name, flip_test, distances, differences, unmatched, outliers)


def report(name: str, flip_test: bool, distances: Any, differences: Any, unmatched: int, outliers: Any) -> None:
    """Print a row, and below it the outliers that rounding does not explain."""
    distance, difference = np.concatenate(distances), np.concatenate(differences)
    explained = sum(bool(rounding) for rounding, _ in outliers)
    cells = [
        f'`{name}`',
        'yes' if flip_test else 'no',
        f'{len(distances)} ({unmatched} unmatched)',
        f'{distance.max():.1e}',
        f'{len(outliers)} of {distance.size}, {explained} by rounding',
        f'{difference.max():.1e}',
    ]
    print(f'| {" | ".join(cells)} |', flush=True)
    for rounding, line in outliers:
        if not rounding:
            print(f'  {line}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data_root', type=Path, help="COCO's folder")
    parser.add_argument('weights', type=Path)
    parser.add_argument('names', nargs='*', default=[], metavar='NAME', help=f'models: {", ".join(CASES)}')
    parser.add_argument('--num-images', type=int, default=50)
    parser.add_argument('--only', nargs='+', metavar='ID', help='of the images, those whose names end in an ID')
    parser.add_argument('--flip', nargs='+', type=lambda text: text == 'yes', default=[False, True], metavar='yes|no')
    args = parser.parse_args()
    args.weights = args.weights.resolve()
    images = list_test_images(args.data_root.resolve(), args.num_images)
    if args.only:
        images = [image for image in images if Path(image[0]).stem.endswith(tuple(args.only))]
    torch.set_num_threads(1)
    os.chdir(get_config_file('..'))  # MMPose's configs name files relative to the present folder
    for name in args.names or CASES:
        compare_case(name, images, args)


if __name__ == '__main__':
    main()
