"""Export a model to one ONNX file.

poseplug export CONFIG CHECKPOINT --out model.onnx
From the bytes of letterboxed images to instances, with decoding and non-maximum suppression; see docs/howto/export.md.
The outputs of ONNX Runtime and OpenVINO, where installed, are compared with those of PyTorch.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from poseplug.cli.options import add_config_options, add_weights_options


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from poseplug.config.build import build_model
    from poseplug.config.load import load_config
    from poseplug.config.matching import match_weights
    from poseplug.deploy.export import export_onnx, max_output_differences
    from poseplug.deploy.runtime import ExportedModel
    from poseplug.files.weights import load_weights

    cfg = match_weights(load_config(args.config, args.cfg_options), args.checkpoint)
    model: Any = build_model(cfg).eval()
    load_weights(model, args.checkpoint, args.weight_kind, args.map_keypoints)
    file = export_onnx(model, args.out)
    print(f'{file}: {file.stat().st_size / 2**20:.1f} MiB')
    width, height = model.codec.input_size
    images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    for runtime in ('onnxruntime', 'openvino'):
        if find_spec(runtime) is None:
            print(f'{runtime}: not installed, not compared')
            continue
        differences = max_output_differences(model, ExportedModel(file, runtime), images)
        listed = ', '.join(f'{name} {value:.1e}' for name, value in differences.items())
        print(f'{runtime}, images of noise: differs by {listed}')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path, help='a checkpoint of that model, or a work dir')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.onnx', help='the file to write')
    add_weights_options(parser)
    add_config_options(parser)
