"""Check the environment, and a config with its data.

poseplug doctor [CONFIG] [--html FILE.html] [--max-drawn 50] [--cfg-options KEY=VALUE ...]
poseplug doctor CONFIG --model WEIGHTS [--split train|val|test] [--out DIR] [--html FILE.html]
With --model, the labels that the model disagrees with are ranked. The exit code is 1 for problems of the environment
and for metrics that cannot measure the data; suspicious annotations are only reported.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from poseplug.cli.options import add_config_options

# a screenful; the file in --out has all of them
_MAX_PRINTED = 20


def run_doctor(args: argparse.Namespace) -> None:
    if args.model is not None:
        _check_labels(args)
        return
    from poseplug.inspect.environment import check_environment

    environment_findings = check_environment()
    print('environment', *environment_findings, sep='\n')
    metric_findings = [] if args.config is None else _report_config_findings(args, environment_findings)
    if any(finding.is_fault for finding in (*environment_findings, *metric_findings)):
        # suspicious labels alone leave the exit code 0: what looks wrong may be right
        raise SystemExit(1)


def _report_config_findings(args: argparse.Namespace, environment_findings: list) -> list:
    """Print what is found about metrics and data; returns the findings about metrics."""
    from poseplug.config.load import load_config
    from poseplug.files.output_guard import check_dataset_outputs
    from poseplug.inspect.dataset_faults import collect_dataset_findings, find_suspect_instances, write_doctor_page
    from poseplug.inspect.dataset_reading import read_datasets
    from poseplug.inspect.metric_checks import check_metrics

    cfg = load_config(args.config, args.cfg_options)
    check_dataset_outputs(cfg, [args.html], '--html')
    metric_findings = check_metrics(cfg)
    if metric_findings:
        print('\nmetrics', *metric_findings, sep='\n')
    datasets = [(statistics, find_suspect_instances(statistics)) for statistics in read_datasets(cfg, args.num_workers)]
    for statistics, suspects in datasets:
        print(f'\n{statistics.title}', *collect_dataset_findings(statistics, suspects), sep='\n')
    if args.html is not None:
        write_doctor_page(args.html, [*environment_findings, *metric_findings], datasets, args.max_drawn)
        print(f'\nwritten: {args.html}')
    return metric_findings


def _check_labels(args: argparse.Namespace) -> None:
    """Rank the labels that a model disagrees with; write a list and a page."""
    from poseplug.config.build import require_setting
    from poseplug.config.load import load_config
    from poseplug.core.errors import ConfigError
    from poseplug.engine import launch
    from poseplug.files.output_guard import check_dataset_outputs
    from poseplug.inspect.label_check import find_label_suspects, write_suspect_list, write_suspect_page
    from poseplug.registry.skeletons import get_skeleton
    from poseplug.zoo.published_models import find_weights

    if args.config is None:
        raise ConfigError('--model needs a config: poseplug doctor CONFIG --model WEIGHTS')
    cfg = load_config(args.config, args.cfg_options)
    table, page = args.out / 'labels.csv', args.html or args.out / 'labels.html'
    check_dataset_outputs(cfg, [table, page], '--out or --html')
    if args.split != 'test':
        # The test pipeline without augmentation, on the images of another split.
        dataset = require_setting(require_setting(cfg, f'{args.split}_dataloader'), 'dataset')
        sources = require_setting(dataset, 'sources')
        cfg['test_dataloader']['dataset']['sources'] = sources
    skeleton = get_skeleton(cfg['skeleton'])
    suspects = find_label_suspects(launch.test(cfg, find_weights(str(args.model))).predictions, skeleton)
    for rank, suspect in enumerate(suspects[:_MAX_PRINTED], 1):
        names = ', '.join(suspect.keypoints)
        print(f'{rank:3}  {suspect.strength:.3f}  {suspect.label}: {suspect.finding} {names}')
    write_suspect_list(suspects, table)
    write_suspect_page(suspects, skeleton, page, args.max_drawn)
    print(f'written: {table} ({len(suspects):,} instances), {page}')


def add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, nargs='?', help='a config whose data is checked, too')
    parser.add_argument('--model', type=Path, metavar='WEIGHTS', help='rank the labels that this model disagrees with')
    parser.add_argument(
        '--split',
        choices=('train', 'val', 'test'),
        default='test',
        help='with --model: data set whose labels are ranked (default: test)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('label_check'),
        metavar='DIR',
        help='with --model: folder of the list and the page',
    )
    parser.add_argument(
        '--html',
        type=Path,
        metavar='FILE',
        help='write a page that shows suspicious instances (with --model: instead of labels.html in --out)',
    )
    parser.add_argument('--max-drawn', type=int, default=50, help='instances to draw per source (default: 50)')
    parser.add_argument('--num-workers', type=int, default=2, help='threads that read images (default: 2)')
    add_config_options(parser)
