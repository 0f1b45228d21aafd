"""Exported models under ONNX Runtime or OpenVINO, without torch."""

from __future__ import annotations

__all__ = [
    'METADATA_KEY',
    'OUTPUT_NAMES',
    'SIGMAS_NAME',
    'ExportedModel',
    'Runtime',
    'import_export_package',
    'read_settings_skeleton',
]

import json
import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseplug.core.errors import CheckpointError, ConfigError, ImageError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.deploy.output_decoding import build_empty_poses, decode_outputs
from poseplug.deploy.published_layouts import (
    PublishedLayout,
    decode_published_outputs,
    find_published_layout,
    normalize_images,
)
from poseplug.files.onnx_file import read_graph_info
from poseplug.files.onnx_session import create_onnx_session
from poseplug.registry.skeletons import get_skeleton

Runtime = Literal['onnxruntime', 'openvino']

METADATA_KEY = 'poseplug'  # of the settings in the metadata of a file
_PEAK_NAMES = ('peak_indices', 'peak_values', 'peak_scores', 'peak_cells')
OUTPUT_NAMES = {  # of each kind of model
    'top_down': ('keypoints', 'keypoint_scores', 'instance_scores'),
    'one_stage': ('image_indices', 'instance_scores', 'boxes', 'keypoints', 'keypoint_scores'),
    'paf': ('heatmap', 'paf', *_PEAK_NAMES),
    'tags': ('heatmap', 'tags', *_PEAK_NAMES, 'peak_tags'),
}


SIGMAS_NAME = 'keypoint_sigmas_px'  # an output of models that know how uncertain their keypoints are


class ExportedModel:
    """A file of poseplug export, or of RTMPose, RTMO or ViTPose as these are published, run on the CPU.

    Args:
        file: the ONNX file, or an .xml file of OpenVINO.
        runtime: 'onnxruntime' or 'openvino'.
        threads: number of threads; None leaves it to the runtime.
        profile: record how long each operator takes; see `operator_seconds`.
        layout: what an ONNX file of RTMPose, RTMO or ViTPose in MMDeploy's layout does not say; None for the defaults.

    Attributes:
        settings: metadata of the file: `kind`, `keypoint_names`, `input_size` (width, height), `crop`, the codec's
            settings and where the weights come from.
        skeleton: names and order of the keypoints.

    Raises:
        ConfigError: the runtime is another one, is not installed, or is OpenVINO for a file of 8 bits.
        CheckpointError: the file is missing or was not written by poseplug export.

    Example:
        >>> model = ExportedModel('rtmo_s.onnx', 'openvino')  # doctest: +SKIP
        >>> poses = model(np.zeros((1, 640, 640, 3), np.uint8))  # doctest: +SKIP
    """

    def __init__(
        self,
        file: str | Path,
        runtime: Runtime = 'onnxruntime',
        threads: int | None = None,
        profile: bool = False,
        layout: PublishedLayout | None = None,
    ):
        if runtime not in ('onnxruntime', 'openvino'):
            raise ConfigError(f"runtime is 'onnxruntime' or 'openvino'; got {runtime!r}")
        if not Path(file).is_file():
            raise CheckpointError(f'{file}: no such file; write it with poseplug export')
        session_class: Any = _OnnxRuntimeSession if runtime == 'onnxruntime' else _OpenVinoSession
        # before the session, so that a missing package is not reported as a damaged file
        import_export_package(runtime)
        try:
            self.runtime_session = session_class(str(file), threads, profile)
            self.settings = _read_settings(Path(file), self.runtime_session.read_metadata(), layout)
            self.output_names = tuple(self.settings.get('output_names') or OUTPUT_NAMES[self.settings['kind']])
        except ConfigError:
            raise
        except Exception as error:  # each runtime raises exceptions of its own
            reason = f'{type(error).__name__}: {str(error).splitlines()[0]}'
            raise CheckpointError(
                f'{file}: {runtime} cannot use it as a file of poseplug export ({reason}); write it again'
            ) from error
        if runtime == 'openvino' and self.settings.get('precision') == 'int8':
            raise ConfigError(
                f'{file}: OpenVINO computes other keypoints from 8-bit files than ONNX Runtime (docs/lab/export.md); '
                f'run it by onnxruntime, or export it for OpenVINO without --int8'
            )
        self.skeleton = read_settings_skeleton(self.settings)
        self.file_name = Path(file).name

    @property
    def finds_instances(self) -> bool:
        """Whether it predicts all instances of an image, or one that is already located."""
        return self.settings['kind'] not in ('top_down', 'simcc', 'heatmaps')

    def __call__(self, images: np.ndarray) -> Poses:
        """Predict the instances of a batch of images.

        Args:
            images: (B, H, W, 3) uint8, or float32 from 0 to 255; BGR, cropped or letterboxed to the model's input size.

        Returns:
            The instances of all images, in px of the input; `image_indices` says which image each belongs to.

        Raises:
            ImageError: the array has another type or shape.
            CheckpointError: the network predicts numbers that are not finite.
        """
        self._check_images(images)
        # an empty batch reaches no runtime, which may refuse it
        if not len(images):
            return build_empty_poses(len(self.skeleton))
        if 'input_name' in self.settings:
            return decode_published_outputs(self._check_finite(self._run_published(images)), self.settings)
        # files for float32 take uint8 images, too
        if self.settings.get('input_type', 'uint8') != images.dtype.name:
            images = images.astype(np.float32)
        outputs = self.runtime_session.run(images, self.output_names)
        return decode_outputs(self._check_finite(outputs), self.settings, self.skeleton)

    def _check_finite(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs, which decoders would read keypoints from, or no instance, if they were NaN."""
        # an uncertainty may be without limit
        values = [array for name, array in outputs.items() if name != SIGMAS_NAME]
        # false for NaN, too; -inf stands behind the last peak of a field
        if all((array < np.inf).all() for array in values):
            return outputs
        raise CheckpointError(
            f'{self.file_name} predicts numbers that are not finite; its weights are damaged, or exceed the range of '
            f'their precision. Export it anew, without --half'
        )

    def _run_published(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of a published file; one for a fixed number of images is run for that number at once."""
        inputs, name = normalize_images(images, self.settings), self.settings['input_name']
        size = self.settings['fixed_batch'] or len(inputs)
        parts = []
        for first in range(0, len(inputs), size):
            part = inputs[first : first + size]
            padded = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), np.float32)])
            outputs = self.runtime_session.run(padded, self.output_names, name)
            parts.append({key: values[: len(part)] for key, values in outputs.items()})
        return {key: np.concatenate([part[key] for part in parts]) for key in self.output_names}

    def _check_images(self, images: Any) -> None:
        """Raise unless the images have the type and the size of the input."""
        width, height = self.settings['input_size']
        if not isinstance(images, np.ndarray):
            raise ImageError(
                f'the exported model takes an array (B, {height}, {width}, 3); got a {type(images).__name__}'
            )
        input_type = self.settings.get('input_type', 'uint8')
        has_type = images.dtype == np.uint8 or (input_type == 'float32' and images.dtype == np.float32)
        has_shape = images.ndim == 4 and images.shape[3] == 3
        has_size = self.settings.get('dynamic_size', False) or images.shape[1:3] == (height, width)
        if not (has_type and has_shape and has_size):
            raise ImageError(
                f'the exported model takes {input_type} of (B, {height}, {width}, 3), letterboxed; got {images.dtype} '
                f'of {images.shape}'
            )

    def operator_seconds(self) -> dict[str, float]:
        """Return the seconds spent by kind of operator, of a model that was loaded with `profile`."""
        seconds: dict[str, float] = self.runtime_session.operator_seconds()
        return seconds


def _read_settings(file: Path, metadata: str | None, layout: PublishedLayout | None) -> dict[str, Any]:
    """The settings in the metadata of a file, or those of the published layout that it has."""
    if metadata is not None:
        # files of format 1 do not state their kind: all were one-stage
        return {'kind': 'one_stage', **json.loads(metadata)}
    settings = find_published_layout(read_graph_info(file.read_bytes()), layout)
    if settings is None:
        raise ValueError('it has no metadata of poseplug, and other outputs than RTMPose, RTMO and ViTPose')
    return settings


def read_settings_skeleton(settings: Mapping[str, Any]) -> Skeleton:
    """Return the skeleton that a file describes; older files have the names of the keypoints alone."""
    names = tuple(settings['keypoint_names'])
    return get_skeleton(settings.get('skeleton') or {'name': 'exported', 'keypoints': names})


class _OnnxRuntimeSession:
    """A session of ONNX Runtime on the CPU; any number of threads may run it."""

    def __init__(self, file: str, threads: int | None, profile: bool):
        runtime = import_export_package('onnxruntime')
        self.session = create_onnx_session(runtime, file, threads, profile)

    def read_metadata(self) -> str | None:
        metadata: str | None = self.session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        return metadata

    def run(self, images: np.ndarray, names: tuple[str, ...], input_name: str = 'images') -> dict[str, np.ndarray]:
        return dict(zip(names, self.session.run(list(names), {input_name: images}), strict=True))

    def operator_seconds(self) -> dict[str, float]:
        file = Path(self.session.end_profiling())
        events, seconds = json.loads(file.read_text()), dict[str, float]()
        file.unlink()
        for event in events:
            # durations are in microseconds
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
        try:
            self.metadata = network.get_rt_info(['framework', METADATA_KEY]).astype(str)
        except RuntimeError:  # there is none
            self.metadata = None
        self.seconds_by_operator: dict[str, float] = {}
        self.profile = profile

    def read_metadata(self) -> str | None:
        metadata: str | None = self.metadata
        return metadata

    def run(self, images: np.ndarray, names: tuple[str, ...], input_name: str = 'images') -> dict[str, np.ndarray]:
        # A request is busy until it has its result: threads that shared one would be refused.
        request = getattr(self.thread_data, 'request', None)
        if request is None:
            request = self.thread_data.request = self.compiled_model.create_infer_request()
        outputs = request.infer({input_name: images})
        for node in request.profiling_info if self.profile else ():
            seconds, kind = node.real_time.total_seconds(), node.node_type
            self.seconds_by_operator[kind] = self.seconds_by_operator.get(kind, 0.0) + seconds
        # copies, since the next run of the request overwrites its outputs
        return {name: np.array(outputs[name]) for name in names}

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
