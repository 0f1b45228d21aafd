"""Write a model as one ONNX file.

poseplug export CONFIG CHECKPOINT --out model.onnx
From the bytes of letterboxed pictures to people, with suppression and decoding inside; see docs/export.md. What ONNX
Runtime and OpenVINO find with it is compared with PyTorch where they are installed.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from poseplug.cli import add_options


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from poseplug.build import build_model
    from poseplug.config import load_config
    from poseplug.engine.checkpoint import load_weights
    from poseplug.inference.export import export_onnx
    from poseplug.inference.exported import Exported, differences

    model: Any = build_model(load_config(args.config, args.cfg_options)).eval()
    load_weights(model, args.checkpoint)
    file = export_onnx(model, args.out)
    print(f'{file}: {file.stat().st_size / 2**20:.1f} MiB')
    width, height = model.codec.input_size
    images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    for runtime in ('onnxruntime', 'openvino'):
        if find_spec(runtime) is None:
            print(f'{runtime}: not installed, not compared')
            continue
        away = differences(model, Exported(file, runtime), images)
        print(f'{runtime}, pictures of noise: differs by {", ".join(f"{n} {v:.1e}" for n, v in away.items())}')


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path, help='a checkpoint of that model, or a work_dir')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.onnx')
    add_options(parser)
