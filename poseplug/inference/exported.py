"""An exported model that runs under ONNX Runtime or OpenVINO."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal

import numpy as np
import torch

from poseplug.errors import CheckpointError, ConfigError, ImageError, MismatchError
from poseplug.inference.export import OUTPUTS, required
from poseplug.poses import Poses

Runtime = Literal['onnxruntime', 'openvino']


class Exported:
    """Batches of letterboxed pictures to people. `settings` are those that the file names: joints, input size, ...

    `threads` None leaves their number to the runtime. `profile` keeps how long each operator took (`costs`).
    """

    def __init__(
        self, file: str | Path, runtime: Runtime = 'onnxruntime', threads: int | None = None, profile: bool = False
    ):
        if runtime not in ('onnxruntime', 'openvino'):
            raise ConfigError(f"runtime is 'onnxruntime' or 'openvino'; got {runtime!r}")
        if not Path(file).is_file():
            raise CheckpointError(f'{file}: no such file; write it with tools/export.py')
        engine: Any = UnderONNXRuntime if runtime == 'onnxruntime' else UnderOpenVINO
        required(runtime)
        try:
            self.engine = engine(str(file), threads, profile)
            self.settings = json.loads(self.engine.told())
        except Exception as error:  # each runtime has kinds of its own
            raise CheckpointError(
                f'{file}: {runtime} cannot use it as a file of tools/export.py ({type(error).__name__}: '
                f'{str(error).splitlines()[0]}); write it again'
            ) from error

    def __call__(self, images: np.ndarray) -> Poses:
        """The people of pictures (B, H, W, 3), BGR bytes of the model's input size; positions are px of the input."""
        width, height = self.settings['input_size']
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (height, width, 3):
            raise ImageError(
                f'the exported model takes uint8 of (B, {height}, {width}, 3), letterboxed; got {images.dtype} of '
                f'{images.shape}'
            )
        found = self.engine.run(images)
        return Poses(
            keypoints=found['keypoints'],
            scores=found['keypoint_scores'],
            person_scores=found['scores'],
            images=found['pictures'],
            boxes=found['boxes'],
        )

    def costs(self) -> dict[str, float]:
        """Seconds by kind of operator since it was loaded with `profile`."""
        return self.engine.costs()


def differences(model: Any, exported: Exported, images: np.ndarray) -> dict[str, float]:
    """The largest difference between an exported model's answer and its estimator's, by output; px of the input.

    Raises:
        MismatchError: they do not find the same number of people in every picture.
    """
    with torch.inference_mode():
        theirs = model.found(model(torch.from_numpy(images))[-1]).numpy()
    ours = exported(images)
    if len(ours) != len(theirs) or (ours.images != theirs.images).any():
        raise MismatchError(
            f'the exported model finds {len(ours)} people and the estimator {len(theirs)}; scores within rounding of '
            f'the threshold ({exported.settings["threshold"]}) can do that: try another picture'
        )
    names = ('keypoints', 'scores', 'person_scores', 'boxes')
    return {n: float(np.abs(getattr(ours, n) - getattr(theirs, n)).max(initial=0)) for n in names}


class UnderONNXRuntime:
    """A session on the CPU."""

    def __init__(self, file: str, threads: int | None, profile: bool):
        runtime = required('onnxruntime')
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.enable_profiling = threads or 0, profile
        options.log_severity_level = 3
        options.profile_file_prefix = str(Path(gettempdir()) / 'poseplug')
        self.session = runtime.InferenceSession(file, options, providers=['CPUExecutionProvider'])

    def told(self) -> str:
        return self.session.get_modelmeta().custom_metadata_map['poseplug']

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(OUTPUTS, self.session.run(list(OUTPUTS), {'images': images}), strict=True))

    def costs(self) -> dict[str, float]:
        file = Path(self.session.end_profiling())
        events, spent = json.loads(file.read_text()), dict[str, float]()
        file.unlink()
        for event in events:
            if event.get('cat') == 'Node' and event['name'].endswith('kernel_time'):
                kind = event['args']['op_name']
                spent[kind] = spent.get(kind, 0.0) + event['dur'] / 1e6
        return spent


class UnderOpenVINO:
    """A compiled model on the CPU, for one request at a time."""

    def __init__(self, file: str, threads: int | None, profile: bool):
        core = required('openvino').Core()
        read = core.read_model(file)
        wanted: dict[str, Any] = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': 'f32'}
        wanted |= {'INFERENCE_NUM_THREADS': threads} if threads else {}
        self.request = core.compile_model(read, 'CPU', {**wanted, 'PERF_COUNT': profile}).create_infer_request()
        self.settings = read.get_rt_info(['framework', 'poseplug']).astype(str)
        self.spent: dict[str, float] = {}
        self.profile = profile

    def told(self) -> str:
        return self.settings

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        found = self.request.infer({'images': images})
        for part in self.request.profiling_info if self.profile else ():
            spent = part.real_time.total_seconds()
            self.spent[part.node_type] = self.spent.get(part.node_type, 0.0) + spent
        return {n: np.array(found[n]) for n in OUTPUTS}

    def costs(self) -> dict[str, float]:
        return self.spent
