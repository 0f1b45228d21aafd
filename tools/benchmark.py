"""How fast the parts are, as ratios and shares measured in one run: python tools/benchmark.py [NAMES...] [--json FILE].

Rows: encode, decode, paf, loader, import, build, frames, cpm, export. Two things that are compared take turns, and the
best time of each counts; a row that measures one thing alone states how often. With a GPU the network runs there.

With --against mmpose --mmpose-python PYTHON the rows are those of tools/compare/rows.py, NAMES is how theirs begin, and
both toolboxes take turns, each in its own interpreter (docs/benchmark.md).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import resource
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

from poseplug.cli import main
from poseplug.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
CPM_368, CPM_LITE = ROOT / 'configs/cpm/cpm_lsp_368.py', ROOT / 'configs/cpm/cpm_lsp_lite.py'


@dataclass
class Row:
    """One figure against its target; `details` are the times it was made of."""

    name: str
    what: str
    figure: float
    unit: str
    target: str = 'none'
    reached: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)


def seconds(action: Callable[[], Any], calls: int = 1) -> float:
    """Best time of some calls in a row."""
    times = []
    for _ in range(calls):
        begun = time.perf_counter()
        action()
        times.append(time.perf_counter() - begun)
    return min(times)


def race(ours: Callable[[], Any], other: Callable[[], Any], repeats: int, calls: int = 1) -> tuple[float, float]:
    """Best time in seconds of two actions that take turns of some calls, after one turn that does not count."""
    turns = [(seconds(ours, calls), seconds(other, calls)) for _ in range(repeats + 1)][1:]
    return min(t for t, _ in turns), min(t for _, t in turns)


def person_maps(joints: np.ndarray) -> np.ndarray:
    """CPM's targets of one person (14, 2) with NumPy: (15, 46, 46), a Gaussian over the whole map for each joint."""
    pixels = np.arange(46, dtype=np.float32) * 8 + 3.5
    maps = np.zeros((15, 46, 46), np.float32)
    for k, (x, y) in enumerate(joints):
        exponents = ((pixels[None, :] - x) ** 2 + (pixels[:, None] - y) ** 2) / (2 * 7.0**2)
        maps[k] = np.where(exponents < 4.6052, np.exp(-exponents), 0)
    maps[14] = np.maximum(0, 1 - maps[:14].max(axis=0))
    return maps


def person_joints(maps: np.ndarray, kernel: int) -> np.ndarray:
    """DARK for one person (15, 46, 46) with NumPy and OpenCV's blur, joint by joint: (14, 2) in input pixels."""
    return np.array([dark_peak(m, kernel) for m in maps[:14]]) * 8 + 3.5


def dark_peak(map_: np.ndarray, kernel: int) -> np.ndarray:
    """The refined peak (2,) of one map (H, W), in cells."""
    import cv2

    height, width = map_.shape
    y, x = np.unravel_index(map_.argmax(), map_.shape)
    blurred = cv2.GaussianBlur(map_, (kernel, kernel), 0, borderType=cv2.BORDER_CONSTANT)
    f = np.log(np.maximum(blurred * (map_[y, x] / blurred.max()), 1e-10))
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return np.array([x, y], float)
    gradient = np.array([f[y, x + 1] - f[y, x - 1], f[y + 1, x] - f[y - 1, x]]) / 2
    xx, yy = f[y, x + 2] - 2 * f[y, x] + f[y, x - 2], f[y + 2, x] - 2 * f[y, x] + f[y - 2, x]
    xy = f[y + 1, x + 1] - f[y - 1, x + 1] - f[y + 1, x - 1] + f[y - 1, x - 1]
    hessian = np.array([[xx, xy], [xy, yy]]) / 4
    step = np.linalg.solve(hessian, gradient) if np.linalg.det(hessian) != 0 else np.zeros(2)
    return np.array([x, y]) - step


def people_and_codec() -> tuple[Any, Any, Any]:
    """CPM's codec with DARK, and joints (32, 1, 14, 2) with visibility of 32 people."""
    import torch

    from poseplug.codecs.cpm import CPMHeatmap
    from poseplug.skeletons.lsp import LSP

    torch.zeros(2**23 - 2**10).add_(1)  # the allocator of a process that has run a network: keeps freed megabytes
    joints = torch.rand(32, 1, 14, 2, generator=torch.Generator().manual_seed(0)) * 367
    return CPMHeatmap(LSP, (368, 368), refine='dark'), joints, torch.full((32, 1, 14), 2, dtype=torch.uint8)


def measure_encode(args: argparse.Namespace) -> list[Row]:
    """A batch of CPM's targets against one person at a time with NumPy, stacked at the end; one thread each."""
    import torch

    codec, joints, visible = people_and_codec()
    people = joints[:, 0].numpy()
    reference = lambda: torch.from_numpy(np.stack([person_maps(p) for p in people]))  # noqa: E731
    with threads(torch, 1):
        ours, other = race(lambda: codec.encode(joints, visible), reference, 20, calls=5)
    wrong = (codec.encode(joints, visible).at(1)['heatmap'] - reference()).abs().max()
    details = per_person(ours, other) | {'largest difference': float(wrong)}
    return [
        Row(
            'encode',
            '32 people, 14 joints at 46x46, faster than NumPy',
            other / ours,
            'x',
            *at_least(other / ours, 15),
            details,
        )
    ]


def measure_decode(args: argparse.Namespace) -> list[Row]:
    """A batch of maps to joints with DARK against one person at a time with NumPy and OpenCV; one thread each."""
    import torch

    codec, joints, visible = people_and_codec()
    maps = codec.encode(joints, visible).at(1)['heatmap']
    people, kernel = maps.numpy(), 3
    reference = lambda: np.stack([person_joints(m, kernel) for m in people])  # noqa: E731
    with threads(torch, 1):
        ours, other = race(lambda: codec.decode({'heatmap': maps}), reference, 20, calls=5)
    wrong = np.abs(codec.decode({'heatmap': maps}).keypoints.numpy() - reference()).max()
    details = per_person(ours, other) | {'largest difference, px': float(wrong)}
    return [
        Row(
            'decode',
            'the same with DARK, faster than NumPy and OpenCV',
            other / ours,
            'x',
            *at_least(other / ours, 10),
            details,
        )
    ]


def per_person(ours: float, other: float) -> dict[str, float]:
    return {'ours, µs a person': ours / 32 * 1e6, 'reference, µs a person': other / 32 * 1e6}


def at_least(figure: float, target: float, unit: str = 'x') -> tuple[str, bool]:
    return f'>= {target:g} {unit}', figure >= target


def at_most(figure: float, target: float, unit: str) -> tuple[str, bool]:
    return f'<= {target:g} {unit}', figure <= target


PARSED = {1: 1.0, 5: 1.5, 20: 2.0, 50: 8.0}  # people, and the most that putting them together may take, ms
FIGURE = {  # of somebody upright who is 1 high: how far beside the middle, and below the top
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


def crowd(skeleton: Any, pictures: int, people: int, side: int) -> Any:
    """Joints (B, N, K, 2) of people in pictures of `side` px: the more there are, the smaller they are."""
    import torch

    rng = np.random.default_rng(0)
    sides = [(-1 if joint.startswith('right') else 1, *FIGURE[joint.split('_')[-1]]) for joint in skeleton.joints]
    figure = np.array([(way * x, y) for way, x, y in sides])
    height = side * next(share for most, share in ((1, 0.8), (5, 0.5), (20, 0.3), (math.inf, 0.22)) if people <= most)
    joints = height * (figure + rng.normal(0, 0.02, (pictures, people, *figure.shape)))
    low, high = joints.min(axis=2, keepdims=True), joints.max(axis=2, keepdims=True)
    room = np.maximum(side - 1 - (high - low), 0)
    return torch.from_numpy(joints - low + rng.random(low.shape) * room).float()


def measure_paf(args: argparse.Namespace) -> list[Row]:
    """Fields to people beside the network, one thread by processor time; and people to fields, two threads."""
    import torch

    torch.zeros(2**23 - 2**10).add_(1)  # keeps freed megabytes
    with threads(torch, 1), torch.inference_mode():
        parsed = {count: [parsing(count, cells) for cells in (46, 64)] for count in PARSED}
    rows = []
    for count, most in PARSED.items():
        worst = max(parts['cpp, ms'] for parts in parsed[count])
        details = {
            f'{n} at {c}x{c}': v for c, parts in zip((46, 64), parsed[count], strict=True) for n, v in parts.items()
        }
        what = f'scoring, matching and putting together {count} of COCO-18, 46x46 and 64x64'
        rows.append(Row(f'paf {count}', what, worst, 'ms', *at_most(worst, most, 'ms'), details))
    rows.append(growth(parsed))
    rows.append(paf_encoding())
    return rows


def parsing(people: int, cells: int) -> dict[str, float]:
    """Processor time of the parts of reading one picture of a crowd, with two parsers, and the pairs of peaks in it."""
    import torch

    from poseplug.codecs.paf import PAF
    from poseplug.grouping.paf import assemble
    from poseplug.grouping.peaks import find_peaks
    from poseplug.grouping.presets import get_rules
    from poseplug.skeleton import get_skeleton

    skeleton = get_skeleton('coco18')
    codec = PAF(skeleton, (8 * cells, 8 * cells))
    joints = crowd(skeleton, 1, people, 8 * cells)
    fields = codec.encode(joints, torch.ones(joints.shape[:3])).at(0)
    noise = torch.randn(fields['paf'].shape, generator=torch.Generator().manual_seed(0))
    paf, maps = (fields['paf'] + 0.02 * noise)[0].numpy(), fields['heatmap'][:, : len(skeleton)].contiguous()
    find = functools.partial(find_peaks, maps, codec.rules.peak, how=codec.places)
    found = {}
    for name in ('cpp', 'complete'):
        rules = get_rules(name)
        peaks = find_peaks(maps, rules.peak, how=codec.places)
        action = functools.partial(assemble, peaks, paf, skeleton, rules, 8.0)
        found[f'{name}, ms'] = processor_ms(action)
    result = assemble(find(), paf, skeleton, codec.rules, 8.0)
    return found | {'peaks, ms': processor_ms(find), 'pairs': result.counts['pairs'], 'people': len(result.joints)}


def processor_ms(action: Callable[[], Any], calls: int = 40) -> float:
    """The median of the processor time of some calls, after a few that do not count: ms."""
    times = []
    for _ in range(calls + 5):
        begun = time.process_time()
        action()
        times.append(time.process_time() - begun)
    return 1e3 * statistics.median(times[5:])


def growth(parsed: dict[int, list[dict[str, float]]]) -> Row:
    """How many times longer parsing takes, by how many times more pairs there are: the worst step to more people."""
    steps = {}
    for column, cells in enumerate((46, 64)):
        counts = list(parsed)
        for few, many in zip(counts[:-1], counts[1:], strict=True):
            less, more = parsed[few][column], parsed[many][column]
            longer = more['cpp, ms'] / less['cpp, ms']
            steps[f'{few} to {many} people, {cells}x{cells}'] = longer / (more['pairs'] / less['pairs'])
    worst = max(steps.values())
    what = 'growth of that time by the growth of the pairs, the worst step'
    return Row('paf growth', what, worst, 'x', *at_most(worst, 1, 'x'), steps)


def paf_encoding() -> Row:
    """Drawing the targets of 8 pictures of 10 people, 368 px; the best time counts."""
    import torch

    from poseplug.codecs.paf import PAF
    from poseplug.skeleton import get_skeleton

    skeleton = get_skeleton('coco18')
    codec, joints = PAF(skeleton, (368, 368)), crowd(skeleton, 8, 10, 368)
    action = functools.partial(codec.encode, joints, torch.full(joints.shape[:3], 2, dtype=torch.uint8))
    with threads(torch, 1):
        own = processor_ms(action)
    with threads(torch, 2):
        took = 1e3 * seconds(action, 40)
    details = {'one thread, processor time, ms': own}
    what = '8 pictures of 10 people to fields, 46x46, 2 threads, best of 40'
    return Row('paf encode', what, took, 'ms', *at_most(took, 20, 'ms'), details)


def measure_loader(args: argparse.Namespace) -> list[Row]:
    """What a loader worker spends its time on: decoding and the warp, as a share of whole batches."""
    import cv2
    import torch

    from poseplug.datasets import images
    from poseplug.datasets.transforms.warp import Warp
    from poseplug.sample import Draw, collate

    cv2.setNumThreads(0)
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, threads(torch, 1):
        dataset, pictures = training_set(Path(folder))
        dataset.pipeline = [timed(t, 'warp', spent) if isinstance(t, Warp) else t for t in dataset.pipeline]
        dataset.pictures.get = timed(dataset.pictures.get, 'read', spent)
        batches = [[Draw(e, (16 * b + i) % len(dataset)) for i in range(16)] for e in range(3) for b in range(8)]
        runs = []
        with patch.object(images, 'decode', timed(images.decode, 'decode', spent)):  # from within the warp
            for batch in batches:
                spent.clear()
                whole = seconds(lambda batch=batch: collate([dataset[d] for d in batch]))
                decode, warped = spent['read'] + spent['decode'], spent['warp'] - spent['decode']
                runs.append((100 * (decode + warped) / whole, decode, warped, whole))
    share, decode, warped, whole = (statistics.median(column) for column in zip(*runs[1:], strict=True))
    details = {'pictures': pictures, 'decode, ms a sample': decode / 16e-3, 'warp, ms a sample': warped / 16e-3}
    details |= {'all, ms a sample': whole / 16e-3, 'median of batches of 16': len(runs) - 1}
    what = 'decode and warp, share of a worker (cpm_lsp_368)'
    return [Row('loader', what, share, '%', *at_least(share, 80, '%'), details)]


def training_set(folder: Path) -> tuple[Any, str]:
    """The training set of cpm_lsp_368.py: real Leeds Sports Pose where it is, else pictures generated into `folder`."""
    from poseplug.build import build_dataset
    from poseplug.config import load_config
    from poseplug.datasets.sources.base import folder_of

    cfg = load_config(CPM_368)
    spec = dict(cfg.train_dataloader['dataset'])
    root = folder_of(None, 'lsp', 'joints.mat')
    if (root / 'joints.mat').is_file():
        spec['sources'] = [dict(type='LSPSource', root=str(root), half='train')]
        return build_dataset(cfg, spec), 'Leeds Sports Pose'
    from poseplug.datasets import synthetic

    root = synthetic.write_lsp(folder / 'synthetic', 64)
    spec['sources'] = [dict(type='LSPSource', root=str(root))]
    return build_dataset(cfg, spec), 'generated'


def timed(action: Callable[..., Any], name: str, spent: Counter[str], sync: Callable[[], Any] = lambda: None) -> Any:
    """The same action, its time added to `spent`."""

    def run(*args: Any, **settings: Any) -> Any:
        sync()
        begun = time.perf_counter()
        result = action(*args, **settings)
        sync()
        spent[name] += time.perf_counter() - begun
        return result

    return run


@contextlib.contextmanager
def threads(torch: Any, count: int) -> Iterator[None]:
    """torch with `count` threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure_import(args: argparse.Namespace) -> list[Row]:
    """What `import poseplug` costs beyond bare Python."""
    ours, bare = race(lambda: python('import poseplug'), lambda: python('pass'), 7)
    cost = (ours - bare) * 1e3
    details = {'with, ms': ours * 1e3, 'bare, ms': bare * 1e3}
    return [Row('import', 'import poseplug beyond bare Python', cost, 'ms', *at_most(cost, 50, 'ms'), details)]


def python(code: str) -> str:
    """What a fresh interpreter prints for a piece of code, run in the project's root."""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'{code}\n{done.stderr}')
    return done.stdout


FORBIDDEN = ('matplotlib', 'mmengine.runner', 'poseplug.engine')
BUILD = """
import sys, time, json
begun = time.perf_counter()
from poseplug.config import load_config
from poseplug.build import build_model
build_model(load_config({config!r}))
"""
DESCRIBE = """
import contextlib, io, json, runpy, sys, time
begun = time.perf_counter()
sys.argv = ['describe', {config!r}, '--json']
sys.path.insert(0, 'tools')
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    runpy.run_path('tools/describe.py', run_name='__main__')
"""
REPORT = """
found = [m for m in {forbidden!r} if m in sys.modules]
print(json.dumps([time.perf_counter() - begun, len(sys.modules), found]))
"""


def measure_build(args: argparse.Namespace) -> list[Row]:
    """Building and describing a model in a fresh interpreter: time, modules, and none that draw or train."""
    actions = {'build': BUILD, 'describe': DESCRIBE} if (ROOT / 'tools/describe.py').is_file() else {'build': BUILD}
    rows = []
    for name, code in actions.items():
        whole = (code + REPORT).format(config=str(CPM_LITE), forbidden=FORBIDDEN)
        runs = [json.loads(python(whole).splitlines()[-1]) for _ in range(2)]
        took, modules, found = min(runs)
        bare = json.loads(
            python(
                'import time, json, sys; begun = time.perf_counter(); import torch\n'
                + REPORT.format(forbidden=FORBIDDEN)
            ).splitlines()[-1]
        )
        details = {'modules': modules, 'of them torch alone': bare[1], 'torch alone, s': bare[0], 'unwanted': found}
        what = f'{name} cpm_lsp_lite, best of 2; no {", ".join(FORBIDDEN)}'
        rows.append(Row(name, what, took, 's', 'no unwanted module', not found, details))
    return rows


def measure_frames(args: argparse.Namespace) -> list[Row]:
    """How many frames of ours lie between the user's call and the first convolution."""
    import torch
    from mmengine.optim import OptimWrapper

    found: dict[str, list[str]] = {}
    for config in (CPM_368, CPM_LITE):
        model = cpm(config, {'model.codec.input_size': (64, 64)})
        batch, optim = random_batch(model, 2), OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0))
        calls = {
            'predict': functools.partial(model.eval().predict, batch),
            'train_step': functools.partial(model.train_step, batch, optim),
        }
        layers = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
        for name, call in calls.items():
            look = functools.partial(found.setdefault, f'{config.stem} {name}')  # keeps what the first layer sees
            handles = [m.register_forward_pre_hook(lambda *_, look=look: look(our_frames()) and None) for m in layers]
            call()
            for handle in handles:
                handle.remove()
    figure = max(map(len, found.values()))
    details = {name: ' > '.join(reversed(frames)) for name, frames in found.items()}
    what = "our frames from the user's call to the first convolution"
    return [Row('frames', what, figure, '', *at_most(figure, 3, ''), details)]


def our_frames() -> list[str]:
    """The functions of poseplug that are running, innermost first."""
    frame, names = sys._getframe(), []
    while frame is not None:
        if Path(frame.f_code.co_filename).is_relative_to(ROOT / 'poseplug'):
            if frame.f_code.co_filename.endswith('cli.py'):
                break  # this command itself
            names.append(f'{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}')
        frame = frame.f_back
    return names


def cpm(config: Path, options: dict[str, Any] | None = None) -> Any:
    from poseplug.build import build_model
    from poseplug.config import load_config

    return build_model(load_config(config, options))


def random_batch(model: Any, count: int) -> Any:
    """A batch of noise with one person a picture, as a loader would hand it over."""
    import torch

    from poseplug.sample import Batch

    (width, height), joints = model.codec.input_size, len(model.skeleton)
    chance = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.randint(0, 256, (count, 1, height, width, 3), generator=chance, dtype=torch.uint8),
        keypoints=torch.rand(count, 1, joints, 2, generator=chance) * (width - 1),
        visible=torch.full((count, 1, joints), 2, dtype=torch.uint8),
        people=torch.ones(count, 1, dtype=torch.bool),
        centers=torch.full((count, 2), (width - 1) / 2),
        matrices=torch.eye(3, dtype=torch.float64).expand(count, 1, 3, 3).clone(),
        sizes=[(width, height)] * count,
        records=[],
        draws=[],
    )


def measure_cpm(args: argparse.Namespace) -> list[Row]:
    """Six-stage CPM at 368 px: one step of training and one prediction, where the time goes, and the memory."""
    import torch

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    size = args.batch or (16 if device == 'cuda' else 2)
    repeats = args.repeats or (20 if device == 'cuda' else 1)
    model = cpm(CPM_368).to(device)
    batch = random_batch(model, size).to(device)
    precision = torch.autocast(device, torch.bfloat16, enabled=args.bf16)
    with precision:
        predict, flops = prediction(model, batch, device, repeats)
        parts = training(model, batch, device, repeats)
    kind = f'{device}, {"bf16" if args.bf16 else "fp32"}, batch {size}, best of {repeats}'
    if device == 'cpu':
        kind += f', {torch.get_num_threads()} threads'
    step = parts['step']
    ours = step - sum(parts[n] for n in ('forward', 'backward', 'optimiser'))
    shares = {f'{n}, ms': v * 1e3 for n, v in parts.items()} | {
        'optimiser, % of the step': 100 * parts['optimiser'] / step
    }
    share, memory = 100 * ours / step, peak_memory(device)
    rows = [
        Row('cpm train', f'a training step at 368 px ({kind})', step, 's', details={'images a second': size / step}),
        Row(
            'cpm predict', f'a prediction at 368 px ({kind})', predict, 's', details={'images a second': size / predict}
        ),
        Row('cpm rest', 'of the step neither network nor optimiser', share, '%', *at_most(share, 5, '%'), shares),
        Row('cpm memory', 'peak of ' + ('the GPU' if device == 'cuda' else 'the process'), memory, 'GiB'),
    ]
    rows[0].details |= work(3 * flops, step, args)
    rows[1].details |= work(flops, predict, args)
    return rows


def work(flops: float, took: float, args: argparse.Namespace) -> dict[str, float]:
    """Work done (a multiply-add is two operations), and its share of the peak where that is given."""
    rate = flops / took / 1e12
    return {'TFLOP/s': rate} | ({'% of the peak': 100 * rate / args.peak_tflops} if args.peak_tflops else {})


def prediction(model: Any, batch: Any, device: str, repeats: int) -> tuple[float, float]:
    """Best time of one prediction, and the operations of its network."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model.eval()
    with FlopCounterMode(display=False) as counter:
        model.predict(batch)
    sync = torch.cuda.synchronize if device == 'cuda' else (lambda: None)
    times: Counter[str] = Counter()
    best = math.inf
    for _ in range(repeats):
        times.clear()
        timed(model.predict, 'all', times, sync)(batch)
        best = min(best, times['all'])
    return best, float(counter.get_total_flops())


def training(model: Any, batch: Any, device: str, repeats: int) -> dict[str, float]:
    """The parts of the best of some training steps, in seconds: the real step, with a clock around what it calls."""
    import torch
    from mmengine.optim import OptimWrapper

    spent: Counter[str] = Counter()
    sync = torch.cuda.synchronize if device == 'cuda' else (lambda: None)
    optim = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9))
    model.train()
    if device == 'cuda':
        model.train_step(batch, optim)
    object.__setattr__(model.codec, 'encode', timed(model.codec.encode, 'encode', spent, sync))
    model.stage_loss = timed(model.stage_loss, 'loss', spent, sync)
    model.forward = timed(model.forward, 'forward', spent, sync)
    optim.backward = timed(optim.backward, 'backward', spent, sync)
    optim.step = timed(optim.step, 'optimiser', spent, sync)
    optim.zero_grad = timed(optim.zero_grad, 'optimiser', spent, sync)
    runs = []
    for _ in range(repeats):
        spent.clear()
        timed(model.train_step, 'step', spent, sync)(batch, optim)
        runs.append(dict(spent))
    return min(runs, key=lambda run: run['step'])


def peak_memory(device: str) -> float:
    """GiB: allocated on the GPU, or the whole process."""
    import torch

    if device == 'cuda':
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def measure_export(args: argparse.Namespace) -> list[Row]:
    """RTMO-s as one file, from bytes at 640 px to people: both runtimes and PyTorch in turns; suppression's share."""
    import torch

    from poseplug.inference.export import export_onnx
    from poseplug.inference.exported import Exported

    runtimes, count = ('onnxruntime', 'openvino'), args.threads or 2
    model, images = sure_rtmo(cells=100)
    with tempfile.TemporaryDirectory() as folder, threads(torch, count), torch.inference_mode():
        file = export_onnx(model, Path(folder) / 'rtmo.onnx')
        loaded = {n: Exported(file, n, count) for n in runtimes}
        calls = {n: functools.partial(m, images) for n, m in loaded.items()}
        pixels = torch.from_numpy(images)
        calls['PyTorch'] = lambda: model.found(model(pixels)[-1])
        people = {n: len(call()) for n, call in calls.items()}
        walls, own = turns(calls, args.repeats or 15)
        shares = {n: suppression_share(Exported(file, n, count, profile=True), images) for n in runtimes}
        fields = model(pixels)[-1]
        chosen = min(seconds(lambda: model.codec.chosen(fields), 5) for _ in range(3))
        shares['PyTorch'] = 100 * chosen / min(walls['PyTorch'])
    rows = []
    for name in calls:
        details = {'best, ms': min(walls[name]) * 1e3, 'processor time, ms': statistics.median(own[name]) * 1e3}
        details |= {'suppression, %': shares[name], 'people': people[name], 'turns': len(walls[name])}
        what = f'RTMO-s at 640 px, one picture, {count} threads, median'
        rows.append(Row(f'export {name}', what, statistics.median(walls[name]) * 1e3, 'ms', details=details))
    return rows


def sure_rtmo(cells: int) -> tuple[Any, np.ndarray]:
    """RTMO-s with random weights and norms of noise, sure of so many cells of a picture of noise; and the picture."""
    from dataclasses import replace

    import torch
    from torch import nn

    from poseplug.models.folding import fold_norms

    torch.manual_seed(0)
    model = cpm(ROOT / 'configs/rtmo/rtmo_s_coco_640.py').train()
    images = np.random.default_rng(0).integers(0, 256, (1, 640, 640, 3), dtype=np.uint8)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the statistics are those of all that was seen
    with torch.no_grad():
        model(torch.from_numpy(images))
        scores = model.eval()(torch.from_numpy(images))[-1]['score'].sigmoid()[0].sort().values
    model.codec = replace(model.codec, threshold=scores[-cells - 1 : len(scores) - cells + 1].mean().item())
    fold_norms(model)
    model.memory_format = torch.channels_last
    return model.to(memory_format=torch.channels_last), images


def turns(calls: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and processor seconds of calls that take turns."""
    walls: dict[str, list[float]] = {n: [] for n in calls}
    own: dict[str, list[float]] = {n: [] for n in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            time.sleep(0.1)  # the others' threads fall asleep
            begun, used = time.perf_counter(), time.process_time()
            call()
            walls[name].append(time.perf_counter() - begun)
            own[name].append(time.process_time() - used)
    return walls, own


def suppression_share(exported: Any, images: np.ndarray) -> float:
    """Which share of all operators' time suppression takes, in percent."""
    for _ in range(5):
        exported(images)
    costs = exported.costs()
    return 100 * sum(v for n, v in costs.items() if n.startswith('NonMaxSuppression')) / sum(costs.values())


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
}
NEEDED = {'export': ('onnx', 'onnxscript', 'onnxruntime', 'openvino')}  # packages of the extra of that name


def show(rows: list[Row]) -> None:
    """The table: figure, target, reached or not, and what the figure was made of."""
    from rich.console import Console
    from rich.table import Table

    table = Table('row', 'what', 'figure', 'target', 'reached', 'made of')
    for row in rows:
        reached = {True: '[green]yes[/]', False: '[red]no[/]', None: ''}[row.reached]
        details = '\n'.join(f'{k}: {v:.4g}' if isinstance(v, float) else f'{k}: {v}' for k, v in row.details.items())
        table.add_row(row.name, row.what, f'{row.figure:.3g} {row.unit}', row.target, reached, details)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def run(args: argparse.Namespace) -> None:
    if args.against:
        compare(args)
        return
    if unknown := set(args.names) - set(MEASURES):
        raise ConfigError(f'there is no row {", ".join(sorted(unknown))}; known: {", ".join(MEASURES)}')
    rows = []
    for name in args.names or MEASURES:
        if not args.names and any(find_spec(package) is None for package in NEEDED.get(name, ())):
            print(f'{name}: left out, since the packages of poseplug[{name}] are not installed', file=sys.stderr)
            continue
        print(f'{name} ...', file=sys.stderr, flush=True)
        rows += MEASURES[name](args)
    show(rows)
    if args.json:
        args.json.write_text(json.dumps({'rows': [asdict(row) for row in rows]}, indent=1) + '\n')


def compare(args: argparse.Namespace) -> None:
    """The rows that another toolbox has as well, both measured in this run."""
    from compare import rows  # this folder's; the sides are found beside it

    if not args.mmpose_python:
        raise ConfigError('--against mmpose needs --mmpose-python, the Python that has it; see docs/benchmark.md')
    if args.names and not any(rows.chosen_by(args.names, name) for name in rows.names()):
        raise ConfigError(f'no row begins with {" or ".join(args.names)}; known: {", ".join(rows.names())}')
    with tempfile.TemporaryDirectory() as folder:
        root, pictures = coco(Path(folder))
        results = rows.compare(args.mmpose_python, root, args.names, args.threads)
    rows.show(results)
    print(f'pictures: {pictures}')
    if args.json:
        args.json.write_text(rows.as_json(results))


def coco(folder: Path) -> tuple[Path, str]:
    """The root of COCO and what it is: the real one where it is, else pictures generated into `folder`."""
    from poseplug.datasets import synthetic
    from poseplug.datasets.sources.base import folder_of

    file = 'annotations/person_keypoints_train2017.json'
    root = folder_of(None, 'coco', file)
    if (root / file).is_file():
        return root.resolve(), 'COCO'
    return synthetic.write_coco(folder / 'synthetic', 64, 8).resolve(), 'generated'


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'rows: {", ".join(MEASURES)}')
    parser.add_argument('--against', choices=['mmpose'], help='measure the rows of both toolboxes, in turns')
    parser.add_argument('--mmpose-python', metavar='PYTHON', help='the Python of an environment that has MMPose')
    parser.add_argument(
        '--threads', type=int, help='of every row of --against (default: 1, and all to predict), and of export (2)'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the rows there as well')
    parser.add_argument('--batch', type=int, help='pictures a step of CPM (default: 2 on a CPU, 16 on a GPU)')
    parser.add_argument('--repeats', type=int, help='steps of CPM that are timed (default: 1 on a CPU, 20 on a GPU)')
    parser.add_argument('--bf16', action='store_true', help='run CPM under autocast to bfloat16')
    parser.add_argument('--peak-tflops', type=float, help="the device's peak in that precision, for the share of it")
    return parser


if __name__ == '__main__':
    main(parser(), run)
