"""Export a model of every family and write how far the files are from the models, as docs/lab/export_parity.md.

python tools/lab/export_parity.py --images IMAGES... [--families NAME...] [--out FILE]
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from poseplug.config.load import load_config
from poseplug.deploy.checked_export import remove_views
from poseplug.deploy.export import export_model
from poseplug.deploy.export_settings import ExportOptions, collect_crop_settings
from poseplug.deploy.parity import ParityReport, compare_results
from poseplug.deploy.runtime import ExportedPredictor
from poseplug.predict.input_samples import get_test_pipeline
from poseplug.predict.model_loading import load_model, resolve_model
from poseplug.predict.predictor import Predictor

PAGE = Path(__file__).parents[2] / 'docs/lab/export_parity.md'
BATCH_SIZES = (1, 8)
SMALL = {'model.backbone': dict(type='Hourglass', num_stacks=1, channels=32), 'model.head': dict(type='HeatmapHead')}
BASELINE = 'configs/simple_baseline/simple_baseline_r50_coco_128x96.py'
# Name of the family: the config and its changes; None for the installed model with its trained weights.
FAMILIES: dict[str, tuple[str | None, dict[str, Any]]] = {
    'CPM lite (trained), CPMHeatmap': (None, {}),
    'ViTPose-S, UDPHeatmap': ('configs/vitpose/vitpose_s_coco_256x192.py', {}),
    'RTMPose-t, SimCC': ('configs/rtmpose/rtmpose_t_coco_256x192.py', {}),
    'R50, RLERegression': ('configs/regression/rle_r50_coco_256x192.py', {}),
    'R50, Integral': ('configs/regression/integral_r50_coco_256x192.py', {}),
    'RTMO, DenseInstances': (
        'configs/rtmo/rtmo_tiny_synthetic_256.py',
        {'model.codec.score_threshold': 0.0, 'model.codec.max_instances': 20_000},
    ),
    'Hourglass, PAF': (
        'configs/openpose/openpose_tiny_synthetic_256.py',
        {'model.codec.parser': dict(preset='complete', peak_threshold=0.3), 'model.backbone.channels': 32},
    ),
    'Hourglass, Tags': (
        'configs/associative_embedding/ae_hourglass4_coco_512.py',
        {
            'model.codec.input_size': (256, 256),
            'model.codec.keypoint_threshold': 0.3,
            'model.backbone': dict(type='HourglassStem', channels=32, mid_channels=32),
            'model.head.num_stacks': 1,
        },
    ),
    'Hourglass, MSRAHeatmap (quarter)': (BASELINE, SMALL),
    'Hourglass, DARKHeatmap': (BASELINE, {**SMALL, 'model.codec.type': 'DARKHeatmap'}),
    'Hourglass, Heatmap (second peak)': (BASELINE, {**SMALL, 'model.codec.refine': 'second_peak'}),
    'Hourglass, Heatmap (taylor)': (BASELINE, {**SMALL, 'model.codec.refine': 'taylor'}),
    'Hourglass, UDPCombined': (
        BASELINE,
        {**SMALL, 'model.codec': dict(_delete_=True, type='UDPCombined', input_size=(96, 128)), 'model.loss': None},
    ),
    'R50, Regression': ('configs/regression/regression_r50_coco_256x192.py', {}),
    'HRNet-W32, MSRAHeatmap (quarter)': ('configs/hrnet/hrnet_w32_coco_128x96.py', {}),
    'CPN-R50, CPNHeatmap (second peak)': ('configs/cpn/cpn_r50_coco_256x192.py', {}),
}
HEADER = """# Export parity

Written by `python tools/lab/export_parity.py --images IMAGES...`: the largest differences of the keypoints in px of the
image, and of the scores, between PyTorch and the exported ONNX file under ONNX Runtime, on {num_images} photographs,
each a whole. All keypoints count, whatever they score. Where nothing else is said the weights are random, so that
heatmaps have many peaks of nearly one height: a rounding error can move a keypoint from one to another. Where the
largest differences come from is [traced](export.md#where-the-largest-differences-come-from).
| family | flip | px, batch 1 | px, batch 8 | score, batch 1 | score, batch 8 | keypoints |
|---|---|---|---|---|---|---|
"""


def draw_weights(config: str, options: dict[str, Any], folder: Path) -> tuple[Any, Path]:
    """A config and a file of random weights for it, whose batch norms have seen noise."""
    from poseplug.config.build import build_model

    torch.manual_seed(0)
    cfg = load_config(config, options)
    model: Any = build_model(cfg)
    width, height = model.codec.input_size
    # In training mode, so that batch norms measure what the layers before them compute.
    model.network.train()
    with torch.no_grad():
        # Predictions start near 0: as they are, all heatmaps would be flat and all peaks accidental.
        for layer in model.network.head.modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
                nn.init.normal_(layer.weight, std=layer.in_channels**-0.5)
        for output in getattr(model.network.head, 'poses', {'raw': ()})['raw']:
            output.weight.mul_(0.1)  # boxes of the input's size, not exponentials of large numbers
        for _ in range(3):
            model.network(torch.randint(0, 256, (4, height, width, 3), dtype=torch.uint8))
    file = folder / 'weights.pth'
    torch.save({'state_dict': model.state_dict()}, file)
    return cfg, file


def measure_family(name: str, flip: bool, images: list[Path], folder: Path) -> dict[int, ParityReport]:
    """The differences by batch size."""
    config, options = FAMILIES[name]
    source, weights = (None, None) if config is None else draw_weights(config, options, folder)
    cfg, weights, _ = resolve_model(source, weights)
    # The exported file reads one view; so does the model that it is compared with.
    cfg = remove_views(cfg)
    model = load_model(cfg, weights, 'cpu')
    crop = collect_crop_settings(model, get_test_pipeline(cfg))
    file = export_model(model, folder / 'model.onnx', 'onnx', ExportOptions(flip_test=flip, crop=crop))
    predictor = Predictor(cfg, weights, 'cpu')
    predictor.model.augmentation.flip_test = flip
    expected, exported = predictor(images, batch_size=8), ExportedPredictor(file)
    # A whole image of a model that finds instances counts as 8 instances.
    scale = 8 if predictor.model.finds_instances else 1
    return {size: compare_results(expected, exported(images, batch_size=scale * size), 0.0) for size in BATCH_SIZES}


def format_row(name: str, flip: bool, reports: dict[int, ParityReport]) -> str:
    """One row of the table."""
    distances = [f'{reports[size].quantile_px(1.0):.1e}' for size in BATCH_SIZES]
    scores = [f'{reports[size].max_score_difference:.1e}' for size in BATCH_SIZES]
    unmatched = max(report.unmatched for report in reports.values())
    count = str(len(reports[1].distances_px)) + (f' ({unmatched} instances unmatched)' if unmatched else '')
    return f'| {" | ".join([name, "on" if flip else "off", *distances, *scores, count])} |'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', nargs='+', type=Path, required=True, help='photographs')
    parser.add_argument('--families', nargs='+', choices=FAMILIES, default=list(FAMILIES), help='default: all')
    parser.add_argument('--out', type=Path, default=PAGE, help='the page to write')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    rows = []
    for name in args.families:
        for flip in (False, True):
            # One-stage models have no flip test.
            if flip and 'DenseInstances' in name:
                continue
            with tempfile.TemporaryDirectory() as folder:
                row = format_row(name, flip, measure_family(name, flip, args.images, Path(folder)))
            print(row, flush=True)
            rows.append(row)
            # After every row: a run takes long, and what is measured shall not be lost.
            args.out.write_text(HEADER.format(num_images=len(args.images)) + '\n'.join(rows) + '\n')


if __name__ == '__main__':
    main()
