"""Trains the variants of a config with several seeds and equal steps, and tests each; finished runs are read."""

from __future__ import annotations

__all__ = [
    'StudySettings',
    'VariantRun',
    'build_training_config',
    'choose_metric',
    'collect_scores',
    'compute_config_digest',
    'run_study',
]

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from poseplug.analysis.variants import Variant, check_variants, split_steps
from poseplug.config.build import build_evaluator, build_model
from poseplug.config.load import load_config
from poseplug.config.run_options import change_run_length
from poseplug.config.saved import format_runnable_config
from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.core.progress import format_duration
from poseplug.engine.dataloaders import build_dataloader
from poseplug.engine.launch import test, train
from poseplug.evaluation.results import EvaluationResult, list_possible_scores
from poseplug.files.atomic import write_atomically
from poseplug.files.checkpoint_folder import find_latest_checkpoint
from poseplug.files.jsonable import to_json_text

_RESULT_FILE = 'run.json'
_MINUTES_BETWEEN_CHECKPOINTS = 5.0


@dataclass(frozen=True)
class StudySettings:
    """Settings that all runs of an experiment share.

    Attributes:
        config: a file or the name of a config.
        out: the folder of the runs and results.
        steps: training steps of a run; None for those of the config.
        seeds: of the initial weights, the order of the samples and their augmentation; every variant has all of them.
        metric: the score that is compared; None for the first total of the config's evaluator.
        options: settings that replace those of the config, by dotted key.
        device: where the network is trained; None for a GPU if there is one.
    """

    config: str | Path
    out: Path
    steps: int | None = None
    seeds: Sequence[int] = (0, 1, 2)
    metric: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None


@dataclass(frozen=True)
class VariantRun:
    """A finished run.

    Attributes:
        variant: the name of the variant.
        seed: of the run.
        steps: training steps of all its trainings.
        parameters: number of learned parameters of the network.
        seconds: of training and test.
        scores: of the test, by name, of the last stage.
        stage_scores: of every stage.
        stage_curves: of every stage the curves of its metrics, by name the lists of x and y.
        work_dirs: the folders of its trainings; the last one has the tested weights.
        metric: the name of the compared score.
        lower_is_better: whether a smaller value of that score is the better one.
        digest: of the settings of all trainings.
    """

    variant: str
    seed: int
    steps: int
    parameters: int
    seconds: float
    scores: dict[str, float]
    stage_scores: list[dict[str, float]]
    stage_curves: list[dict[str, Any]]
    work_dirs: list[str]
    metric: str
    lower_is_better: bool
    digest: str

    @property
    def score(self) -> float:
        """The compared score."""
        return self.scores[self.metric]


def run_study(
    settings: StudySettings, variants: Sequence[Variant], on_run: Callable[[VariantRun], Any] | None = None
) -> list[VariantRun]:
    """Train and test every variant with every seed.

    A run that is finished in `settings.out` is read, one that was stopped is resumed.

    Args:
        settings: common to all runs.
        variants: what is compared.
        on_run: called with each run as soon as it is finished.

    Returns:
        The runs, by variant and seed.

    Raises:
        ConfigError: settings are wrong, or `settings.out` has runs of other settings.
    """
    check_variants(variants)
    if not settings.seeds or len(set(settings.seeds)) < len(settings.seeds):
        raise ConfigError(f'an experiment has seeds that differ; got {list(settings.seeds)}')
    configs = {variant.name: _build_configs(settings, variant) for variant in variants}  # errors before any training
    metric, _ = choose_metric(configs[variants[0].name][-1], settings.metric)
    # seed by seed, so that a study that is stopped has whole comparisons of the first seeds
    pending = [(variant, seed) for seed in settings.seeds for variant in variants]
    runs, start = {}, time.monotonic()
    for index, (variant, seed) in enumerate(pending):
        run = _read_run(settings, variant, seed) or _train_variant(settings, variant, seed, metric)
        runs[variant.name, seed] = run
        _print_progress(run, index + 1, len(pending), time.monotonic() - start)
        if on_run is not None:
            on_run(run)
    return [runs[variant.name, seed] for variant in variants for seed in settings.seeds]


def collect_scores(runs: Sequence[VariantRun], metric: str | None = None) -> dict[str, list[float]]:
    """Collect one score of all runs.

    Args:
        runs: of an experiment.
        metric: the name of the score; None for the compared one.

    Returns:
        By variant, one value per seed.
    """
    values: dict[str, list[float]] = {}
    for run in runs:
        values.setdefault(run.variant, []).append(run.scores[metric or run.metric])
    return values


def build_training_config(settings: StudySettings, variant: Variant, index: int, seed: int = 0) -> Any:
    """Build the config of one training of a variant.

    There is no validation in between, and the weights of the last step are tested: best checkpoints would be chosen on
    the data that they are tested on.

    Args:
        settings: common to all runs.
        variant: with its trainings.
        index: of the training.
        seed: of the run.

    Raises:
        ConfigError: a setting is wrong, or neither the settings nor the config say how many steps there are.
    """
    training = variant.trainings[index]
    cfg = load_config(settings.config, {**settings.options, **variant.options, **training.options}, training=True)
    steps = settings.steps or (cfg.get('train_cfg') or {}).get('max_steps')
    if not isinstance(steps, int):
        raise ConfigError(f'{settings.config} counts epochs; state the number of steps of a run by --steps')
    change_run_length(cfg, steps=split_steps(steps, variant.trainings)[index])
    cfg.train_cfg['val_interval'] = 0
    cfg.val_dataloader = cfg.early_stop = None
    hooks = dict(cfg.get('default_hooks') or {})
    # one checkpoint, at the end (a fraction of 1.0) and every few minutes for a run that is stopped
    checkpoint = dict(type='SaveHook', interval=1.0, interval_minutes=_MINUTES_BETWEEN_CHECKPOINTS, max_keep_ckpts=1)
    cfg.default_hooks = {**hooks, 'checkpoint': checkpoint}
    cfg.seed = seed
    return cfg


def choose_metric(cfg: Any, metric: str | None, split: str = 'test') -> tuple[str, bool]:
    """Choose the score that is compared, checked on the annotations before anything is trained.

    Args:
        cfg: a loaded config.
        metric: the name of the score; None for the first total of the evaluator.
        split: 'val' or 'test': whose evaluator and data are asked.

    Returns:
        The name, and whether a smaller value is the better one.

    Raises:
        ConfigError: there is no such score.
    """
    model: Any = build_model(cfg)
    create_metrics = partial(build_evaluator, cfg, split, model.skeleton)
    loader: Any = build_dataloader(cfg, f'{split}_dataloader', 0)
    possible = list_possible_scores(create_metrics, loader.dataset.records, f'{split}_evaluator', metric)
    if possible is None:  # a metric of a plugin, whose scores are known after a test
        if metric is None:
            raise ConfigError('the scores of this config are not known before a test; name one by --metric')
        return metric, any(part.lower_is_better for part in create_metrics())
    names = list(possible.values)
    totals = [name for name in names if '/' not in name]
    chosen = (totals or names)[0] if metric is None else metric
    if chosen not in names:
        hint, known = suggest_closest(chosen, names), f'known: {", ".join(totals)}'
        raise ConfigError(compose_message(f'there is no score {chosen!r}', hint, known))
    return chosen, chosen in possible.lower_is_better


def compute_config_digest(configs: Sequence[Any]) -> str:
    """Compute a digest of the settings of configs, to tell runs of other settings apart.

    Args:
        configs: loaded configs.

    Returns:
        16 hexadecimal digits.
    """
    text = '\n'.join(format_runnable_config(cfg) for cfg in configs)
    # 64 bits, enough to tell the few runs of a folder apart
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _build_configs(settings: StudySettings, variant: Variant, seed: int = 0) -> list[Any]:
    return [build_training_config(settings, variant, index, seed) for index in range(len(variant.trainings))]


# --- one run ----------------------------------------------------------------------------------------------------------


def _get_run_folder(settings: StudySettings, variant: Variant, seed: int) -> Path:
    return settings.out / 'runs' / variant.folder_name / f'seed_{seed}'


def _read_run(settings: StudySettings, variant: Variant, seed: int) -> VariantRun | None:
    """The finished run of an earlier call, or None."""
    file = _get_run_folder(settings, variant, seed) / _RESULT_FILE
    if not file.is_file():
        return None
    try:
        run = VariantRun(**json.loads(file.read_text()))
    # TypeError: a file of another version of poseplug, whose runs have other fields
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f'{file} cannot be read ({error}); remove that folder to train this run again') from error
    if run.digest != compute_config_digest(_build_configs(settings, variant, seed)):
        raise ConfigError(f'{file} is of a run with other settings; name another --out, or remove that folder')
    if settings.metric not in (None, *run.scores):
        raise ConfigError(f'{file} has no score {settings.metric!r}; name one of {", ".join(run.scores)}')
    return run


def _train_variant(settings: StudySettings, variant: Variant, seed: int, metric: str) -> VariantRun:
    """Train a variant's trainings one after the other, test the last weights, and write the result."""
    folder, start = _get_run_folder(settings, variant, seed), time.monotonic()
    configs, work_dirs = _build_configs(settings, variant, seed), list[Path]()
    for index, cfg in enumerate(configs):
        work_dirs.append(folder / f'training_{index + 1}')
        # the weights of the training before, without its optimizer
        init = str(find_latest_checkpoint(work_dirs[-2])) if index else None
        train(cfg, work_dirs[-1], resume='auto', init=init, device=settings.device)
    result = test(configs[-1], work_dirs[-1], device=settings.device)
    if metric not in result.values:
        raise ConfigError(f'the test has no score {metric!r}; it has: {", ".join(result.values)}')
    run = VariantRun(
        variant=variant.name,
        seed=seed,
        steps=sum(cfg.train_cfg.max_steps for cfg in configs),
        parameters=sum(parameter.numel() for parameter in build_model(configs[-1]).parameters()),
        seconds=round(time.monotonic() - start, 1),
        scores=result.values,
        stage_scores=[stage.values for stage in result.stage_scores],
        stage_curves=_list_stage_curves(result),
        work_dirs=[str(path) for path in work_dirs],
        metric=metric,
        lower_is_better=metric in result.scores.lower_is_better,
        digest=compute_config_digest(configs),
    )
    write_atomically(folder / _RESULT_FILE, to_json_text(asdict(run), indent=1).encode())
    return run


def _list_stage_curves(result: EvaluationResult) -> list[dict[str, Any]]:
    return [{name: [list(x), list(y)] for name, (x, y) in stage.curves.items()} for stage in result.stage_scores]


def _print_progress(run: VariantRun, done: int, total: int, seconds: float) -> None:
    """A line on stderr; the bars of trainings stand in between."""
    remaining = format_duration(seconds / done * (total - done))
    score = f'{run.metric} {run.score:.2f}'
    print(f'run {done}/{total}: {run.variant}, seed {run.seed}: {score}, {remaining} left', file=sys.stderr, flush=True)
