"""Check the environment, and metrics and data of a config, with remedies.

poseplug doctor [CONFIG] [--html FILE.html] [--max-drawn 50] [--cfg-options KEY=VALUE ...]
The exit code is 1 for problems of the environment and for metrics that cannot measure the data; suspicious annotations
are only reported.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from poseplug.cli.options import add_config_options


def run(args: argparse.Namespace) -> None:
    from poseplug.inspect.environment import check_environment

    environment_findings = check_environment()
    print('environment', *environment_findings, sep='\n')
    metric_findings = [] if args.config is None else _report_config_findings(args, environment_findings)
    if any(finding.is_fault for finding in (*environment_findings, *metric_findings)):
        raise SystemExit(1)


def _report_config_findings(args: argparse.Namespace, environment_findings: list) -> list:
    """Print what is found about metrics and data; returns the findings about metrics."""
    from poseplug.config.load import load_config
    from poseplug.inspect.dataset_faults import collect_dataset_findings, find_suspect_instances, write_doctor_page
    from poseplug.inspect.dataset_reading import read_datasets
    from poseplug.inspect.metric_checks import check_metrics

    cfg = load_config(args.config, args.cfg_options)
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, nargs='?', help='a config, to check its data too')
    parser.add_argument('--html', type=Path, metavar='FILE', help='write a page that shows suspicious instances')
    parser.add_argument('--max-drawn', type=int, default=50, help='instances to draw per source (default: 50)')
    parser.add_argument('--num-workers', type=int, default=2, help='threads that read images (default: 2)')
    add_config_options(parser)
