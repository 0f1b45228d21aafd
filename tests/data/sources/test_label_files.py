"""Labels of labeling tools as a source: the same records as after a conversion, parts by split, and refusals."""

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.sources.label_files import LabelSource

YAML = 'train: images/train\nval: images/val\nkpt_shape: [2, 3]\nnames: [cat, dog]\nflip_idx: [1, 0]\n'


@pytest.fixture
def yolo(tmp_path):
    """Two images for training and one for validation, 100 x 80 px; one line of the first is damaged."""
    for split, names in dict(train='ab', val='c').items():
        (tmp_path / f'images/{split}').mkdir(parents=True)
        (tmp_path / f'labels/{split}').mkdir(parents=True)
        for name in names:
            cv2.imwrite(str(tmp_path / f'images/{split}/{name}.png'), np.full((80, 100, 3), 90, np.uint8))
            line = '0 0.5 0.5 0.4 0.5 0.4 0.5 2 0.6 0.25 1\n'
            (tmp_path / f'labels/{split}/{name}.txt').write_text(line)
    with (tmp_path / 'labels/train/a.txt').open('a') as file:
        file.write('0 0.5 0.5\n')
    (tmp_path / 'data.yaml').write_text(YAML)
    return tmp_path


def test_yolo_labels_are_read_as_they_are(yolo):
    source = LabelSource(yolo, split='train')
    records, report = source.load()
    assert [record.path.name for record in records] == ['a.png', 'b.png']
    assert np.allclose(records[0].instances.keypoints, [[[40, 40], [60, 20]]])  # fractions of 100 x 80 px
    assert records[0].instances.visible.tolist() == [[2, 1]]
    assert (report.kept, report.total) == (2, 3)
    assert source.skeleton.flip_pairs == (('keypoint_0', 'keypoint_1'),)


def test_the_split_that_the_labels_state_is_chosen(yolo):
    assert [len(LabelSource(yolo, split=split).load()[0]) for split in ('train', 'val', None)] == [2, 1, 3]
    with pytest.raises(AnnotationError, match="no image is of split 'test'; splits that the labels state: train, val"):
        LabelSource(yolo, split='test')


def test_a_skeleton_with_other_names_is_refused(yolo):
    with pytest.raises(AnnotationError, match='keypoint'):
        LabelSource(yolo, skeleton=dict(name='cat', keypoints=['nose', 'tail'])).load()


def test_a_category_without_instances_is_refused_by_name(yolo):
    with pytest.raises(AnnotationError, match="no category 'dog' has instances.*with instances: cat"):
        LabelSource(yolo, category='dog')


def test_records_are_those_of_the_reader_of_coco(tmp_path):
    from poseplug.data.sources.coco import CocoSource
    from poseplug.data.synthetic import write_coco

    root = write_coco(tmp_path / 'coco', num_train=3, num_val=1)
    expected, _ = CocoSource(root).load()
    actual, _ = LabelSource(root / 'annotations/person_keypoints_train2017.json').load()
    assert [record.path.name for record in actual] == [record.path.name for record in expected]
    for a, b in zip(actual, expected, strict=True):
        assert np.array_equal(a.instances.keypoints, b.instances.keypoints)
        assert np.array_equal(a.instances.boxes, b.instances.boxes)
