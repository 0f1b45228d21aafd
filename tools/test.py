"""Measure a checkpoint on a config's test set: python tools/test.py CONFIG CHECKPOINT [--out results.json]."""

from __future__ import annotations

import argparse
from pathlib import Path

from poseplug.cli import add_options, main


def run(args: argparse.Namespace) -> None:
    from poseplug.config import load_config
    from poseplug.engine import launch, results
    from poseplug.skeleton import get_skeleton

    cfg = load_config(args.config, args.cfg_options)
    evaluation = launch.test(cfg, args.checkpoint)
    skeleton = get_skeleton(cfg['skeleton'])
    print(results.table(evaluation, skeleton))
    print(results.account(evaluation))
    if args.out:
        results.write(args.out, evaluation, skeleton, dict(config=args.config, checkpoint=args.checkpoint))
        print(f'written: {args.out}')


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path, help='a .pth or .safetensors file, or a work dir for its newest')
    parser.add_argument('--out', type=Path, metavar='FILE', help='write the scores and curves as JSON, too')
    return add_options(parser)


if __name__ == '__main__':
    main(parser(), run)
