"""Exported files of torch, TorchScript and torch.export, run by torch."""

from __future__ import annotations

__all__ = ['TorchExportedModel', 'open_exported_file']

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poseplug.core.errors import CheckpointError
from poseplug.deploy.exported_model import METADATA_KEY, OUTPUT_NAMES, ExportedModel, read_settings_skeleton


class TorchExportedModel(ExportedModel):
    """A file of `poseplug export --to torchscript` or `torch-export`, run on the CPU.

    Args:
        file: a .pt file of TorchScript, or a .pt2 file of torch.export.

    Raises:
        CheckpointError: the file is missing or was not written by poseplug export.
    """

    def __init__(self, file: str | Path):
        try:
            self.runtime_session: Any = _TorchSession(Path(file))
            self.settings = json.loads(self.runtime_session.metadata)
            self.output_names = tuple(self.settings.get('output_names') or OUTPUT_NAMES[self.settings['kind']])
        except Exception as error:  # torch raises exceptions of many kinds
            reason = f'{type(error).__name__}: {str(error).splitlines()[0]}'
            raise CheckpointError(
                f'{file}: torch cannot use it as a file of poseplug export ({reason}); write it again'
            ) from error
        self.skeleton = read_settings_skeleton(self.settings)
        self.file_name = Path(file).name


class _TorchSession:
    """A loaded file of torch."""

    def __init__(self, file: Path):
        extra_files = {METADATA_KEY: ''}
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch.jit is deprecated
            if file.suffix == '.pt':
                self.module: Any = torch.jit.load(str(file), _extra_files=extra_files)
            else:
                self.module = torch.export.load(file, extra_files=extra_files).module()
        metadata: Any = extra_files[METADATA_KEY]
        self.metadata = metadata.decode() if isinstance(metadata, bytes) else metadata

    @torch.inference_mode()
    def run(self, images: np.ndarray, names: tuple[str, ...], input_name: str = 'images') -> dict[str, np.ndarray]:
        outputs = self.module(torch.from_numpy(images))
        return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}


def open_exported_file(file: Path, target: str, runtime: str) -> ExportedModel:
    """Open a file of `poseplug export`.

    Args:
        file: the file.
        target: as in `export_model`.
        runtime: 'onnxruntime' or 'openvino'; ignored for the files of torch.
    """
    if target in ('torchscript', 'torch-export'):
        return TorchExportedModel(file)
    return ExportedModel(file, runtime)  # type: ignore[arg-type]
