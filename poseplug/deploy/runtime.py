"""Exported models under ONNX Runtime or OpenVINO, without torch."""

from __future__ import annotations

__all__ = ['OUTPUT_NAMES', 'ExportedModel', 'Runtime', 'import_export_package']

import json
import threading
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseplug.core.errors import CheckpointError, ConfigError, ImageError
from poseplug.core.poses import Poses
from poseplug.files.onnx_session import create_onnx_session

Runtime = Literal['onnxruntime', 'openvino']

OUTPUT_NAMES = ('image_indices', 'instance_scores', 'boxes', 'keypoints', 'keypoint_scores')


class ExportedModel:
    """An ONNX file of poseplug export, run on the CPU.

    Args:
        file: the ONNX file.
        runtime: 'onnxruntime' or 'openvino'.
        threads: number of threads; None leaves it to the runtime.
        profile: record how long each operator takes; see `operator_seconds`.

    Attributes:
        settings: metadata of the file: `keypoint_names`, `input_size` (width, height) and the codec's settings.

    Raises:
        ConfigError: the runtime is another one, or is not installed.
        CheckpointError: the file is missing or was not written by poseplug export.

    Example:
        >>> model = ExportedModel('rtmo_s.onnx', 'openvino')  # doctest: +SKIP
        >>> poses = model(np.zeros((1, 640, 640, 3), np.uint8))  # doctest: +SKIP
    """

    def __init__(
        self, file: str | Path, runtime: Runtime = 'onnxruntime', threads: int | None = None, profile: bool = False
    ):
        if runtime not in ('onnxruntime', 'openvino'):
            raise ConfigError(f"runtime is 'onnxruntime' or 'openvino'; got {runtime!r}")
        if not Path(file).is_file():
            raise CheckpointError(f'{file}: no such file; write it with poseplug export')
        session_class: Any = _OnnxRuntimeSession if runtime == 'onnxruntime' else _OpenVinoSession
        import_export_package(runtime)
        try:
            self.runtime_session = session_class(str(file), threads, profile)
            self.settings = json.loads(self.runtime_session.read_metadata())
        except Exception as error:  # each runtime raises exceptions of its own
            reason = f'{type(error).__name__}: {str(error).splitlines()[0]}'
            raise CheckpointError(
                f'{file}: {runtime} cannot use it as a file of poseplug export ({reason}); write it again'
            ) from error

    def __call__(self, images: np.ndarray) -> Poses:
        """Predict the instances of a batch of images.

        Args:
            images: (B, H, W, 3) uint8, BGR, letterboxed to the model's input size.

        Returns:
            The instances of all images, in px of the input; `image_indices` says which image each belongs to.

        Raises:
            ImageError: the array has another type or shape.
        """
        width, height = self.settings['input_size']
        if not isinstance(images, np.ndarray):
            raise ImageError(
                f'the exported model takes an array (B, {height}, {width}, 3); got a {type(images).__name__}'
            )
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (height, width, 3):
            raise ImageError(
                f'the exported model takes uint8 of (B, {height}, {width}, 3), letterboxed; got {images.dtype} of '
                f'{images.shape}'
            )
        if not len(images):
            return self._build_empty_poses()
        outputs = self.runtime_session.run(images)
        return Poses(
            keypoints=outputs['keypoints'],
            keypoint_scores=outputs['keypoint_scores'],
            instance_scores=outputs['instance_scores'],
            image_indices=outputs['image_indices'],
            boxes=outputs['boxes'],
        )

    def _build_empty_poses(self) -> Poses:
        """The poses of no images."""
        poses = Poses.empty(len(self.settings['keypoint_names']))
        return replace(poses, image_indices=np.zeros(0, np.int64), boxes=np.zeros((0, 4), np.float32))

    def operator_seconds(self) -> dict[str, float]:
        """Return the seconds spent by kind of operator, of a model that was loaded with `profile`."""
        return self.runtime_session.operator_seconds()


class _OnnxRuntimeSession:
    """A session of ONNX Runtime on the CPU."""

    def __init__(self, file: str, threads: int | None, profile: bool):
        runtime = import_export_package('onnxruntime')
        self.session = create_onnx_session(runtime, file, threads, profile)

    def read_metadata(self) -> str:
        return self.session.get_modelmeta().custom_metadata_map['poseplug']

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self.session.run(list(OUTPUT_NAMES), {'images': images})
        return dict(zip(OUTPUT_NAMES, outputs, strict=True))

    def operator_seconds(self) -> dict[str, float]:
        file = Path(self.session.end_profiling())
        events, seconds = json.loads(file.read_text()), dict[str, float]()
        file.unlink()
        for event in events:
            if event.get('cat') == 'Node' and event['name'].endswith('kernel_time'):
                kind = event['args']['op_name']
                seconds[kind] = seconds.get(kind, 0.0) + event['dur'] / 1e6
        return seconds


class _OpenVinoSession:
    """A model that OpenVINO compiled for the CPU, with a request for each thread."""

    def __init__(self, file: str, threads: int | None, profile: bool):
        core = import_export_package('openvino').Core()
        network = core.read_model(file)
        # Single precision, so that results are PyTorch's within rounding.
        options: dict[str, Any] = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': 'f32'}
        options['PERF_COUNT'] = profile
        if threads:
            options['INFERENCE_NUM_THREADS'] = threads
        self.compiled_model = core.compile_model(network, 'CPU', options)
        self.thread_data = threading.local()
        self.metadata = network.get_rt_info(['framework', 'poseplug']).astype(str)
        self.seconds_by_operator: dict[str, float] = {}
        self.profile = profile

    def read_metadata(self) -> str:
        return self.metadata

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        # A request is busy until it has its result: threads that shared one would be refused.
        request = getattr(self.thread_data, 'request', None)
        if request is None:
            request = self.thread_data.request = self.compiled_model.create_infer_request()
        outputs = request.infer({'images': images})
        for node in request.profiling_info if self.profile else ():
            seconds, kind = node.real_time.total_seconds(), node.node_type
            self.seconds_by_operator[kind] = self.seconds_by_operator.get(kind, 0.0) + seconds
        return {name: np.array(outputs[name]) for name in OUTPUT_NAMES}

    def operator_seconds(self) -> dict[str, float]:
        return self.seconds_by_operator


def import_export_package(package: str) -> Any:
    """Import a package of the extra `export`.

    Raises:
        ConfigError: it cannot be imported; the message names the extra.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"this needs the package {package}, which cannot be imported ({error}); pip install 'poseplug[export]'"
        ) from None
