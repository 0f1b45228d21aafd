"""Measure how long networks take under every runtime and precision, and print the rows of docs/lab/export.md.

python tools/lab/network_table.py --images IMAGES... [--models NAME...] [--batch B] [--turns N]
Each line is a model, from the bytes of its input to keypoints. The runtimes take turns, with one thread each; the best
turn counts, by processor time. Weights are random where none are installed; the images calibrate 8 bits.
"""

from __future__ import annotations

import argparse
import functools
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from export_parity import draw_weights  # of this folder

from poseplug.core.processors import has_bfloat16_instructions
from poseplug.deploy.checked_export import remove_views
from poseplug.deploy.export import export_model
from poseplug.deploy.export_settings import ExportOptions, collect_crop_settings
from poseplug.deploy.exported_model import ExportedModel
from poseplug.deploy.quantization import quantize_file
from poseplug.deploy.runtime import ExportedPredictor
from poseplug.models.layers.batch_norm_folding import fold_batch_norms
from poseplug.predict.input_samples import get_test_pipeline
from poseplug.predict.model_loading import load_model, resolve_model

COLUMNS = ('torch fp32', 'torch bf16', 'ONNX Runtime fp32', 'ONNX Runtime int8', 'OpenVINO fp32')
MODELS: dict[str, str] = {  # the config of each, or the name of an installed model with its trained weights
    'CPM EfficientNet-Lite0': 'cpm_efficientnet_lsp',
    'CPM lite': 'cpm_lsp_lite',
    'HRNet-W32 256x192': 'configs/hrnet/hrnet_w32_coco_256x192.py',
    'ViTPose-S 256x192': 'configs/vitpose/vitpose_s_coco_256x192.py',
    'RTMPose-s 256x192': 'configs/rtmpose/rtmpose_s_coco_256x192.py',
    'RTMPose-m 256x192': 'configs/rtmpose/rtmpose_m_coco_256x192.py',
    'RTMO-s 640': 'configs/rtmo/rtmo_s_coco_640.py',
}


def create_calls(name: str, images: list[Path], batch_size: int, folder: Path) -> dict[str, Callable[[], Any]]:
    """What is measured of a model, by column: each predicts one batch."""
    config = MODELS[name]
    source, weights = draw_weights(config, {}, folder) if config.endswith('.py') else (config, None)
    cfg, weights, _ = resolve_model(source, weights)
    cfg = remove_views(cfg)
    model = load_model(cfg, weights, 'cpu')
    crop = collect_crop_settings(model, get_test_pipeline(cfg))
    file = export_model(model, folder / 'model.onnx', 'onnx', ExportOptions(crop=crop))
    batches = list(ExportedPredictor(file).stream_inputs(images))
    quantized = folder / 'model_int8.onnx'
    quantize_file(file, quantized, batches, [])
    inputs = np.resize(np.concatenate(batches), (batch_size, *batches[0].shape[1:]))
    calls: dict[str, Callable[[], Any]] = {}
    fold_batch_norms(model)
    model.network.set_memory_format(torch.channels_last)
    calls['torch fp32'] = functools.partial(run_torch, model, torch.from_numpy(inputs), None)
    if has_bfloat16_instructions():  # emulated, it is slower than single precision
        calls['torch bf16'] = functools.partial(run_torch, model, torch.from_numpy(inputs), torch.bfloat16)
    for column, path, runtime in (
        ('ONNX Runtime fp32', file, 'onnxruntime'),
        ('ONNX Runtime int8', quantized, 'onnxruntime'),
        ('OpenVINO fp32', file, 'openvino'),
    ):
        if find_spec(runtime) is not None:
            calls[column] = functools.partial(ExportedModel(path, runtime, threads=1), inputs)  # type: ignore[arg-type]
    return calls


@torch.inference_mode()
def run_torch(model: Any, inputs: torch.Tensor, dtype: torch.dtype | None) -> Any:
    """Predict the instances of a batch by torch, in px of the input."""
    model.network.set_compute_dtype(dtype)
    fields = model.network(inputs)[-1]
    if hasattr(model.postprocess, 'decode_to_input'):  # one-stage
        return model.postprocess.decode_to_input(fields)
    return model.codec.decode(fields)


def measure_model(name: str, images: list[Path], batch_size: int, turns: int) -> dict[str, float]:
    """The milliseconds of processor time an image, by column."""
    with tempfile.TemporaryDirectory() as folder:
        calls = create_calls(name, images, batch_size, Path(folder))
        times: dict[str, list[float]] = {column: [] for column in calls}
        for _ in range(turns + 1):  # the first turn does not count
            for column, call in calls.items():
                start = time.process_time()
                call()
                times[column].append(1e3 * (time.process_time() - start) / batch_size)
    return {column: min(values[1:]) for column, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', nargs='+', type=Path, required=True, help='photographs, some dozens')
    parser.add_argument('--models', nargs='+', choices=MODELS, default=list(MODELS), help='default: all')
    parser.add_argument('--batch', type=int, default=8, help='images at once; a quarter of it for RTMO')
    parser.add_argument('--turns', type=int, default=5, help='of every column')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    print(f'| model | {" | ".join(COLUMNS)} |\n|---|{"---|" * len(COLUMNS)}')
    for name in args.models:
        batch_size = args.batch // 4 if name.startswith('RTMO') else args.batch
        values = measure_model(name, args.images, batch_size, args.turns)
        cells = [f'{values[column]:.1f}' if column in values else '-' for column in COLUMNS]
        print(f'| {name} | {" | ".join(cells)} |', flush=True)


if __name__ == '__main__':
    main()
