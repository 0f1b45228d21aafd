"""Checks of the environment: what stands in the way of a run, each finding with its remedy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path

from poseplug.core.processors import count_allowed_processors

_OPENCV_PACKAGES = (
    'opencv-python',
    'opencv-python-headless',
    'opencv-contrib-python',
    'opencv-contrib-python-headless',
)
_XTCOCOTOOLS_CHECK = (
    'import numpy, xtcocotools.mask as m; m.encode(numpy.asfortranarray(numpy.ones((2, 2, 1), numpy.uint8)))'
)
_MIN_DISK_GB = 5  # free where a run writes
_MIN_SHARED_MEMORY_GB = 1  # free where the workers of a loader put their batches
_MIN_SAFE_TORCH = (2, 10)  # older ones can be made to run code by a crafted .pth file


@dataclass(frozen=True)
class Finding:
    """Something that was checked: a fault if it has a remedy, else a fact.

    Attributes:
        message: What was found.
        remedy: What to do about it; empty for a fact.
        label: How a fault is marked.
    """

    message: str
    remedy: str = ''
    label: str = 'WRONG'

    @property
    def is_fault(self) -> bool:
        """Whether the user should do something about it."""
        return bool(self.remedy)

    def __str__(self) -> str:
        return f'{self.label:7}{self.message}. {self.remedy}' if self.is_fault else f'       {self.message}'


def check_environment(work_dir: Path = Path()) -> list[Finding]:
    """Check this interpreter, its packages and this machine.

    Args:
        work_dir: Where runs would write.
    """
    return [
        *check_packages(),
        *check_torch(),
        *check_opencv(),
        *check_xtcocotools(),
        *check_threads(),
        *_check_display(),
        *check_disk_space(work_dir),
    ]


# --- packages ---------------------------------------------------------------------------------------------------------


def parse_version(text: str) -> tuple[int, ...]:
    """Parse the numbers of a version: `2.13.0+cpu` as (2, 13, 0)."""
    # what follows the plus is a build and no version
    return tuple(int(n) for n in re.findall(r'\d+', text.partition('+')[0])[:3])


def find_installed_version(name: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_packages() -> Iterator[Finding]:
    """Check whether every required package is installed, new enough and not newer than what was tested."""
    sound = [f'Python {sys.version.partition(" ")[0]}']
    for requirement in requires('poseplug') or []:
        if ';' in requirement:
            continue  # it belongs to an extra
        # a requirement is as in 'numpy>=1.26,<3'
        name = re.split(r'[^\w.-]', requirement)[0]
        lower, upper = (re.search(sign + r'([\d.]+)', requirement) for sign in ('>=', '<'))
        bounds = ','.join(bound[0] for bound in (lower, upper) if bound)
        # in quotes: shells read < and > as redirections
        remedy = f'pip install "{name}{bounds}"'
        installed = find_installed_version(name)
        if installed is None:
            yield Finding(f'{name} is not installed', remedy)
        elif lower and parse_version(installed) < parse_version(lower[1]):
            yield Finding(f'{name} {installed} is older than {lower[1]}', remedy)
        elif upper and parse_version(installed) >= parse_version(upper[1]):
            yield Finding(f'{name} {installed} is newer than what was tested, which ends before {upper[1]}', remedy)
        else:
            sound.append(f'{name} {installed}')
    yield Finding(', '.join(sound))


def check_torch() -> Iterator[Finding]:
    """Check which device PyTorch uses, and whether it can open checkpoints from elsewhere safely."""
    import torch

    if torch.cuda.is_available():
        yield Finding(f'CUDA {torch.version.cuda}: {torch.cuda.get_device_name()}')
    elif torch.version.cuda:
        yield Finding(
            f'torch {torch.__version__} is built for CUDA {torch.version.cuda} but finds no GPU',
            'Check that nvidia-smi lists one, that the driver is as new as that CUDA, and CUDA_VISIBLE_DEVICES',
        )
    else:
        yield Finding('no GPU: torch is built for the CPU')
    if parse_version(torch.__version__) < _MIN_SAFE_TORCH:
        yield Finding(
            f'torch {torch.__version__} can be made to run code by a crafted .pth file',
            'pip install "torch>=2.10" before you open checkpoints from elsewhere',
        )


def check_opencv() -> Iterator[Finding]:
    """Check that one package alone provides the module `cv2`: several overwrite each other's files."""
    names = {(distribution.metadata['Name'] or '').lower() for distribution in distributions()}
    installed = sorted(names & set(_OPENCV_PACKAGES))
    if len(installed) > 1:
        yield Finding(
            f'{" and ".join(installed)} share the folder cv2, which is now a mixture of both',
            f'pip uninstall -y {" ".join(installed)}; pip install {installed[0]}',
        )
    else:
        origin = installed[0] if installed else 'no package that pip knows'
        yield Finding(f'OpenCV from {origin}')


def check_xtcocotools() -> Iterator[Finding]:
    """Check that the binaries of xtcocotools work with this NumPy, in a process of its own since they may crash."""
    installed = find_installed_version('xtcocotools')
    if installed is None:
        yield Finding('xtcocotools is not installed; faster-coco-eval measures the same')
        return
    process = subprocess.run([sys.executable, '-c', _XTCOCOTOOLS_CHECK], capture_output=True, text=True)
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f'it ended with exit code {process.returncode}']
        numpy_version = find_installed_version('numpy')
        yield Finding(
            f'xtcocotools {installed} does not work with NumPy {numpy_version}: {lines[-1]}',
            "pip install --force-reinstall --no-binary xtcocotools xtcocotools, or leave evaluator='faster-coco-eval'",
        )
    else:
        yield Finding(f'xtcocotools {installed} works')


# --- the machine ------------------------------------------------------------------------------------------------------


def check_threads() -> Iterator[Finding]:
    """Check that PyTorch has no more threads than processors: they would wait for each other."""
    import torch

    num_threads, num_processors = torch.get_num_threads(), count_allowed_processors()
    if num_threads > num_processors:
        yield Finding(
            f'torch uses {num_threads} threads on {num_processors:g} processors',
            f'Set OMP_NUM_THREADS={max(1, int(num_processors))} in the environment',
        )
    else:
        yield Finding(f'{num_threads} threads of torch, {num_processors:g} processors')


def _check_display() -> Iterator[Finding]:
    """Whether there is a screen; nothing needs one."""
    has_display = os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY') or sys.platform in ('darwin', 'win32')
    yield Finding('a screen' if has_display else 'no screen: images and pages are written to files')


def check_disk_space(work_dir: Path) -> Iterator[Finding]:
    """Check the free space for checkpoints, and for the batches that the workers of a loader share."""
    checks = [(work_dir, _MIN_DISK_GB, 'Free some space, or name another --work-dir')]
    shared_memory = Path('/dev/shm')
    if shared_memory.is_dir():
        remedy = 'Start the container with --shm-size=8g, or set num_workers=0'
        checks.append((shared_memory, _MIN_SHARED_MEMORY_GB, remedy))
    for folder, min_gb, remedy in checks:
        free_gb = shutil.disk_usage(folder).free / 1e9
        name = folder if folder.is_absolute() else 'this folder'
        yield Finding(f'{free_gb:,.1f} GB free in {name}', remedy if free_gb < min_gb else '')
