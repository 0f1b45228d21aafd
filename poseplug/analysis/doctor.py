"""What of the environment stands in the way of a run, each finding with its remedy."""

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

OPENCV = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless')
ABI = 'import numpy, xtcocotools.mask as m; m.encode(numpy.asfortranarray(numpy.ones((2, 2, 1), numpy.uint8)))'
DISK, SHARED = 5, 1  # GB that a run should find free: where it writes, and in memory that workers share
SAFE_TORCH = (2, 10)


@dataclass(frozen=True)
class Finding:
    """Something that was looked at: `wrong` is a fault with its `remedy`, otherwise it is told as a fact."""

    what: str
    remedy: str = ''
    mark: str = 'WRONG'

    @property
    def wrong(self) -> bool:
        return bool(self.remedy)

    def __str__(self) -> str:
        return f'{self.mark:7}{self.what}. {self.remedy}' if self.wrong else f'       {self.what}'


def environment(folder: Path = Path()) -> list[Finding]:
    """Every finding about this interpreter, its packages and this machine; runs would write to `folder`."""
    return [*packages(), *torch_state(), *opencv(), *xtcocotools(), *threads(), *display(), *space(folder)]


def numbers(text: str) -> tuple[int, ...]:
    """`2.13.0+cpu` as (2, 13, 0)."""
    return tuple(int(n) for n in re.findall(r'\d+', text.partition('+')[0])[:3])


def installed(name: str) -> str | None:
    """The version of a package, or None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def packages() -> Iterator[Finding]:
    """What poseplug needs, and whether it is there, new enough and not newer than what was tested."""
    found = [f'Python {sys.version.partition(" ")[0]}']
    for line in requires('poseplug') or []:
        if ';' in line:
            continue  # of an extra
        name = re.split(r'[^\w.-]', line)[0]
        floor, ceiling = (re.search(sign + r'([\d.]+)', line) for sign in ('>=', '<'))
        have, bounds = installed(name), ','.join(limit[0] for limit in (floor, ceiling) if limit)
        remedy = f'pip install "{name}{bounds}"'
        if have is None:
            yield Finding(f'{name} is not installed', remedy)
        elif floor and numbers(have) < numbers(floor[1]):
            yield Finding(f'{name} {have} is older than {floor[1]}', remedy)
        elif ceiling and numbers(have) >= numbers(ceiling[1]):
            yield Finding(f'{name} {have} is newer than what was tested, which ends before {ceiling[1]}', remedy)
        else:
            found.append(f'{name} {have}')
    yield Finding(', '.join(found))


def torch_state() -> Iterator[Finding]:
    """Which device there is, and whether foreign checkpoints can be opened."""
    import torch

    if torch.cuda.is_available():
        yield Finding(f'CUDA {torch.version.cuda}: {torch.cuda.get_device_name()}')
    elif torch.version.cuda:
        yield Finding(
            f'torch {torch.__version__} is built for CUDA {torch.version.cuda} but finds no GPU',
            'Look at nvidia-smi; is the driver as new as that CUDA, and CUDA_VISIBLE_DEVICES right?',
        )
    else:
        yield Finding('no GPU: torch is built for the CPU')
    if numbers(torch.__version__) < SAFE_TORCH:
        yield Finding(
            f'torch {torch.__version__} can be made to run code by a crafted .pth file',
            'pip install "torch>=2.10" before foreign checkpoints are opened',
        )


def opencv() -> Iterator[Finding]:
    """Several packages bring the same module `cv2`, and overwrite each other."""
    there = sorted({name for d in distributions() if (name := (d.metadata['Name'] or '').lower()) in OPENCV})
    if len(there) > 1:
        yield Finding(
            f'{" and ".join(there)} share the folder cv2, which is now a mixture of both',
            f'pip uninstall -y {" ".join(there)}; pip install {there[0]}',
        )
    else:
        yield Finding(f'OpenCV from {there[0] if there else "no package that pip knows"}')


def xtcocotools() -> Iterator[Finding]:
    """Its binaries are built for one version of NumPy; tried in a process of its own, which may crash."""
    if installed('xtcocotools') is None:
        yield Finding('xtcocotools is not installed; faster-coco-eval measures the same')
        return
    done = subprocess.run([sys.executable, '-c', ABI], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f'it ended with {done.returncode}'])[-1]
        yield Finding(
            f'xtcocotools {installed("xtcocotools")} does not work with NumPy {installed("numpy")}: {last}',
            "pip install --force-reinstall --no-binary xtcocotools xtcocotools, or leave evaluator='faster-coco-eval'",
        )
    else:
        yield Finding(f'xtcocotools {installed("xtcocotools")} works')


def threads() -> Iterator[Finding]:
    """More threads than processors wait for each other."""
    import torch

    processors = processors_allowed()
    if torch.get_num_threads() > processors:
        yield Finding(
            f'torch uses {torch.get_num_threads()} threads on {processors:g} processors',
            f'OMP_NUM_THREADS={max(1, int(processors))} in the environment',
        )
    else:
        yield Finding(f'{torch.get_num_threads()} threads of torch, {processors:g} processors')


def processors_allowed() -> float:
    """Processors that this process may use, by its affinity and its control group."""
    count = float(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1)
    try:
        quota, period = Path('/sys/fs/cgroup/cpu.max').read_text().split()
        return min(count, int(quota) / int(period)) if quota != 'max' else count
    except (OSError, ValueError):
        return count


def display() -> Iterator[Finding]:
    """Nothing here needs a screen."""
    shown = os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY') or sys.platform in ('darwin', 'win32')
    yield Finding('a screen' if shown else 'no screen: pictures and pages are written to files')


def space(folder: Path) -> Iterator[Finding]:
    """Room for checkpoints, and for what workers hand over."""
    places = [(folder, DISK, 'free it, or name another --work-dir')]
    if Path('/dev/shm').is_dir():
        places.append((Path('/dev/shm'), SHARED, 'start the container with --shm-size=8g, or set num_workers=0'))
    for place, least, remedy in places:
        free = shutil.disk_usage(place).free / 1e9
        told = f'{free:,.1f} GB free in {place if place.is_absolute() else "this folder"}'
        yield Finding(told, remedy if free < least else '')
