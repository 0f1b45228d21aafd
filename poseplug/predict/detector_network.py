"""The network of a detector: an ONNX file run on the CPU by ONNX Runtime, or by OpenCV where that is not installed."""

from __future__ import annotations

__all__ = ['DETECTOR_RUNTIMES', 'DetectorNetwork', 'first_error_line']

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np

from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.files.onnx_file import OnnxGraphInfo, read_graph_info
from poseplug.files.onnx_session import create_onnx_session

DetectorRuntime = Literal['onnxruntime', 'opencv']
DETECTOR_RUNTIMES: tuple[str, ...] = get_args(DetectorRuntime)
_RUNTIME_TITLES = {'onnxruntime': 'ONNX Runtime', 'opencv': 'OpenCV'}


class DetectorNetwork:
    """An ONNX file, loaded to be run on the CPU.

    Args:
        file: the ONNX file.
        runtime: 'onnxruntime' or 'opencv'; None takes ONNX Runtime if it is installed.

    Attributes:
        info: the file's inputs, outputs and metadata.
        runtime: what runs the file.

    Raises:
        CheckpointError: the file is missing, or is no ONNX file that the runtime can load.
        ConfigError: the runtime is unknown or not installed.
    """

    def __init__(self, file: Path, runtime: DetectorRuntime | None = None):
        self.file = file
        if runtime is not None and runtime not in DETECTOR_RUNTIMES:
            raise ConfigError(f'the runtime of a detector is one of {", ".join(DETECTOR_RUNTIMES)}; got {runtime!r}')
        self._onnxruntime = _import_onnxruntime(is_required=runtime == 'onnxruntime') if runtime != 'opencv' else None
        self.runtime: str = 'opencv' if self._onnxruntime is None else 'onnxruntime'
        self.info = self._read_info()
        try:
            self._session = self._load_network()
        except Exception as error:  # each runtime raises exceptions of its own
            raise CheckpointError(
                f'{file} is no ONNX file that {_RUNTIME_TITLES[self.runtime]} reads ({first_error_line(error)}); '
                f'download or export it again'
            ) from None

    def _read_info(self) -> OnnxGraphInfo:
        """Read what the file says about itself."""
        try:
            return read_graph_info(self.file.read_bytes())
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(f'{self.file}: {reason}; name the ONNX file of a detector') from None
        except ValueError as error:
            raise CheckpointError(f'{self.file} is no ONNX file ({error}); download or export it again') from None

    def _load_network(self) -> Any:
        if self._onnxruntime is not None:
            return create_onnx_session(self._onnxruntime, self.file)
        return cv2.dnn.readNetFromONNX(np.frombuffer(self.file.read_bytes(), np.uint8))

    @property
    def description(self) -> str:
        """A phrase that says what runs the file, and why."""
        if self._onnxruntime is not None:
            return 'run by ONNX Runtime'
        return 'run by OpenCV' if _has_onnxruntime() else "run by OpenCV (faster: pip install 'poseplug[onnx]')"

    def run_session(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the network.

        Args:
            inputs: arrays by the names of the inputs.

        Returns:
            The outputs by name, in the file's order.

        Raises:
            CheckpointError: the runtime cannot run the file.
        """
        try:
            return self._run_onnxruntime(inputs) if self._onnxruntime is not None else self._run_opencv(inputs)
        except Exception as error:  # each runtime raises exceptions of its own
            raise CheckpointError(
                f'{_RUNTIME_TITLES[self.runtime]} cannot run it: {first_error_line(error)}; export it with other '
                f'operators, or for inputs of another size'
            ) from None

    def _run_onnxruntime(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in self.info.outputs]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))

    def _run_opencv(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, array in inputs.items():
            self._session.setInput(array, name)
        names = self._session.getUnconnectedOutLayersNames()
        outputs = dict(zip(names, self._session.forward(names), strict=True))
        # families read outputs by position, and OpenCV has an order of its own
        order = [output.name for output in self.info.outputs]
        return {name: outputs[name] for name in order} if outputs.keys() == set(order) else outputs


def _import_onnxruntime(is_required: bool) -> Any:
    """The module onnxruntime, or None if it is not installed and not required."""
    try:
        return import_module('onnxruntime')
    except ImportError as error:
        if is_required:
            raise ConfigError(
                f"this needs the package onnxruntime, which cannot be imported ({error}); pip install 'poseplug[onnx]'"
            ) from None
        return None


def _has_onnxruntime() -> bool:
    return _import_onnxruntime(is_required=False) is not None


def first_error_line(error: Exception) -> str:
    """Return the first line of an error, without what precedes the message in OpenCV's and ONNX Runtime's."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rpartition('error: ')[2].removeprefix('[ONNXRuntimeError] : ')
