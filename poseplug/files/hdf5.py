"""Opens HDF5 files through h5py, an optional package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poseplug.core.errors import AnnotationError


def open_hdf5(file: Path) -> Any:
    """Open an HDF5 file for reading.

    Args:
        file: the file.

    Returns:
        An `h5py.File`, which is a context manager.

    Raises:
        AnnotationError: h5py is not installed, or the file is no HDF5 file.
    """
    try:
        import h5py  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise AnnotationError(f"{file} is an HDF5 file, which needs h5py: pip install 'poseplug[hdf5]'") from error
    try:
        return h5py.File(file, 'r')
    except OSError as error:
        raise AnnotationError(f'{file} is no readable HDF5 file ({error})') from error
