"""Writes a project: COCO files, a skeleton, a sheet of the labels, and a config that trains on them."""

from __future__ import annotations

__all__ = ['Project', 'create_project']

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseplug.config.build import build_dataset
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError, ImageError, PoseplugError
from poseplug.core.progress import track_progress
from poseplug.core.skeleton import Skeleton
from poseplug.data.formats.base import LabeledImages
from poseplug.data.formats.checks import find_label_problems
from poseplug.data.formats.convert import find_label_format
from poseplug.data.formats.label_choice import choose_labels
from poseplug.data.formats.label_skeleton import LabelSkeleton, build_label_skeleton, reorder_skeleton
from poseplug.data.formats.stated_split import ImageSplit, read_stated_split
from poseplug.files.atomic import write_atomically
from poseplug.inspect.browse import write_contact_sheet
from poseplug.starter.label_sheet import draw_label_sheet
from poseplug.starter.label_summary import LabelStatistics, measure_labels
from poseplug.starter.near_duplicates import group_near_duplicates, hash_image_file
from poseplug.starter.project_config import CONFIG_FILE, SKELETON_FILE, format_project_config
from poseplug.starter.run_plan import RunPlan, plan_run
from poseplug.starter.splits import DEFAULT_VAL_FRACTION, split_images

SHEET_FILE = 'labels.jpg'


@dataclass(frozen=True)
class Project:
    """The files of a new project, and an example for the next commands.

    Attributes:
        folder: that it was written to.
        config: the config.
        lines: what the labels are, and what was chosen for them.
        example_image: an image of the validation part.
        example_box: the box of its first instance as x, y, width, height in px; None if it has none.
    """

    folder: Path
    config: Path
    lines: list[str]
    example_image: Path
    example_box: tuple[float, ...] | None


def create_project(
    data: Path,
    out: Path,
    image_folder: Path | None = None,
    model: str | None = None,
    format_name: str | None = None,
    categories: Sequence[str] = (),
    val_fraction: float = DEFAULT_VAL_FRACTION,
    seed: int = 0,
) -> Project:
    """Read labels of any format, split them, and write a config that trains on them.

    Args:
        data: the labels: a file or a folder of any known format.
        out: the folder to write; it must not exist, or be empty.
        image_folder: the folder of the images; None looks where the format has them.
        model: 'small', 'base', 'large', the name of a shipped config or of a published model, from whose weights the
            run begins; None chooses by the data set.
        format_name: of the labels; None finds it by what the files contain.
        categories: names of those to learn; empty for all.
        val_fraction: fraction of the images for validation, where the files have no split.
        seed: of the split.

    Returns:
        What was written. Images stay where they are, except frames that a label file contains.

    Raises:
        ConfigError: `out` has files, or the model does not exist.
        AnnotationError: the labels cannot be read, or one model cannot learn them.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f'{out} exists and is not an empty folder; name a new one by --out')
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        return _ProjectWriter(data, out, model, val_fraction, seed).write_project(image_folder, format_name, categories)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f'{out}: {reason}; name another folder by --out') from error
    except PoseplugError:
        for path in out.iterdir():  # all of it was written here
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if is_new:
            out.rmdir()
        raise


class _ProjectWriter:
    """Writes one project."""

    def __init__(self, data: Path, out: Path, model: str | None, val_fraction: float, seed: int):
        self.data, self.out, self.model = data, out, model
        self.val_fraction, self.seed = val_fraction, seed

    def write_project(self, image_folder: Path | None, format_name: str | None, categories: Sequence[str]) -> Project:
        """Write everything and read it again as training does."""
        label_format = find_label_format(self.data, format_name)
        # some label files contain their frames (SLEAP); all others name image files
        if image_folder is None and label_format.extract_images(self.data, self.out / 'images'):
            image_folder = self.out / 'images'
        original = label_format.read(self.data, image_folder)
        problems = find_label_problems(original)
        labels = choose_labels(original, categories)
        skeleton = build_label_skeleton(self.data, labels.content['categories'][0])
        statistics = measure_labels(labels)
        split = self._select_split(labels)
        for image, name in zip(labels.content['images'], split.names, strict=True):
            image['split'] = name
        num_train = self._write_annotations(labels, skeleton)
        plan = plan_run(self.model, num_train, statistics.median_box)
        self._write_config(labels, skeleton, plan, split)
        sheet = draw_label_sheet(labels.content, labels.image_folder, _in_file_order(labels, skeleton))
        write_contact_sheet(sheet, self.out / SHEET_FILE)
        lines = [*labels.describe(), *(f'  WARNING: {problem}' for problem in problems)]
        lines += self._describe_choices(skeleton, statistics, split, plan)
        # last: what training would refuse is an error here, and removes the project
        lines += self._read_again()
        return self._build_project(labels, lines)

    def _select_split(self, labels: LabeledImages) -> ImageSplit:
        """The split that the files state, or a new one of the images with instances; others are for training."""
        images = labels.content['images']
        stated = read_stated_split(images)
        if stated is not None:
            return stated
        labeled_ids = {annotation['image_id'] for annotation in labels.content['annotations']}
        names = [image['file_name'] for image in images if image['id'] in labeled_ids]
        hashes = []
        for index, name in enumerate(track_progress(names, 'comparing images', unit='image')):
            try:
                hashes.append(hash_image_file(labels.image_folder / name))
            except ImageError:  # reported among the problems, and refused when the files are read as in training
                hashes.append(index)
        split = split_images(names, group_near_duplicates(hashes), self.val_fraction, self.seed)
        by_name = dict(zip(names, split.names, strict=True))
        return ImageSplit([by_name.get(image['file_name'], 'train') for image in images], split.notes)

    def _write_annotations(self, labels: LabeledImages, skeleton: LabelSkeleton) -> int:
        """Write a COCO file per split; returns the number of training instances."""
        content = labels.content
        sigmas = list(_in_file_order(labels, skeleton).sigmas or ())
        categories = [{**category, 'sigmas': sigmas} for category in content['categories']]
        num_train = 0
        for split in ('train', 'val', 'test'):
            images = [image for image in content['images'] if image['split'] == split]
            if not images:
                continue
            ids = {image['id'] for image in images}
            annotations = [a for a in content['annotations'] if a['image_id'] in ids]
            if split == 'train':
                # every third number from the third on is a visibility flag
                num_train = sum(any((a.get('keypoints') or ())[2::3]) for a in annotations)
            part = dict(images=images, annotations=annotations, categories=categories)
            write_atomically(self.out / 'annotations' / f'{split}.json', json.dumps(part).encode())
        return max(1, num_train)

    def _write_config(self, labels: LabeledImages, skeleton: LabelSkeleton, plan: RunPlan, split: ImageSplit) -> None:
        """Write the config, and the skeleton where it is the data set's own."""
        if skeleton.registered_name is None:
            text = json.dumps(skeleton.to_fields(), indent=1)
            write_atomically(self.out / SKELETON_FILE, f'{text}\n'.encode())
        folder, name = labels.image_folder, labels.content['categories'][0]['name']
        text = format_project_config(
            title=f'{name}: {len(skeleton.skeleton)} keypoints, from {self.data.resolve().name}',
            folder=self.out,
            image_folder='images' if folder == (self.out / 'images').resolve() else folder.as_posix(),
            skeleton=skeleton,
            plan=plan,
            has_test=split.count_images('test') > 0,
        )
        write_atomically(self.out / CONFIG_FILE, text.encode())

    def _describe_choices(
        self, skeleton: LabelSkeleton, statistics: LabelStatistics, split: ImageSplit, plan: RunPlan
    ) -> list[str]:
        """The lines on what was measured and chosen."""
        return [*skeleton.lines, *statistics.describe(), *split.notes, plan.describe()]

    def _read_again(self) -> list[str]:
        """Read the parts as training does; returns the reports."""
        cfg = load_config(self.out / CONFIG_FILE, training=True)
        reports = []
        for key in ('train_dataloader', 'val_dataloader'):
            dataset: Any = build_dataset(cfg, cfg[key]['dataset'])
            part = key.partition('_')[0]
            for report in dataset.reports:
                dropped = ', '.join(f'{count} {cause}' for cause, count in sorted(report.dropped.items())) or 'none'
                reports.append(f'{part}: {report.kept:,} of {report.total:,} instances kept; dropped: {dropped}')
        return reports

    def _build_project(self, labels: LabeledImages, lines: list[str]) -> Project:
        """The result, with an example of the validation part for the next commands."""
        images = {image['id']: image for image in labels.content['images'] if image['split'] == 'val'}
        example = next(a for a in labels.content['annotations'] if a['image_id'] in images)
        box = example.get('bbox')
        path = labels.image_folder / images[example['image_id']]['file_name']
        return Project(self.out, self.out / CONFIG_FILE, lines, path, tuple(box) if box else None)


def _in_file_order(labels: LabeledImages, skeleton: LabelSkeleton) -> Skeleton:
    """The skeleton with its keypoints in the order, and by the names, of the labels."""
    return reorder_skeleton(skeleton.skeleton, labels.content['categories'][0]['keypoints'])
