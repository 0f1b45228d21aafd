"""Sessions of ONNX Runtime on the CPU."""

from __future__ import annotations

__all__ = ['create_onnx_session']

from pathlib import Path
from tempfile import gettempdir
from typing import Any


def create_onnx_session(runtime: Any, file: str | Path, threads: int | None = None, profile: bool = False) -> Any:
    """Create a session that runs an ONNX file on the CPU and reports errors only.

    Args:
        runtime: the module `onnxruntime`, which the caller imports, since it is optional.
        file: the ONNX file.
        threads: number of threads; None leaves it to the runtime.
        profile: record how long each operator takes.
    """
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = threads or 0, profile
    options.log_severity_level = 3  # errors only
    options.profile_file_prefix = str(Path(gettempdir()) / 'poseplug')
    return runtime.InferenceSession(str(file), options, providers=['CPUExecutionProvider'])
