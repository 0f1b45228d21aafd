"""Searches settings of a config by Optuna: each trial is a training with its own folder, stopped ones are resumed."""

from __future__ import annotations

__all__ = ['TuningSettings', 'TuningTrial', 'choose_best_trial', 'run_tuning']

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from poseplug.analysis.search_space import SearchedSetting
from poseplug.analysis.study import choose_metric, compute_config_digest
from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.config.run_options import change_run_length
from poseplug.core.errors import ConfigError, NonFiniteLossError
from poseplug.core.progress import format_duration
from poseplug.engine.launch import train
from poseplug.files.atomic import write_atomically
from poseplug.files.jsonable import to_json_text, to_json_values

_SETTINGS_FILE, _RESULT_FILE = 'settings.json', 'trial.json'
_RANDOM_TRIALS = 8  # before Optuna's sampler (TPE) has enough scores to learn from; its own default is 10


@dataclass(frozen=True)
class TuningSettings:
    """Settings that all trials of a search share.

    Attributes:
        config: a file or the name of a config.
        space: the settings that are varied.
        out: the folder of the trials and results.
        trials: number of trials.
        steps: training steps of each; None for the config's own length.
        metric: the validation score that is searched for; None for the first total of the config's `val_evaluator`.
        seed: of the proposals and of every training.
        options: settings that replace those of the config, by dotted key.
        device: where the network is trained; None for a GPU if there is one.
    """

    config: str | Path
    space: Sequence[SearchedSetting]
    out: Path
    trials: int = 20
    steps: int | None = None
    metric: str | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None


@dataclass(frozen=True)
class TuningTrial:
    """A finished trial.

    Attributes:
        number: from 0.
        settings: the varied settings, by dotted key.
        score: of the last validation; None if the training failed.
        failure: why it failed; empty if it did not.
        scores: all total scores of the last validation.
        steps: training steps.
        seconds: of the training, without those before a stop.
        work_dir: of the training; a trial that repeats the settings of an earlier one has its result and folder.
    """

    number: int
    settings: dict[str, Any]
    score: float | None
    failure: str
    scores: dict[str, float]
    steps: int
    seconds: float
    work_dir: str


def run_tuning(
    settings: TuningSettings, on_trial: Callable[[TuningTrial], Any] | None = None
) -> tuple[list[TuningTrial], str, bool]:
    """Search the settings with the best validation score.

    The proposal of a trial depends on the seed, its number and the trials before it, and nothing else is kept. A
    search that is stopped and called again so proposes the same settings, resumes the training that was stopped, and
    ends with the same trials as one that was not stopped. Finished trials are read.

    Args:
        settings: of the search.
        on_trial: called with each trial as soon as it is finished.

    Returns:
        The trials, the name of their score, and whether a smaller score is the better one.

    Raises:
        ConfigError: a setting does not fit the config, or `out` has trials of another search.
    """
    _check_settings(settings)
    cfg = _build_config(settings, {})
    if cfg.get('val_dataloader') is None:
        raise ConfigError(f'{settings.config} has no val_dataloader: a search needs images that are not trained on')
    metric, lower_is_better = choose_metric(cfg, settings.metric, split='val')
    trials, start = list[TuningTrial](), time.monotonic()
    for number in range(settings.trials):
        proposal = _propose_settings(settings, trials, lower_is_better)
        repeated = next((trial for trial in trials if trial.settings == proposal), None)
        if repeated is not None:  # with the same seed the same training, to the last bit
            trial = replace(repeated, number=number, seconds=0.0)
        else:
            trial = _read_trial(settings, number, proposal) or _run_trial(settings, number, proposal, metric)
        trials.append(trial)
        _print_progress(trial, metric, settings.trials, time.monotonic() - start)
        if on_trial is not None:
            on_trial(trial)
    return trials, metric, lower_is_better


def choose_best_trial(trials: Sequence[TuningTrial], lower_is_better: bool) -> TuningTrial:
    """Choose the trial of the best score, of equal ones the first.

    Args:
        trials: of a search.
        lower_is_better: whether a smaller score is the better one.

    Raises:
        ConfigError: all trials failed.
    """
    finished = [trial for trial in trials if trial.score is not None]
    if not finished:
        raise ConfigError(f'all {len(trials)} trials failed; the last one: {trials[-1].failure}')
    sign = -1 if lower_is_better else 1
    # `max` returns the first of equal ones.
    return max(finished, key=lambda trial: sign * (trial.score or 0.0))


def _check_settings(settings: TuningSettings) -> None:
    """Load the config with every choice and both ends of every range, before anything is trained."""
    if settings.trials < 1:
        raise ConfigError(f'a search has at least one trial; got {settings.trials}')
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"this needs the package optuna ({error}); pip install 'poseplug[tune]'") from error
    for setting in settings.space:
        if setting.key in settings.options:
            raise ConfigError(f'{setting.key} is searched; remove it from --cfg-options')
        for value in setting.list_ends():
            _build_config(settings, {setting.key: value})


def _build_config(settings: TuningSettings, proposal: Mapping[str, Any]) -> Any:
    """The config of a trial."""
    cfg = load_config(settings.config, {**settings.options, **proposal}, training=True)
    if settings.steps is not None:
        change_run_length(cfg, steps=settings.steps)
    # The same for all trials, so that their scores differ by the settings alone.
    cfg.seed = settings.seed
    return cfg


def _propose_settings(settings: TuningSettings, trials: Sequence[TuningTrial], lower_is_better: bool) -> dict[str, Any]:
    """The settings of the next trial, from the scores of those before it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Seeded anew for each trial: the sampler's own state would be lost with a process that is killed.
    sampler = optuna.samplers.TPESampler(seed=settings.seed + len(trials), n_startup_trials=_RANDOM_TRIALS)
    study = optuna.create_study(sampler=sampler, direction='minimize' if lower_is_better else 'maximize')
    distributions = {setting.key: setting.build_distribution() for setting in settings.space}
    for trial in trials:
        known = {setting.key: setting.convert_value(trial.settings[setting.key]) for setting in settings.space}
        state = optuna.trial.TrialState.FAIL if trial.score is None else optuna.trial.TrialState.COMPLETE
        frozen = optuna.trial.create_trial(params=known, distributions=distributions, value=trial.score, state=state)
        study.add_trial(frozen)
    proposed = study.ask(distributions).params
    return {setting.key: setting.convert_proposal(proposed[setting.key]) for setting in settings.space}


# --- one trial --------------------------------------------------------------------------------------------------------


def _get_trial_folder(settings: TuningSettings, number: int) -> Path:
    return settings.out / 'trials' / f'{number:04d}'


def _read_trial(settings: TuningSettings, number: int, proposal: Mapping[str, Any]) -> TuningTrial | None:
    """The finished trial of an earlier call, or None."""
    folder = _get_trial_folder(settings, number)
    stated = _read_json(folder / _SETTINGS_FILE)
    if stated is not None and stated != to_json_values(_describe_trial(settings, proposal)):
        raise ConfigError(
            f'{folder / _SETTINGS_FILE} is of a search with another config, space, length or seed; name another --out'
        )
    content = _read_json(folder / _RESULT_FILE)
    try:
        # Tuples became lists in the file, so that the proposal itself is taken, which equals what was stored.
        return None if content is None else TuningTrial(**{**content, 'settings': dict(proposal)})
    except TypeError as error:
        raise ConfigError(f'{folder / _RESULT_FILE} cannot be read ({error}); remove that folder') from error


def _read_json(file: Path) -> Any:
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ConfigError(f'{file} cannot be read ({error}); remove the folder to run this trial again') from error


def _describe_trial(settings: TuningSettings, proposal: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a trial the same: its settings, and a digest of the whole config, whose file may be edited."""
    try:
        digest = compute_config_digest([_build_config(settings, proposal)])
    except ConfigError as error:  # the trial fails, which `_train_trial` records
        digest = str(error)
    return dict(settings=dict(proposal), config_digest=digest)


def _run_trial(settings: TuningSettings, number: int, proposal: Mapping[str, Any], metric: str) -> TuningTrial:
    """Train with the proposed settings, and write the result; a stopped training is resumed."""
    folder, start = _get_trial_folder(settings, number), time.monotonic()
    description = to_json_text(_describe_trial(settings, proposal), indent=1)
    write_atomically(folder / _SETTINGS_FILE, description.encode())
    trial = _train_trial(settings, proposal, metric, folder / 'run')
    trial = replace(trial, number=number, seconds=round(time.monotonic() - start, 1))
    write_atomically(folder / _RESULT_FILE, to_json_text(asdict(trial), indent=1).encode())
    return trial


def _train_trial(settings: TuningSettings, proposal: Mapping[str, Any], metric: str, work_dir: Path) -> TuningTrial:
    """The result of the training, or why there is none."""
    # Number and seconds are set by the caller.
    trial = TuningTrial(0, dict(proposal), None, '', {}, steps=0, seconds=0.0, work_dir=str(work_dir))
    try:
        cfg = _build_config(settings, proposal)
        build_model(cfg)
    except ConfigError as error:  # two proposed settings that do not fit each other are a result of the search
        return replace(trial, failure=str(error))
    try:
        result = train(cfg, work_dir, resume='auto', device=settings.device)
    except NonFiniteLossError as error:  # such as at the highest learning rates
        return replace(trial, failure=str(error))
    if metric not in result.scores:
        raise ConfigError(f'the last validation of {work_dir} has no score {metric!r}; see val_interval')
    totals = {name: value for name, value in result.scores.items() if '/' not in name}
    return replace(trial, score=result.scores[metric], scores=totals, steps=result.steps)


def _print_progress(trial: TuningTrial, metric: str, total: int, seconds: float) -> None:
    """A line on stderr; the bars of trainings stand in between."""
    done = trial.number + 1
    remaining = format_duration(seconds / done * (total - done))
    score = f'failed: {trial.failure}' if trial.score is None else f'{metric} {trial.score:.2f}'
    print(f'trial {done}/{total}: {trial.settings}: {score}, {remaining} left', file=sys.stderr, flush=True)
