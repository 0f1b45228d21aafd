"""Measure the speed of the parts, as ratios and fractions within one run: python tools/benchmark.py [NAMES...].

Rows: encode, decode, paf, loader, import, build, frames, cpm, export, rtmlib, video. Two things that are compared take
turns, and the best time of each counts; a row that measures one thing alone states how often. With a GPU the network
runs there.

With --against mmpose --mmpose-python PYTHON the rows are those of tools/compare/rows.py, NAMES are the beginnings of
theirs, and both toolboxes take turns, each in its own interpreter (docs/lab/benchmark.md).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from poseplug.cli.options import run_program
from poseplug.core.errors import ConfigError

RTMLIB_LIMITS = {1: 1.0, 20: 0.45}  # largest fraction of rtmlib's time, by number of people
ROOT = Path(__file__).resolve().parents[1]
# A network of the released size, and one that is built in a moment.
CPM_368, CPM_LITE = ROOT / 'configs/cpm/cpm_lsp_368.py', ROOT / 'configs/cpm/cpm_lsp_lite.py'


@dataclass
class Row:
    """One measured value and its target.

    Attributes:
        name: of the row.
        description: what was measured.
        value: in `unit`.
        unit: of the value; empty for a number.
        target: such as '>= 15 x'.
        reached: whether the value reaches the target; None without one.
        details: the values from which this one was computed.
    """

    name: str
    description: str
    value: float
    unit: str
    target: str = 'none'
    reached: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)


def measure_seconds(action: Callable[[], Any], num_calls: int = 1) -> float:
    """Return the best time of some consecutive calls."""
    times = []
    for _ in range(num_calls):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    # The best: other processes can only add.
    return min(times)


def compare_seconds(
    action: Callable[[], Any], reference: Callable[[], Any], num_turns: int, num_calls: int = 1
) -> tuple[float, float]:
    """Return the best time of two actions that take turns of some calls; the first turn does not count."""
    times = []
    for _ in range(num_turns + 1):
        times.append((measure_seconds(action, num_calls), measure_seconds(reference, num_calls)))
    return min(t for t, _ in times[1:]), min(t for _, t in times[1:])


def check_min(value: float, target: float, unit: str = 'x') -> tuple[str, bool]:
    """Return target and `reached` of a row whose value should not be lower."""
    return f'>= {target:g} {unit}', value >= target


def check_max(value: float, target: float, unit: str) -> tuple[str, bool]:
    """Return target and `reached` of a row whose value should not be higher."""
    return f'<= {target:g} {unit}', value <= target


# --- Codecs -----------------------------------------------------------------------------------------------------------


def draw_reference_heatmaps(keypoints: np.ndarray) -> np.ndarray:
    """CPM's targets of one instance (14, 2) with NumPy: (15, 46, 46), a Gaussian over the whole map per keypoint."""
    # Cell g of CPM stands at 8 g + 3.5 px; below 1 % a target is 0 (exponent 4.6052).
    pixels = np.arange(46, dtype=np.float32) * 8 + 3.5
    heatmaps = np.zeros((15, 46, 46), np.float32)
    for k, (x, y) in enumerate(keypoints):
        exponents = ((pixels[None, :] - x) ** 2 + (pixels[:, None] - y) ** 2) / (2 * 7.0**2)
        heatmaps[k] = np.where(exponents < 4.6052, np.exp(-exponents), 0)
    heatmaps[14] = np.maximum(0, 1 - heatmaps[:14].max(axis=0))
    return heatmaps


def decode_reference_keypoints(heatmaps: np.ndarray, kernel_size: int) -> np.ndarray:
    """DARK for one instance (15, 46, 46), keypoint by keypoint with NumPy and OpenCV's blur: (14, 2) in input px."""
    return np.array([refine_reference_peak(heatmap, kernel_size) for heatmap in heatmaps[:14]]) * 8 + 3.5


def refine_reference_peak(heatmap: np.ndarray, kernel_size: int) -> np.ndarray:
    """The peak (2,) of one heatmap (H, W), refined by DARK, in cells."""
    import cv2

    height, width = heatmap.shape
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    blurred = cv2.GaussianBlur(heatmap, (kernel_size, kernel_size), 0, borderType=cv2.BORDER_CONSTANT)
    f = np.log(np.maximum(blurred * (heatmap[y, x] / blurred.max()), 1e-10))
    # The released code leaves a border of two cells unrefined.
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return np.array([x, y], float)
    p = f[y - 2 : y + 3, x - 2 : x + 3]  # the peak is p[2, 2]
    gradient = np.array([p[2, 3] - p[2, 1], p[3, 2] - p[1, 2]]) / 2
    xx = p[2, 4] - 2 * p[2, 2] + p[2, 0]
    yy = p[4, 2] - 2 * p[2, 2] + p[0, 2]
    xy = p[3, 3] - p[1, 3] - p[3, 1] + p[1, 1]
    hessian = np.array([[xx, xy], [xy, yy]]) / 4
    step = np.linalg.solve(hessian, gradient) if np.linalg.det(hessian) != 0 else np.zeros(2)
    return np.array([x, y]) - step


def create_codec_inputs() -> tuple[Any, Any, Any]:
    """CPM's codec with DARK, and keypoints (32, 1, 14, 2) with visibility of 32 instances."""
    import torch

    from poseplug.codecs.cpm import CPMHeatmap
    from poseplug.skeletons.lsp import LSP

    keep_freed_memory(torch)
    keypoints = torch.rand(32, 1, 14, 2, generator=torch.Generator().manual_seed(0)) * 367
    return CPMHeatmap(LSP, (368, 368), refine='dark'), keypoints, torch.full((32, 1, 14), 2, dtype=torch.uint8)


def keep_freed_memory(torch: Any) -> None:
    """Let the allocator keep freed megabytes, as in a process that has run a network."""
    torch.zeros(2**23 - 2**10).add_(1)


def measure_encode(args: argparse.Namespace) -> list[Row]:
    """A batch of CPM's targets against one instance at a time with NumPy, stacked at the end; one thread each."""
    import torch

    codec, keypoints, visible = create_codec_inputs()
    instances = keypoints[:, 0].numpy()

    def encode_reference() -> Any:
        return torch.from_numpy(np.stack([draw_reference_heatmaps(k) for k in instances]))

    with limit_threads(torch, 1):
        ours, other = compare_seconds(lambda: codec.encode(keypoints, visible), encode_reference, 20, num_calls=5)
    heatmaps = codec.encode(keypoints, visible).stage_fields(1)['heatmap']
    details = convert_per_instance(ours, other)
    details['largest difference'] = float((heatmaps - encode_reference()).abs().max())
    description = '32 instances, 14 keypoints at 46x46, faster than NumPy'
    return [Row('encode', description, other / ours, 'x', *check_min(other / ours, 15), details)]


def measure_decode(args: argparse.Namespace) -> list[Row]:
    """A batch of heatmaps with DARK against one instance at a time with NumPy and OpenCV; one thread each."""
    import torch

    codec, keypoints, visible = create_codec_inputs()
    heatmaps = codec.encode(keypoints, visible).stage_fields(1)['heatmap']
    # 3 cells is DARK's kernel for a sigma of 7 px at stride 8, less than a cell.
    instances, kernel_size = heatmaps.numpy(), 3

    def decode_reference() -> np.ndarray:
        return np.stack([decode_reference_keypoints(h, kernel_size) for h in instances])

    with limit_threads(torch, 1):
        ours, other = compare_seconds(lambda: codec.decode({'heatmap': heatmaps}), decode_reference, 20, num_calls=5)
    decoded = codec.decode({'heatmap': heatmaps}).keypoints.numpy()
    details = convert_per_instance(ours, other)
    details['largest difference, px'] = float(np.abs(decoded - decode_reference()).max())
    description = 'the same with DARK, faster than NumPy and OpenCV'
    return [Row('decode', description, other / ours, 'x', *check_min(other / ours, 10), details)]


def convert_per_instance(ours: float, other: float) -> dict[str, float]:
    """The seconds of 32 instances as details of a row."""
    return {'ours, µs an instance': ours / 32 * 1e6, 'reference, µs an instance': other / 32 * 1e6}


# --- Part affinity fields ---------------------------------------------------------------------------------------------

PARSER_LIMITS_MS = {1: 1.0, 5: 1.5, 20: 2.0, 50: 8.0}  # for so many instances
STANDING_POSE = {  # of an upright person 1 high: distance beside the center, and below the top
    'nose': (0, 0.1),
    'neck': (0, 0.2),
    'shoulder': (0.1, 0.2),
    'elbow': (0.16, 0.35),
    'wrist': (0.18, 0.5),
    'hip': (0.07, 0.5),
    'knee': (0.08, 0.75),
    'ankle': (0.08, 1),
    'eye': (0.02, 0.08),
    'ear': (0.05, 0.09),
}
PERSON_HEIGHTS = ((1, 0.8), (5, 0.5), (20, 0.3), (math.inf, 0.22))  # of the image's, up to so many persons in it


def create_crowd(skeleton: Any, num_images: int, num_instances: int, size: int) -> Any:
    """Keypoints (B, N, K, 2) of people in images of `size` px: the more there are, the smaller they are."""
    import torch

    rng = np.random.default_rng(0)
    pose = []
    for name in skeleton.keypoints:
        x, y = STANDING_POSE[name.split('_')[-1]]
        pose.append((-x if name.startswith('right') else x, y))
    height = size * next(h for max_instances, h in PERSON_HEIGHTS if num_instances <= max_instances)
    deviations = rng.normal(0, 0.02, (num_images, num_instances, len(pose), 2))
    keypoints = height * (np.array(pose) + deviations)
    low, high = keypoints.min(axis=2, keepdims=True), keypoints.max(axis=2, keepdims=True)
    room = np.maximum(size - 1 - (high - low), 0)
    return torch.from_numpy(keypoints - low + rng.random(low.shape) * room).float()


def measure_paf(args: argparse.Namespace) -> list[Row]:
    """Grouping beside the network, by processor time of one thread; and drawing the fields, with two threads."""
    import torch

    keep_freed_memory(torch)
    with limit_threads(torch, 1), torch.inference_mode():
        parsed = {n: [measure_parsing(n, num_cells) for num_cells in (46, 64)] for n in PARSER_LIMITS_MS}
    rows = []
    for num_instances, limit in PARSER_LIMITS_MS.items():
        worst = max(parts['openpose, ms'] for parts in parsed[num_instances])
        details = {}
        for num_cells, parts in zip((46, 64), parsed[num_instances], strict=True):
            details |= {f'{name} at {num_cells}x{num_cells}': value for name, value in parts.items()}
        description = f'scoring, matching and grouping {num_instances} of COCO-18, 46x46 and 64x64'
        rows.append(Row(f'paf {num_instances}', description, worst, 'ms', *check_max(worst, limit, 'ms'), details))
    # Time may grow with the number of pairs, and not faster.
    rows.append(compute_growth(parsed))
    rows.append(measure_paf_encoding())
    return rows


def measure_parsing(num_instances: int, num_cells: int) -> dict[str, float]:
    """Processor time of the steps of parsing one image of a crowd, with two parsers, and its number of peak pairs."""
    import torch

    from poseplug.codecs.paf import PAF
    from poseplug.fields.peaks import find_peaks
    from poseplug.grouping.limb_grouping import assemble_instances
    from poseplug.grouping.paf_rules import get_paf_rules
    from poseplug.registry.skeletons import get_skeleton

    skeleton = get_skeleton('coco18')
    codec = PAF(skeleton, (8 * num_cells, 8 * num_cells))
    keypoints = create_crowd(skeleton, 1, num_instances, 8 * num_cells)
    fields = codec.encode(keypoints, torch.ones(keypoints.shape[:3])).stage_fields(0)
    # A little noise, so that limbs fail by samples and not by exact zeros.
    noise = torch.randn(fields['paf'].shape, generator=torch.Generator().manual_seed(0))
    paf, heatmaps = (fields['paf'] + 0.02 * noise)[0].numpy(), fields['heatmap'][:, : len(skeleton)].contiguous()
    find = functools.partial(find_peaks, heatmaps, codec.rules.peak_threshold, refine=codec.peak_refinement)
    values: dict[str, float] = {}
    for name in ('openpose', 'complete'):
        rules = get_paf_rules(name)
        # Outside of what is timed: peaks are found on the device, by another row.
        peaks = find_peaks(heatmaps, rules.peak_threshold, refine=codec.peak_refinement)
        action = functools.partial(assemble_instances, peaks, paf, skeleton, rules, 8.0)
        values[f'{name}, ms'] = measure_processor_ms(action)
    result = assemble_instances(find(), paf, skeleton, codec.rules, 8.0)
    values['peaks, ms'] = measure_processor_ms(find)
    return values | {'pairs': result.counts['pairs'], 'instances': len(result.peak_indices)}


def measure_processor_ms(action: Callable[[], Any], num_calls: int = 40) -> float:
    """The median processor time of some calls in ms, after five that do not count."""
    times = []
    for _ in range(num_calls + 5):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times[5:])


def compute_growth(parsed: dict[int, list[dict[str, float]]]) -> Row:
    """The growth of the parsing time relative to that of the peak pairs, in the worst step to more instances."""
    growth = {}
    nums_instances = list(parsed)
    for column, num_cells in enumerate((46, 64)):
        for few, many in zip(nums_instances[:-1], nums_instances[1:], strict=True):
            before, after = parsed[few][column], parsed[many][column]
            time_growth, pair_growth = after['openpose, ms'] / before['openpose, ms'], after['pairs'] / before['pairs']
            growth[f'{few} to {many} instances, {num_cells}x{num_cells}'] = time_growth / pair_growth
    worst = max(growth.values())
    description = 'growth of that time by the growth of the pairs, the worst step'
    return Row('paf growth', description, worst, 'x', *check_max(worst, 1, 'x'), growth)


def measure_paf_encoding() -> Row:
    """Drawing the targets of 8 images of 10 instances, 368 px; the best time counts."""
    import torch

    from poseplug.codecs.paf import PAF
    from poseplug.registry.skeletons import get_skeleton

    skeleton = get_skeleton('coco18')
    codec, keypoints = PAF(skeleton, (368, 368)), create_crowd(skeleton, 8, 10, 368)
    action = functools.partial(codec.encode, keypoints, torch.full(keypoints.shape[:3], 2, dtype=torch.uint8))
    with limit_threads(torch, 1):
        processor_ms = measure_processor_ms(action)
    with limit_threads(torch, 2):
        wall_ms = 1e3 * measure_seconds(action, 40)
    details = {'one thread, processor time, ms': processor_ms}
    description = '8 images of 10 instances to fields, 46x46, 2 threads, best of 40'
    return Row('paf encode', description, wall_ms, 'ms', *check_max(wall_ms, 20, 'ms'), details)


# --- Loader -----------------------------------------------------------------------------------------------------------


def measure_loader(args: argparse.Namespace) -> list[Row]:
    """The time of a loader worker that goes into decoding and the warp, as a fraction of whole batches."""
    import cv2
    import torch

    from poseplug.core.sample import SampleKey
    from poseplug.data.collate import collate
    from poseplug.data.transforms.warp import Warp
    from poseplug.files import images

    cv2.setNumThreads(0)
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, limit_threads(torch, 1):
        dataset, data_name = build_training_set(Path(folder))
        # A clock around the steps of the real pipeline: nothing is measured by itself.
        dataset.pipeline = [record_time(t, 'warp', spent) if isinstance(t, Warp) else t for t in dataset.pipeline]
        dataset.image_cache.get = record_time(dataset.image_cache.get, 'read', spent)
        batches = [[SampleKey(e, (16 * b + i) % len(dataset)) for i in range(16)] for e in range(3) for b in range(8)]
        runs = []
        # Images are decoded within the warp, when their pixels are needed.
        with patch.object(images, 'decode_image', record_time(images.decode_image, 'decode', spent)):
            for batch in batches:
                spent.clear()
                whole = measure_seconds(lambda batch=batch: collate([dataset[key] for key in batch]))
                decode, warp = spent['read'] + spent['decode'], spent['warp'] - spent['decode']
                runs.append((100 * (decode + warp) / whole, decode, warp, whole))
    # The first batch, from cold files, does not count.
    percent, decode, warp, whole = (statistics.median(column) for column in zip(*runs[1:], strict=True))
    details = {'images': data_name, 'decode, ms a sample': decode / 16e-3, 'warp, ms a sample': warp / 16e-3}
    details |= {'all, ms a sample': whole / 16e-3, 'median of batches of 16': len(runs) - 1}
    description = 'decode and warp, percent of the time of a worker (cpm_lsp_368)'
    return [Row('loader', description, percent, '%', *check_min(percent, 80, '%'), details)]


def build_training_set(folder: Path) -> tuple[Any, str]:
    """The training set of cpm_lsp_368.py: Leeds Sports Pose if present, otherwise images rendered into `folder`."""
    from poseplug.config.build import build_dataset
    from poseplug.config.load import load_config
    from poseplug.data.sources.base import find_dataset_folder

    cfg = load_config(CPM_368)
    spec = dict(cfg.train_dataloader['dataset'])
    data_root = find_dataset_folder(None, 'lsp', 'joints.mat')
    if (data_root / 'joints.mat').is_file():
        spec['sources'] = [dict(type='LSPSource', data_root=str(data_root), split='train')]
        return build_dataset(cfg, spec), 'Leeds Sports Pose'
    from poseplug.data import synthetic

    data_root = synthetic.write_lsp(folder / 'synthetic', 64)
    spec['sources'] = [dict(type='LSPSource', data_root=str(data_root))]
    return build_dataset(cfg, spec), 'synthetic'


def record_time(
    action: Callable[..., Any], name: str, spent: Counter[str], synchronize: Callable[[], Any] = lambda: None
) -> Any:
    """The same action, which adds its seconds to `spent[name]`."""

    def run(*args: Any, **kwargs: Any) -> Any:
        synchronize()
        start = time.perf_counter()
        result = action(*args, **kwargs)
        synchronize()
        spent[name] += time.perf_counter() - start
        return result

    return run


@contextlib.contextmanager
def limit_threads(torch: Any, num_threads: int) -> Iterator[None]:
    """Set torch's number of threads within a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- Imports ----------------------------------------------------------------------------------------------------------


def measure_import(args: argparse.Namespace) -> list[Row]:
    """What `import poseplug` costs beyond bare Python."""
    # Both start an interpreter; the difference is ours.
    ours, bare = compare_seconds(lambda: run_python('import poseplug'), lambda: run_python('pass'), 7)
    cost_ms = (ours - bare) * 1e3
    details = {'with, ms': ours * 1e3, 'bare, ms': bare * 1e3}
    description = 'import poseplug beyond bare Python'
    return [Row('import', description, cost_ms, 'ms', *check_max(cost_ms, 50, 'ms'), details)]


def run_python(code: str) -> str:
    """What a fresh interpreter prints when it runs code in the root of the project."""
    process = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f'{code}\n{process.stderr}')
    return process.stdout


FORBIDDEN_MODULES = ('matplotlib', 'mmengine.runner', 'poseplug.engine')
BUILD_CODE = """
import sys, time, json
start = time.perf_counter()
from poseplug.config.load import load_config
from poseplug.config.build import build_model
build_model(load_config({config!r}))
"""
DESCRIBE_CODE = """
import contextlib, io, json, sys, time
start = time.perf_counter()
from poseplug.__main__ import main
sys.argv = ['poseplug', 'describe', {config!r}, '--json']
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""
TORCH_CODE = """
import time, json, sys
start = time.perf_counter()
import torch
"""
REPORT_CODE = """
forbidden = [m for m in {forbidden!r} if m in sys.modules]
print(json.dumps([time.perf_counter() - start, len(sys.modules), forbidden]))
"""


def measure_build(args: argparse.Namespace) -> list[Row]:
    """Building and describing a model in a fresh interpreter: time, modules, and none that draw or train."""
    rows = []
    for name, code in {'build': BUILD_CODE, 'describe': DESCRIBE_CODE}.items():
        # Reading modules from a cold disk is no property of the code.
        build_s, num_modules, forbidden = min(run_and_report(code) for _ in range(2))
        torch_s, num_torch_modules, _ = run_and_report(TORCH_CODE)
        details = {'modules': num_modules, 'of them torch alone': num_torch_modules}
        details |= {'torch alone, s': torch_s, 'forbidden': forbidden}
        description = f'{name} cpm_lsp_lite, best of 2; no {", ".join(FORBIDDEN_MODULES)}'
        rows.append(Row(name, description, build_s, 's', 'no forbidden module', not forbidden, details))
    return rows


def run_and_report(code: str) -> list[Any]:
    """Seconds, number of modules and forbidden modules of code in a fresh interpreter."""
    whole = (code + REPORT_CODE).format(config=str(CPM_LITE), forbidden=FORBIDDEN_MODULES)
    return json.loads(run_python(whole).splitlines()[-1])


# --- Networks ---------------------------------------------------------------------------------------------------------


def measure_frames(args: argparse.Namespace) -> list[Row]:
    """The number of poseplug's frames between the user's call and the first convolution."""
    import torch

    stacks: dict[str, list[str]] = {}
    for config in (CPM_368, CPM_LITE):
        # A small input: frames are counted, not milliseconds.
        model = build_config_model(config, {'model.codec.input_size': (64, 64)})
        batch = create_random_batch(model, 2)
        calls = {
            'predict': functools.partial(model.eval().predict, batch),
            'losses': functools.partial(model.losses, batch),
        }
        layers = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
        for name, call in calls.items():
            # Only the first convolution that runs; `setdefault` ignores the later ones.
            store_first = functools.partial(stacks.setdefault, f'{config.stem} {name}')

            def store_frames(*_: Any, store_first: Any = store_first) -> None:
                store_first(list_our_frames())

            handles = [layer.register_forward_pre_hook(store_frames) for layer in layers]
            call()
            for handle in handles:
                handle.remove()
    value = max(map(len, stacks.values()))
    details = {name: ' > '.join(reversed(frames)) for name, frames in stacks.items()}
    description = "our frames from the user's call to the first convolution"
    return [Row('frames', description, value, '', *check_max(value, 5, ''), details)]


def list_our_frames() -> list[str]:
    """The functions of poseplug that are running, innermost first, without the command line."""
    frame, names = sys._getframe(), []
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(ROOT / 'poseplug/cli'):
            break
        if file.is_relative_to(ROOT / 'poseplug'):
            names.append(f'{file.stem}.{frame.f_code.co_name}')
        frame = frame.f_back
    return names


def build_config_model(config: Path, options: dict[str, Any] | None = None) -> Any:
    """The model of a config."""
    from poseplug.config.build import build_model
    from poseplug.config.load import load_config

    return build_model(load_config(config, options))


def create_random_batch(model: Any, num_images: int) -> Any:
    """A batch of noise with one instance per image, as a loader returns it."""
    import torch

    from poseplug.core.batch import Batch

    (width, height), num_keypoints = model.codec.input_size, len(model.skeleton)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num_images, 1, height, width, 3), generator=generator, dtype=torch.uint8)
    keypoints = torch.rand(num_images, 1, num_keypoints, 2, generator=generator) * (width - 1)
    visible = torch.full((num_images, 1, num_keypoints), 2, dtype=torch.uint8)
    return Batch.from_instances(images, keypoints, visible)


def measure_cpm(args: argparse.Namespace) -> list[Row]:
    """Six-stage CPM at 368 px: a training step and a prediction, where the time goes, and the memory."""
    import torch

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    batch_size = args.batch or (16 if device == 'cuda' else 2)
    repeats = args.repeats or (20 if device == 'cuda' else 1)
    model = build_config_model(CPM_368).to(device)
    batch = create_random_batch(model, batch_size).to(device)
    with torch.autocast(device, torch.bfloat16, enabled=args.bf16):
        predict_s, flops = measure_prediction(model, batch, device, repeats)
        parts = measure_training_step(model, batch, device, repeats)
    precision = 'bf16' if args.bf16 else 'fp32'
    setting = f'{device}, {precision}, batch {batch_size}, best of {repeats}'
    if device == 'cpu':
        setting += f', {torch.get_num_threads()} threads'
    step_s = parts['step']
    rest_percent = 100 * (step_s - parts['forward'] - parts['backward'] - parts['optimizer']) / step_s
    step_details = {f'{name}, ms': value * 1e3 for name, value in parts.items()}
    step_details['optimizer, % of the step'] = 100 * parts['optimizer'] / step_s
    # A backward pass takes twice the operations of a forward pass, hence three times.
    train_details = {'images a second': batch_size / step_s} | compute_flop_rate(3 * flops, step_s, args)
    predict_details = {'images a second': batch_size / predict_s} | compute_flop_rate(flops, predict_s, args)
    rest_target = check_max(rest_percent, 5, '%')
    owner, memory = 'the GPU' if device == 'cuda' else 'the process', get_peak_memory_gib(device)
    rest_name = 'of the step, neither network nor optimizer'
    train_name, predict_name = f'a training step at 368 px ({setting})', f'a prediction at 368 px ({setting})'
    return [
        Row('cpm train', train_name, step_s, 's', details=train_details),
        Row('cpm predict', predict_name, predict_s, 's', details=predict_details),
        Row('cpm rest', rest_name, rest_percent, '%', *rest_target, step_details),
        Row('cpm memory', f'peak of {owner}', memory, 'GiB'),
    ]


def compute_flop_rate(flops: float, took_s: float, args: argparse.Namespace) -> dict[str, float]:
    """Operations per second (a multiply-add is two), and their fraction of the peak if that is given."""
    rate = flops / took_s / 1e12
    return {'TFLOP/s': rate} | ({'% of the peak': 100 * rate / args.peak_tflops} if args.peak_tflops else {})


def get_synchronize(device: str) -> Callable[[], Any]:
    """A function that waits until the device has finished."""
    import torch

    return torch.cuda.synchronize if device == 'cuda' else lambda: None


def measure_prediction(model: Any, batch: Any, device: str, repeats: int) -> tuple[float, float]:
    """The best time of a prediction, and the operations of its network."""
    from torch.utils.flop_counter import FlopCounterMode

    model.eval()
    # This run also warms up.
    with FlopCounterMode(display=False) as counter:
        model.predict(batch)
    times: Counter[str] = Counter()
    best = math.inf
    for _ in range(repeats):
        times.clear()
        record_time(model.predict, 'all', times, get_synchronize(device))(batch)
        best = min(best, times['all'])
    return best, float(counter.get_total_flops())


def measure_training_step(model: Any, batch: Any, device: str, repeats: int) -> dict[str, float]:
    """The parts of the best of some training steps in seconds: the real step, with a clock around what it calls."""
    import torch
    from mmengine.optim import OptimWrapper

    from poseplug.engine.strategy import SingleProcessStrategy
    from poseplug.engine.training_step import train_step

    spent: Counter[str] = Counter()
    synchronize = get_synchronize(device)
    optim = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9))
    strategy = SingleProcessStrategy(model.train())
    strategy.prepare_training(optim)
    if device == 'cuda':
        train_step(strategy, [batch])
    criterion, network = model.criterion, model.network
    # The codec is a frozen dataclass.
    object.__setattr__(criterion.codec, 'encode', record_time(criterion.codec.encode, 'encode', spent, synchronize))
    criterion.compute_stage_loss = record_time(criterion.compute_stage_loss, 'loss', spent, synchronize)
    network.forward = record_time(network.forward, 'forward', spent, synchronize)
    optim.backward = record_time(optim.backward, 'backward', spent, synchronize)
    optim.step = record_time(optim.step, 'optimizer', spent, synchronize)
    optim.zero_grad = record_time(optim.zero_grad, 'optimizer', spent, synchronize)
    runs = []
    for _ in range(repeats):
        spent.clear()
        record_time(train_step, 'step', spent, synchronize)(strategy, [batch])
        runs.append(dict(spent))
    return min(runs, key=lambda run: run['step'])


def get_peak_memory_gib(device: str) -> float:
    """The peak of the memory that was allocated on the GPU, or of the whole process, in GiB; NaN on Windows."""
    import torch

    if device == 'cuda':
        return torch.cuda.max_memory_allocated() / 2**30
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows
        return math.nan
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


# --- Export -----------------------------------------------------------------------------------------------------------


def measure_export(args: argparse.Namespace) -> list[Row]:
    """RTMO-s as one file, from bytes at 640 px to instances: both runtimes and PyTorch in turns."""
    import torch

    from poseplug.deploy.export import export_onnx
    from poseplug.deploy.exported_model import ExportedModel

    runtimes, num_threads = ('onnxruntime', 'openvino'), args.threads or 2
    model, images = create_confident_rtmo(num_cells=100)
    with tempfile.TemporaryDirectory() as folder, limit_threads(torch, num_threads), torch.inference_mode():
        file = export_onnx(model, Path(folder) / 'rtmo.onnx')
        exported = {name: ExportedModel(file, name, num_threads) for name in runtimes}
        calls = {name: functools.partial(exported_model, images) for name, exported_model in exported.items()}
        pixels = torch.from_numpy(images)
        calls['PyTorch'] = lambda: model.postprocess.decode_to_input(model.network(pixels)[-1])
        nums_instances = {name: len(call()) for name, call in calls.items()}
        wall_s, processor_s = measure_turns(calls, args.repeats or 15)
        nms_percents = {}
        for name in runtimes:
            nms_percents[name] = measure_nms_percent(ExportedModel(file, name, num_threads, profile=True), images)
        fields = model.network(pixels)[-1]
        # PyTorch has no profile of operators here: selection by itself, against the fastest whole.
        select_s = min(measure_seconds(lambda: model.codec.select_cells(fields), 5) for _ in range(3))
        nms_percents['PyTorch'] = 100 * select_s / min(wall_s['PyTorch'])
    rows = []
    for name in calls:
        details = {'best, ms': min(wall_s[name]) * 1e3}
        details['processor time, ms'] = statistics.median(processor_s[name]) * 1e3
        details |= {'suppression, %': nms_percents[name], 'instances': nums_instances[name]}
        details['turns'] = len(wall_s[name])
        description = f'RTMO-s at 640 px, one image, {num_threads} threads, median'
        median_ms = statistics.median(wall_s[name]) * 1e3
        rows.append(Row(f'export {name}', description, median_ms, 'ms', details=details))
    return rows


def create_confident_rtmo(num_cells: int) -> tuple[Any, np.ndarray]:
    """RTMO-s with random weights, whose score exceeds the threshold in so many cells of an image of noise; and that."""
    from dataclasses import replace

    import torch
    from torch import nn

    from poseplug.models.layers.batch_norm_folding import fold_batch_norms

    torch.manual_seed(0)
    model = build_config_model(ROOT / 'configs/rtmo/rtmo_s_coco_640.py').train()
    images = np.random.default_rng(0).integers(0, 256, (1, 640, 640, 3), dtype=np.uint8)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the running statistics are the mean over all batches
    with torch.no_grad():
        model.network(torch.from_numpy(images))
        scores = model.eval().network(torch.from_numpy(images))[-1]['score'].sigmoid()[0].sort().values
    # Between the two scores around it, so that exactly so many cells exceed it.
    threshold = scores[-num_cells - 1 : len(scores) - num_cells + 1].mean().item()
    model.postprocess.codec = replace(model.codec, score_threshold=threshold)
    fold_batch_norms(model)
    model.network.set_memory_format(torch.channels_last)
    return model, images


def measure_turns(
    calls: dict[str, Callable[[], Any]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and processor seconds of calls that take turns."""
    wall_s: dict[str, list[float]] = {name: [] for name in calls}
    processor_s: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            time.sleep(0.1)  # until the threads of the others sleep
            wall_start, processor_start = time.perf_counter(), time.process_time()
            call()
            wall_s[name].append(time.perf_counter() - wall_start)
            processor_s[name].append(time.process_time() - processor_start)
    return wall_s, processor_s


def measure_nms_percent(exported: Any, images: np.ndarray) -> float:
    """The percentage of all operators' time that non-maximum suppression takes."""
    for _ in range(5):
        exported(images)
    # Summed over the five calls.
    seconds = exported.operator_seconds()
    nms_seconds = sum(value for name, value in seconds.items() if name.startswith('NonMaxSuppression'))
    return 100 * nms_seconds / sum(seconds.values())


# --- Prediction beside rtmlib, and videos -----------------------------------------------------------------------------


def measure_rtmlib(args: argparse.Namespace) -> list[Row]:
    """From a file to keypoints outside the network, of one person and of twenty, by torch and by ONNX Runtime."""
    import torch
    from compare import rtmlib_rows  # of this folder

    rows = []
    with tempfile.TemporaryDirectory() as folder, limit_threads(torch, 1):
        for num_people, max_ratio in RTMLIB_LIMITS.items():
            values = rtmlib_rows.measure_outside(Path(folder), num_people)
            for side, name in rtmlib_rows.OUR_SIDES.items():
                ratio = values[side] / values[rtmlib_rows.OTHER]
                description = f"{side}: outside the network, a person of {num_people}, by rtmlib's time"
                target = check_max(ratio, max_ratio, 'x')
                rows.append(Row(f'rtmlib {num_people} {name}', description, ratio, 'x', *target, values))
        rows.append(measure_rtmlib_start(rtmlib_rows.write_models(Path(folder))[1]))
    return rows


def measure_rtmlib_start(file: Path) -> Row:
    """Import, load and first result in a new process, without the network's time mattering."""
    from lab import start_times

    seconds = start_times.measure_codes(file, (192, 256), 5)
    ours, other = seconds['poseplug to the first result'], seconds['rtmlib to the first result']
    ratio = ours[0] / other[0]
    # Not the memory: a new process begins with that of the one that started it, which has torch.
    details = {f'{name}, s': used for name, (used, _) in seconds.items()}
    description = "import, load and first result without torch, by rtmlib's processor time"
    return Row('rtmlib start', description, ratio, 'x', *check_max(ratio, 1.1, 'x'), details)


def measure_video(args: argparse.Namespace) -> list[Row]:
    """What a frame costs besides decoding and the network; and reading, against a bare loop of PyAV."""
    import torch
    from compare import video_rows  # of this folder

    with tempfile.TemporaryDirectory() as folder, limit_threads(torch, 1):
        file = video_rows.write_video(Path(folder) / 'video.mp4')
        read_ms, bare_ms = video_rows.measure_reading(file)
        rest = video_rows.measure_rest(file, Path(folder))
    rest_name = 'a frame of 640x480 px with 2 people: crops, tracking, smoothing, results; no decoding, no network'
    read_name = 'frames a second of VideoReader, by those of PyAV alone'
    reading = {'ours, ms a frame': read_ms, 'PyAV, ms a frame': bare_ms}
    return [
        Row('video rest', rest_name, rest['rest, ms'], 'ms', *check_max(rest['rest, ms'], 2, 'ms'), rest),
        Row('video reading', read_name, bare_ms / read_ms, 'x', *check_min(bare_ms / read_ms, 0.9), reading),
    ]


# --- Command ----------------------------------------------------------------------------------------------------------

MEASURES: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    'encode': measure_encode,
    'decode': measure_decode,
    'paf': measure_paf,
    'loader': measure_loader,
    'import': measure_import,
    'build': measure_build,
    'frames': measure_frames,
    'cpm': measure_cpm,
    'export': measure_export,
    'rtmlib': measure_rtmlib,
    'video': measure_video,
}
# The packages of the extra export, and rtmlib by itself (docs/lab/benchmark.md)
REQUIRED_PACKAGES = {
    'export': ('onnx', 'onnxscript', 'onnxruntime', 'openvino'),
    'rtmlib': ('onnx', 'onnxscript', 'onnxruntime', 'rtmlib'),
}


def print_table(rows: list[Row]) -> None:
    """Print the rows as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table('row', 'what', 'value', 'target', 'reached', 'details')
    for row in rows:
        reached = {True: '[green]yes[/]', False: '[red]no[/]', None: ''}[row.reached]
        details = '\n'.join(format_detail(name, value) for name, value in row.details.items())
        table.add_row(row.name, row.description, f'{row.value:.3g} {row.unit}', row.target, reached, details)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def format_detail(name: str, value: Any) -> str:
    return f'{name}: {value:.4g}' if isinstance(value, float) else f'{name}: {value}'


def run(args: argparse.Namespace) -> None:
    if args.against:
        compare_toolboxes(args)
        return
    if unknown := set(args.names) - set(MEASURES):
        raise ConfigError(f'there is no row {", ".join(sorted(unknown))}; known: {", ".join(MEASURES)}')
    rows = []
    for name in args.names or MEASURES:
        if not args.names and any(find_spec(package) is None for package in REQUIRED_PACKAGES.get(name, ())):
            print(f'{name}: skipped, since {", ".join(REQUIRED_PACKAGES[name])} are not all installed', file=sys.stderr)
            continue
        print(f'{name} ...', file=sys.stderr, flush=True)
        rows += MEASURES[name](args)
    print_table(rows)
    if args.json:
        args.json.write_text(json.dumps({'rows': [asdict(row) for row in rows]}, indent=1) + '\n')


def compare_toolboxes(args: argparse.Namespace) -> None:
    """Measure and print the rows that MMPose has as well."""
    from compare import rows  # of this folder

    if not args.mmpose_python:
        raise ConfigError('--against mmpose needs --mmpose-python, the Python that has it; see docs/lab/benchmark.md')
    if args.names and not any(rows.matches_prefixes(args.names, name) for name in rows.list_names()):
        prefixes, names = ' or '.join(args.names), ', '.join(rows.list_names())
        raise ConfigError(f'no row begins with {prefixes}; known: {names}')
    with tempfile.TemporaryDirectory() as folder:
        data_root, data_name = find_coco(Path(folder))
        results = rows.compare_rows(args.mmpose_python, data_root, args.names, args.threads)
    rows.print_table(results)
    print(f'images: {data_name}')
    if args.json:
        args.json.write_text(rows.to_json(results))


def find_coco(folder: Path) -> tuple[Path, str]:
    """The folder of COCO and its name: the real one if present, otherwise images rendered into `folder`."""
    from poseplug.data import synthetic
    from poseplug.data.sources.base import find_dataset_folder

    file = 'annotations/person_keypoints_train2017.json'
    data_root = find_dataset_folder(None, 'coco', file)
    if (data_root / file).is_file():
        return data_root.resolve(), 'COCO'
    return synthetic.write_coco(folder / 'synthetic', 64, 8).resolve(), 'synthetic'


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'rows: {", ".join(MEASURES)}')
    parser.add_argument('--against', choices=['mmpose'], help='measure the rows of both toolboxes, in turns')
    parser.add_argument('--mmpose-python', metavar='PYTHON', help='the Python of an environment with MMPose')
    parser.add_argument(
        '--threads', type=int, help='of every row of --against (default: 1, and all to predict), and of export (2)'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the rows there as well')
    parser.add_argument('--batch', type=int, help='batch size of CPM (default: 2 on a CPU, 16 on a GPU)')
    parser.add_argument('--repeats', type=int, help='timed steps of CPM (default: 1 on a CPU, 20 on a GPU)')
    parser.add_argument('--bf16', action='store_true', help='run CPM under autocast to bfloat16')
    parser.add_argument('--peak-tflops', type=float, help="the device's peak in that precision, to report the fraction")
    return parser


if __name__ == '__main__':
    run_program(build_parser(), run)
