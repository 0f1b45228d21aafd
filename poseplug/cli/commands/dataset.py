"""Verify, convert, browse, prepare and pack data sets.

poseplug dataset verify CONFIG|PATH [--format NAME] [--images DIR]
poseplug dataset convert PATH OUT --to coco|yolo|csv
poseplug dataset browse CONFIG --out sheet.jpg [--split train|val|test] [--num-samples 48] [--raw]
poseplug dataset prepare synthetic --out DIR [--num-images N] [--format lsp|coco]
poseplug dataset prepare lsp|lspet|flic|coco|mpii|crowdpose|aic [--data-root DIR]
poseplug dataset pack CONFIG --out DIR [--to crops|webdataset] [--jpeg-quality 95] [--max-resolution 1.0]
poseplug dataset detect CONFIG|FOLDER --detector FILE.onnx --out detections.json [--score-threshold 0.2]
poseplug dataset estimate-sigmas LABELS LABELS ... [--out skeleton.json]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poseplug.cli.detector_options import add_detector_options, build_detector
from poseplug.cli.options import CONFIG_HELP, add_config_options

_SPLITS = ('train', 'val', 'test')
# of each cause the first ones show what is wrong; thousands would hide the counts above them
_MAX_LISTED_LABELS = 20


def run_dataset(args: argparse.Namespace) -> None:
    args.run(args)


def _run_verify(args: argparse.Namespace) -> None:
    from poseplug.data.formats.convert import is_label_path

    # --format and --images are for labels alone, so that either says what PATH is
    if args.format or args.images or is_label_path(args.config):
        _verify_labels(args.config, args.format, args.images)
        return
    from poseplug.config.load import load_config
    from poseplug.inspect import verify
    from poseplug.inspect.dataset_reading import abbreviate_names, read_datasets

    datasets = read_datasets(load_config(args.config, args.cfg_options), args.num_workers)
    for statistics in datasets:
        print('\n'.join(verify.format_statistics(statistics)))
    leaks = verify.find_train_test_leaks(datasets)
    if leaks:
        names = abbreviate_names(leaks)
        print(f'ERROR: {len(leaks)} images are both in a training and in a test set: {names}')
    # the lines were printed above; here they decide the exit code
    if leaks or any(list(verify.find_problems(statistics)) for statistics in datasets):
        raise SystemExit(1)
    print('no problems found')


def _verify_labels(path: Path, format_name: str | None, image_folder: Path | None) -> None:
    """Describe the labels of a file or folder and what is wrong with them; exit code 1 on problems."""
    from poseplug.data.formats.checks import find_label_problems
    from poseplug.data.formats.convert import find_label_format
    from poseplug.data.sources.label_files import find_label_refusal

    label_format = find_label_format(path, format_name)
    has_problems = False
    with tempfile.TemporaryDirectory() as extracted:
        # Frames of videos and images inside label files count as convert and init would write them.
        if image_folder is None and label_format.extract_images(path, Path(extracted)):
            image_folder = Path(extracted)
        for part in label_format.list_parts(path):
            labels = label_format.read(part, image_folder)
            problems = find_label_problems(labels)
            # Otherwise one fault would be listed twice.
            if not problems and (refusal := find_label_refusal(labels)):
                problems = [f'training refuses these labels: {refusal}']
            lines = labels.describe()
            lines += [f'  dropped: {label}' for label in labels.dropped[:_MAX_LISTED_LABELS]]
            lines += [f'  ERROR: {problem}' for problem in problems]
            print('\n'.join(lines))
            has_problems |= bool(problems or labels.dropped)
    if has_problems:
        raise SystemExit(1)
    print('no problems found')


def _run_convert(args: argparse.Namespace) -> None:
    from poseplug.data.formats.convert import convert_labels

    labels, report = convert_labels(args.path, args.out, args.to, args.format, args.images)
    lines = [*labels.describe(), *(f'  dropped: {label}' for label in labels.dropped)]
    lines += [f'  PROBLEM: {problem}' for problem in report.problems]
    lines += report.describe()
    print('\n'.join(lines))


def _run_browse(args: argparse.Namespace) -> None:
    from poseplug.config.load import load_config
    from poseplug.files.output_guard import check_dataset_outputs
    from poseplug.inspect.browse import build_contact_sheet, write_contact_sheet

    cfg = load_config(args.config, args.cfg_options)
    # a sheet must not replace an image of the data set
    check_dataset_outputs(cfg, [args.out])
    sheet = build_contact_sheet(cfg, args.split, args.num_samples, args.raw, args.epoch)
    write_contact_sheet(sheet, args.out)
    print(f'written: {args.out}')


def _run_prepare(args: argparse.Namespace) -> None:
    from poseplug.core.errors import ConfigError
    from poseplug.data import prepare

    if args.name != 'synthetic':
        # other sets have to be fetched from their owners: here they are only checked
        print(prepare.check_dataset(args.name, args.data_root))
        return
    if args.out is None:
        raise ConfigError('prepare synthetic needs --out DIR, the folder to write')
    folder = prepare.create_synthetic_dataset(
        args.out, args.format, args.num_images, args.num_train, args.seed, args.num_workers
    )
    print(f'written: {folder}')


def _run_pack(args: argparse.Namespace) -> None:
    from poseplug.config.build import build_dataset, get_input_size, require_setting
    from poseplug.config.load import load_config
    from poseplug.core.errors import ConfigError
    from poseplug.data.pack_writer import pack_dataset

    cfg = load_config(args.config, args.cfg_options)
    dataset_cfg = require_setting(require_setting(cfg, f'{args.split}_dataloader'), 'dataset')
    if args.to == 'webdataset':
        # other values than the defaults were typed, and would have no effect
        if (args.jpeg_quality, args.max_resolution) != (95, 1.0):
            raise ConfigError('--jpeg-quality and --max-resolution are for crops; shards copy image files as they are')
        _write_shards(dataset_cfg, args)
        return
    if args.shard_megabytes != 256:
        raise ConfigError('--shard-megabytes is for --to webdataset; leave it out')
    dataset = build_dataset(cfg, dataset_cfg)
    folder = pack_dataset(dataset, get_input_size(cfg), args.out, args.jpeg_quality, args.max_resolution)
    mebibytes = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    source = f'sources=[dict(type="PackedSource", data_root="{folder}")]'
    print(f'written: {folder} ({mebibytes:,.1f} MiB); read it by {source}')


def _write_shards(dataset_cfg: Any, args: argparse.Namespace) -> None:
    """Write the sources of a data set as shards, each in a folder of its own if there are several."""
    from poseplug.config.build import require_setting
    from poseplug.data.shard_writer import write_shards
    from poseplug.registry import SOURCES

    specs = require_setting(dataset_cfg, 'sources')
    specs = list(specs) if isinstance(specs, Sequence) else [specs]
    for number, spec in enumerate(specs):
        source = SOURCES.build(spec)
        records, report = source.load()
        print(report)
        # a folder of shards has one skeleton, and so one source
        out = args.out if len(specs) == 1 else args.out / str(number)
        folder = write_shards(records, source.skeleton, out, args.shard_megabytes << 20)
        mebibytes = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
        print(f'written: {folder} ({mebibytes:,.1f} MiB); read it by dict(type="ShardSource", data_root="{folder}")')


def _run_detect(args: argparse.Namespace) -> None:
    from poseplug.config.load import load_config
    from poseplug.config.shipped import is_config_argument
    from poseplug.files.output_guard import check_dataset_outputs, check_outputs
    from poseplug.predict import detected_boxes

    detector = build_detector(args, args.score_threshold, args.nms_threshold)
    # before the work of minutes: a wrong family or class is seen at once
    print(f'detector {detector.description}', flush=True)
    records = []
    if is_config_argument(str(args.input)):
        cfg = load_config(args.input, args.cfg_options)
        check_dataset_outputs(cfg, [args.out])
        records = detected_boxes.load_split_records(cfg, args.split)
        images = detected_boxes.index_images_by_id((record.id, record.path) for record in records)
    else:
        images = detected_boxes.list_numbered_images(args.input)
    check_outputs(images.values(), [args.out])
    results = detected_boxes.detect_boxes(images, detector)
    detected_boxes.write_detections(results, args.out)
    print(f'detector {detector.describe_funnel()}')
    print(f'written: {args.out}, {len(results):,} boxes in {len(images):,} images')
    # a folder of images has no labels that the boxes could be compared with
    if records:
        print(detected_boxes.describe_recall(records, results))


def _run_estimate_sigmas(args: argparse.Namespace) -> None:
    from poseplug.data.sources.label_files import LabelSource
    from poseplug.files.output_guard import check_outputs
    from poseplug.inspect.repeated_labels import estimate_sigmas, write_skeleton_with_sigmas

    first = LabelSource(args.labels[0], category=args.category)
    # keypoints of all files in the order of the first
    others = [LabelSource(path, category=args.category, skeleton=first.skeleton) for path in args.labels[1:]]
    if args.out is not None:
        check_outputs(args.labels, [args.out])
    labelings = []
    for source in (first, *others):
        records, report = source.load()
        print(report)
        labelings.append(records)
    estimate = estimate_sigmas(labelings, first.skeleton.keypoints)
    print('\n'.join(estimate.describe()))
    if args.out is not None:
        write_skeleton_with_sigmas(first.skeleton, estimate, args.out)
        print(f'written: {args.out}')


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar='verify | convert | browse | ...')
    _add_verify_arguments(
        commands.add_parser(
            'verify', help='count and check what a config reads, or labels of any format; exit code 1 on problems'
        )
    )
    _add_convert_arguments(
        commands.add_parser('convert', help='write labels of any format as COCO, YOLO-pose or CSV, with their images')
    )
    _add_browse_arguments(commands.add_parser('browse', help='write a sheet of images with their skeletons'))
    _add_prepare_arguments(
        commands.add_parser('prepare', help='create the synthetic data set, or check where another one should be')
    )
    _add_pack_arguments(
        commands.add_parser('pack', help='write the crops or images of a data set into a few large files')
    )
    _add_detect_arguments(
        commands.add_parser('detect', help="write the boxes of a detector, for tests with bbox_file='detections.json'")
    )
    _add_sigma_arguments(
        commands.add_parser('estimate-sigmas', help='estimate the sigmas of keypoints that several people labeled')
    )


def _add_sigma_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'labels',
        type=Path,
        nargs='+',
        metavar='LABELS',
        help='labels of the same images: a file or folder for each person who labeled them',
    )
    parser.add_argument('--category', metavar='NAME', help='category to read (default: all that have instances)')
    parser.add_argument('--out', type=Path, metavar='FILE', help='write a skeleton file (.json) with the sigmas')
    parser.set_defaults(run=_run_estimate_sigmas)


def _add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('path', type=Path, help='the labels: a file or folder of any known format')
    parser.add_argument('out', type=Path, metavar='OUT', help='the folder to create')
    parser.add_argument('--to', choices=('coco', 'yolo', 'csv'), default='coco', help='format to write (default: coco)')
    parser.add_argument('--format', metavar='NAME', help='format to read (default: recognized by the files)')
    parser.add_argument('--images', type=Path, metavar='DIR', help='folder of the images (default: beside the labels)')
    parser.set_defaults(run=_run_convert)


def _add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'config', type=Path, metavar='CONFIG|PATH', help='a config, or labels: a file or folder of any known format'
    )
    parser.add_argument('--format', metavar='NAME', help='format of the labels (default: recognized by the files)')
    parser.add_argument('--images', type=Path, metavar='DIR', help='folder of the images (default: beside the labels)')
    parser.add_argument('--num-workers', type=int, default=2, help='threads that decode images (default: 2)')
    parser.set_defaults(run=_run_verify)
    add_config_options(parser)


def _add_browse_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help=CONFIG_HELP)
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='the sheet, .jpg or .png')
    parser.add_argument('--split', choices=_SPLITS, default='train', help='which data set (default: train)')
    parser.add_argument(
        '--num-samples', type=int, default=48, help='number of samples, spread evenly over the split (default: 48)'
    )
    parser.add_argument('--epoch', type=int, default=0, help='epoch whose random augmentation is shown (default: 0)')
    parser.add_argument('--raw', action='store_true', help='show images as stored, before the transforms')
    parser.set_defaults(run=_run_browse)
    add_config_options(parser)


def _add_prepare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'name',
        metavar='DATASET',
        help='synthetic, lsp, lspet, flic, coco, mpii, crowdpose, aic, or one of an installed package',
    )
    parser.add_argument('--out', type=Path, metavar='DIR', help='synthetic: the folder to write')
    parser.add_argument('--num-images', type=int, default=1600, help='synthetic: number of images (default: 1600)')
    parser.add_argument(
        '--num-train', type=int, metavar='N', help='synthetic: number of training images (default: 7 of 8)'
    )
    parser.add_argument('--seed', type=int, default=0, help='synthetic: seed of the random numbers (default: 0)')
    parser.add_argument(
        '--format', choices=('lsp', 'coco'), default='lsp', help='synthetic: layout of the files (default: lsp)'
    )
    parser.add_argument('--num-workers', type=int, default=0, help='synthetic: additional processes (default: none)')
    parser.add_argument('--data-root', type=Path, metavar='DIR', help='other data sets: the folder to check')
    parser.set_defaults(run=_run_prepare)


def _add_pack_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', type=Path, help=CONFIG_HELP)
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='the folder to create')
    parser.add_argument('--split', choices=_SPLITS, default='train', help='which data set (default: train)')
    parser.add_argument(
        '--to',
        choices=('crops', 'webdataset'),
        default='crops',
        help='crops of instances, or tar shards of whole images (default: crops)',
    )
    parser.add_argument(
        '--shard-megabytes',
        type=int,
        default=256,
        metavar='MB',
        help='webdataset: largest size of a shard (default: 256)',
    )
    parser.add_argument('--jpeg-quality', type=int, default=95, help='crops: JPEG quality, 1 to 100 (default: 95)')
    parser.add_argument(
        '--max-resolution',
        type=float,
        default=1.0,
        help="crops: largest resolution, relative to the input's (default: 1.0)",
    )
    parser.set_defaults(run=_run_pack)
    add_config_options(parser)


def _add_detect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'input', type=Path, metavar='CONFIG | FOLDER', help='a config, or a folder of images with numbers as names'
    )
    parser.add_argument(
        '--detector', required=True, metavar='FILE', help='an ONNX file, URL#sha256=DIGITS, or a pose model'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help="the boxes, in COCO's result format")
    parser.add_argument('--split', choices=_SPLITS, default='test', help='which data set of a config (default: test)')
    # lower than 0.4 of predict: tests rank instances by score, and what is left out here cannot be recalled
    parser.add_argument('--score-threshold', type=float, default=0.2, help='minimum score of a box (default: 0.2)')
    parser.add_argument(
        '--nms-threshold',
        type=float,
        metavar='IOU',
        help="IoU of two boxes above which the one with the lower score is dropped (default: the family's)",
    )
    add_detector_options(parser)
    parser.set_defaults(run=_run_detect)
    add_config_options(parser)
