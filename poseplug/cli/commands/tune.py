"""Search settings of a config: many short trainings, by Optuna.

poseplug tune CONFIG --space FILE --out DIR [--trials N] [--steps N] [--metric NAME] [--seed N]
FILE (YAML or JSON) has a list of values, or low and high, for each dotted key. The same command resumes a search.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poseplug.cli.argument_types import parse_positive_int
from poseplug.cli.options import CONFIG_HELP, add_config_options

if TYPE_CHECKING:
    from poseplug.analysis.tuning import TuningTrial
    from poseplug.report.result_table import ResultTable


def run_tune(args: argparse.Namespace) -> None:
    from poseplug.analysis.search_space import read_search_space
    from poseplug.analysis.tuning import TuningSettings, choose_best_trial, run_tuning
    from poseplug.engine.results import create_output_folder
    from poseplug.report.result_table import format_result_table, write_result_table

    space = read_search_space(args.space)
    # before the first training: hours later it would be too late to name another folder
    create_output_folder(args.out, args.out, '--out')
    settings = TuningSettings(
        config=args.config,
        space=space,
        out=args.out,
        trials=args.trials,
        steps=args.steps,
        metric=args.metric,
        seed=args.seed,
        options=args.cfg_options or {},
        device=args.device,
    )
    trials, metric, lower_is_better = run_tuning(settings)
    best = choose_best_trial(trials, lower_is_better)
    table = _build_table(args, trials, best, metric)
    print(format_result_table(table))
    print(f'\nwritten: {", ".join(map(str, write_result_table(table, args.out)))}')


def _build_table(args: argparse.Namespace, trials: list[TuningTrial], best: TuningTrial, metric: str) -> ResultTable:
    """One row per trial, and a chart of the scores and of the best one so far."""
    from poseplug.report.result_table import ResultTable

    rows: list[dict[str, Any]] = []
    for trial in trials:
        row = {'trial': trial.number, metric: trial.score, 'seconds': trial.seconds, **trial.settings}
        rows.append({**row, 'failure': trial.failure})
    # quoted: values such as (1, 2) and dict(...) have characters that a shell reads
    options = shlex.join(f'{key}={value!r}' for key, value in best.settings.items())
    notes = [
        f'Best: trial {best.number}, {metric} {best.score:.2f}, {best.work_dir}',
        f'Train with it: `poseplug train {args.config} --cfg-options {options}`',
        'The best of many trials is an optimistic estimate: images for testing have no part in a search.',
    ]
    charts = _build_charts(trials, best, metric)
    return ResultTable(f'Search of {args.config.stem}', _format_command(args), rows, charts, notes)


def _build_charts(trials: list[TuningTrial], best: TuningTrial, metric: str) -> dict[str, Any]:
    """The scores by trial, and by the value of every setting that is a number."""
    from poseplug.report.charts import Chart, Series

    # failed trials have no score, and are rows of the table alone
    finished = [trial for trial in trials if trial.score is not None]
    numbers, scores = [float(trial.number) for trial in finished], [trial.score or 0.0 for trial in finished]
    charts = {'scores': Chart('Scores of the trials', 'trial', metric, [Series(metric, numbers, scores)])}
    for key, value in best.settings.items():
        # True is an `int`, but no position on an axis
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        points = sorted((float(trial.settings[key]), trial.score or 0.0) for trial in finished)
        series = Series(metric, [x for x, _ in points], [y for _, y in points])
        charts[key.replace('.', '_')] = Chart(f'{metric} by {key}', key, metric, [series])
    return charts


def _format_command(args: argparse.Namespace) -> str:
    words = ['poseplug', 'tune', str(args.config), '--space', str(args.space), '--out', str(args.out)]
    words += ['--trials', str(args.trials)]
    words += ['--steps', str(args.steps)] if args.steps else []
    words += ['--metric', args.metric] if args.metric else []
    words += ['--seed', str(args.seed)] if args.seed else []
    options = [f'{key}={value!r}' for key, value in (args.cfg_options or {}).items()]
    return shlex.join([*words, '--cfg-options', *options] if options else words)


def add_tune_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help=CONFIG_HELP)
    parser.add_argument(
        '--space', type=Path, required=True, metavar='FILE', help='the settings to vary, in YAML or JSON'
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='folder of trials, table and charts; trials are resumed'
    )
    parser.add_argument(
        '--trials', type=parse_positive_int, default=20, metavar='N', help='number of trainings (default: 20)'
    )
    parser.add_argument(
        '--steps', type=parse_positive_int, metavar='N', help="steps of each training (default: the config's)"
    )
    parser.add_argument('--metric', metavar='NAME', help='the validation score (default: the first total)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='seed of proposals and trainings (default: 0)')
    parser.add_argument('--device', help='device, such as cuda:1 or cpu (default: the accelerator if there is one)')
    add_config_options(parser)
