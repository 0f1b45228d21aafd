"""COCO-WholeBody, from its official files in COCO's format (Jin et al. 2020, arXiv:2007.11858).

An annotation has the 17 keypoints of COCO and lists of its own for feet, face and hands, whose third number is a
confidence: above 0 the keypoint is labeled, and visible in the records.
"""

from __future__ import annotations

__all__ = ['CocoWholeBodyFaceSource', 'CocoWholeBodyHandSource', 'CocoWholeBodySource']

from pathlib import Path
from typing import Any, ClassVar

from poseplug.core.errors import AnnotationError
from poseplug.core.sample import Record
from poseplug.data.sources.base import SourceReport
from poseplug.data.sources.coco import CocoFormatSource
from poseplug.data.sources.coco_format import CocoReader, read_coco_object
from poseplug.data.sources.coco_style import create_set_reader
from poseplug.registry import SOURCES
from poseplug.skeletons.coco_wholebody import COCO_WHOLEBODY

_PART_SIZES = dict(foot_kpts=6, face_kpts=68, lefthand_kpts=21, righthand_kpts=21)


@SOURCES.register_module()
class CocoWholeBodySource(CocoFormatSource):
    """COCO-WholeBody, 133 keypoints on COCO's images; `split` is 'train' or 'val'.

    The settings are those of `CocoFormatSource`. An instance without a labeled keypoint of a part is ignored where that
    part is measured.
    """

    name = 'coco_wholebody'
    download_hint = (
        "Get '2017 Train images' and '2017 Val images' of COCO, and put coco_wholebody_{train,val}_v1.0.json of "
        'COCO-WholeBody into annotations/'
    )
    splits = {split: (f'annotations/coco_wholebody_{split}_v1.0.json', f'{split}2017') for split in ('train', 'val')}
    reader = CocoReader(COCO_WHOLEBODY, 'coco_wholebody', part_sizes=_PART_SIZES)


class _BodyPartSource(CocoWholeBodySource):
    """One part of every body as an instance of its own.

    Attributes:
        parts: the parts, as their keys in an annotation begin.
    """

    parts: ClassVar[tuple[str, ...]]

    def _read_annotated(
        self, reader: CocoReader, file: Path, image_folder: Path
    ) -> tuple[list[Record], SourceReport, dict[int, tuple[int, int]]]:
        # Every part becomes an annotation in COCO's own form, so that all checks of the reader apply to it.
        content = read_coco_object(file)
        instances, num_without = [], 0
        for annotation in content['annotations']:
            present = [part for part in self.parts if annotation.get(f'{part}_valid')]
            num_without += len(self.parts) - len(present)
            instances += [self._cut_out_part(file, annotation, part) for part in present]
        category = dict(id=1, name=self.name, keypoints=list(reader.skeleton.keypoints))
        content = {**content, 'annotations': instances, 'categories': [category]}
        records, report, sizes = reader.read_content(file, content, image_folder)
        if num_without:
            report.dropped['not valid in the file'] += num_without
        return records, report, sizes

    def _cut_out_part(self, file: Path, annotation: dict[str, Any], part: str) -> dict[str, Any]:
        """The annotation of one part of a body; its id is unique if that of the body is."""
        missing = [key for key in ('id', 'image_id', f'{part}_kpts', f'{part}_box') if key not in annotation]
        if missing:
            raise AnnotationError(
                f'{file}: annotation {annotation.get("id")!r} has no {", ".join(missing)}, although its {part} is valid'
            )
        return dict(
            # Distinct for both hands of a body, and the same in every run.
            id=annotation['id'] * len(self.parts) + self.parts.index(part),
            image_id=annotation['image_id'],
            category_id=1,
            bbox=annotation[f'{part}_box'],
            keypoints=_mark_visible(annotation[f'{part}_kpts']),
            iscrowd=annotation.get('iscrowd', 0),
        )


def _mark_visible(keypoints: Any) -> Any:
    """Keypoints x, y, confidence with COCO's flag, 2 for a confidence above 0; what is no such list stays."""
    if not isinstance(keypoints, list) or len(keypoints) % 3:
        return keypoints
    flags = [2 if isinstance(c, int | float) and c > 0 else 0 for c in keypoints[2::3]]
    return [v for x, y, flag in zip(keypoints[::3], keypoints[1::3], flags, strict=True) for v in (x, y, flag)]


@SOURCES.register_module()
class CocoWholeBodyHandSource(_BodyPartSource):
    """The hands of COCO-WholeBody, 21 keypoints; `split` is 'train' or 'val'.

    Left and right hands are instances of one category, in the box that the file states for them. Those that the file
    calls not valid are counted as dropped. The settings are those of `CocoFormatSource`.
    """

    parts = ('lefthand', 'righthand')
    reader = create_set_reader('coco_wholebody_hand', 'coco_wholebody_hand')


@SOURCES.register_module()
class CocoWholeBodyFaceSource(_BodyPartSource):
    """The faces of COCO-WholeBody, 68 keypoints; `split` is 'train' or 'val'.

    Faces that the file calls not valid are counted as dropped. The settings are those of `CocoFormatSource`.
    """

    parts = ('face',)
    reader = create_set_reader('coco_wholebody_face', 'coco_wholebody_face')
