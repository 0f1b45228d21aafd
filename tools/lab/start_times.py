"""Measure how long the runtime without torch takes to start, beside rtmlib: processor seconds and MiB of new processes.

python tools/lab/start_times.py FILE.onnx [--size W H] [--repeats N]
FILE is a model in the layout of RTMPose, for both; rtmlib comes by pip install --no-deps rtmlib.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# The process reports itself, at its end: nothing around it is measured.
USAGE = (
    'import resource; r = resource.getrusage(resource.RUSAGE_SELF); print(r.ru_utime + r.ru_stime, r.ru_maxrss / 1024)'
)
CODES = {
    'NumPy, OpenCV, ONNX Runtime': 'import numpy, cv2, onnxruntime',
    'these and poseplug.deploy.runtime': 'import numpy, cv2, onnxruntime, poseplug.deploy.runtime',
    'poseplug to the first result': (
        'import numpy; from poseplug import ExportedPredictor\n'
        "predictor = ExportedPredictor('{file}', threads=1)\n"
        'predictor(numpy.zeros(({height}, {width}, 3), numpy.uint8), boxes=[[0, 0, {width}, {height}]])'
    ),
    'rtmlib to the first result': (
        'import numpy; from rtmlib import RTMPose\n'
        "predict = RTMPose('{file}', model_input_size=({width}, {height}), backend='onnxruntime', device='cpu')\n"
        'predict(numpy.zeros(({height}, {width}, 3), numpy.uint8), bboxes=[[0, 0, {width}, {height}]])'
    ),
}


def measure_process(code: str, repeats: int, folder: str) -> tuple[float, float]:
    """The fewest processor seconds and MiB of new processes that run the code, with their bytecode in a folder."""
    command = [sys.executable, '-c', f'{code}\n{USAGE}']
    # Compiled modules are kept between the runs, as those of an installed package are.
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'}
    environment |= {'PYTHONPYCACHEPREFIX': folder, 'OMP_NUM_THREADS': '1'}
    settings: dict[str, Any] = dict(env=environment, capture_output=True, text=True, check=True)
    runs = [subprocess.run(command, **settings) for _ in range(repeats + 1)][1:]
    numbers = [[float(word) for word in run.stdout.split()[-2:]] for run in runs]
    # The fewest of both: other processes can only add.
    return min(seconds for seconds, _ in numbers), min(mib for _, mib in numbers)


def measure_codes(file: str | Path, size: tuple[int, int], repeats: int) -> dict[str, tuple[float, float]]:
    """The processor seconds and MiB of every kind of process.

    Args:
        file: a model in the layout of RTMPose.
        size: (width, height) of its input.
        repeats: new processes of each kind.
    """
    filled = {name: code.format(file=file, width=size[0], height=size[1]) for name, code in CODES.items()}
    with tempfile.TemporaryDirectory() as folder:
        return {name: measure_process(code, repeats, folder) for name, code in filled.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('file', help='a model in the layout of RTMPose')
    parser.add_argument('--size', nargs=2, type=int, default=(192, 256), metavar=('W', 'H'), help='of its input')
    parser.add_argument('--repeats', type=int, default=5, help='new processes of each kind')
    args = parser.parse_args()
    print('| process | processor time | memory |\n|---|---|---|')
    for name, (seconds, mib) in measure_codes(args.file, tuple(args.size), args.repeats).items():
        print(f'| {name} | {seconds:.2f} s | {mib:.0f} MiB |', flush=True)


if __name__ == '__main__':
    main()
