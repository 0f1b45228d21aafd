"""Images of another size than stated, or with an EXIF orientation, are named, wherever they are in a data set."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError, ImageError
from poseplug.data.dataset import PoseDataset
from poseplug.data.formats.checks import find_label_problems
from poseplug.data.formats.convert import read_labels
from poseplug.data.sources.coco import CocoSource
from poseplug.inspect.dataset_faults import collect_dataset_findings
from poseplug.inspect.dataset_reading import SourceStatistics, read_all_images
from poseplug.inspect.verify import find_problems, format_statistics
from tests.data.formats import label_files
from tests.data.sources.test_coco import FILE, make_annotation
from tests.reliability.image_kinds import build_exif

SIZE = (100, 80)
KEYPOINT_NAMES = list(CocoSource.reader.skeleton.keypoints)


def write_jpeg(file, size, orientation=1):
    """A gray JPEG file of a size (width, height) as stored; an orientation of 1 is left out."""
    data = cv2.imencode('.jpg', np.full((size[1], size[0], 3), 90, np.uint8))[1].tobytes()
    block = build_exif(orientation)
    segment = b'\xff\xe1' + (len(block) + 2).to_bytes(2, 'big') + block
    file.write_bytes(data if orientation == 1 else data[:2] + segment + data[2:])


@pytest.fixture
def write_set(tmp_path):
    """A function from stated sizes, and what is stored at some indices (size, orientation), to a folder."""

    def write(stated_sizes, stored=None):
        folder = tmp_path / 'coco'
        for name in ('annotations', 'train2017'):
            (folder / name).mkdir(parents=True)
        images = []
        for i, (width, height) in enumerate(stated_sizes):
            size, orientation = (stored or {}).get(i, ((width, height), 1))
            write_jpeg(folder / f'train2017/{i}.jpg', size, orientation)
            images.append(dict(id=i, file_name=f'{i}.jpg', width=width, height=height))
        annotations = [make_annotation(i + 1, i) for i in range(len(images))]
        categories = [dict(id=1, name='person', keypoints=KEYPOINT_NAMES)]
        (folder / FILE).write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
        return folder

    return write


def read_statistics(folder, **settings) -> SourceStatistics:
    source = CocoSource(folder, 'train', **settings)
    records, report = source.load()
    statistics = SourceStatistics('train: made', report, source.skeleton, records)
    read_all_images(statistics, 2)
    return statistics


def list_findings(statistics):
    return [str(finding) for finding in collect_dataset_findings(statistics, [])]


def test_every_image_is_compared_with_its_stated_size(write_set):
    # The sample of 64 of 70 images leaves out every eleventh or so: index 6 is not in it.
    assert 6 not in np.linspace(0, 69, 64).round()
    folder = write_set([SIZE] * 70, {6: ((80, 100), 1)})
    statistics = read_statistics(folder)
    expected = (
        '1 images have another size than the annotations state: 6.jpg (100 x 80 px are stated, the file has 80 x 100 '
        '(rotated?)). Fetch the images that belong to the annotations'
    )
    assert list(find_problems(statistics)) == [expected]
    assert any('6.jpg (100 x 80 px are stated' in finding for finding in list_findings(statistics))


def test_an_image_of_another_size_is_not_trained_on(write_set):
    folder = write_set([SIZE] * 3, {1: ((100, 90), 1)})
    dataset = PoseDataset([CocoSource(folder, 'train', num_size_checks=0)], [], 'coco', (64, 64))
    assert dataset[0].record.stated_size == SIZE
    with pytest.raises(ImageError, match=r'1\.jpg: 100 x 80 px are stated, the file has 100 x 90\. Fetch'):
        dataset[1]


def test_an_instance_that_is_annotated_twice_is_a_problem(write_set):
    statistics = read_statistics(write_set([SIZE] * 2))
    record = statistics.records[1]
    statistics.records[1] = replace(record, instances=record.instances[[0, 0]])
    assert list(find_problems(statistics)) == ['1 instances are annotated twice, and count twice: image 1']


def test_sound_images_are_not_named(write_set):
    statistics = read_statistics(write_set([SIZE, (80, 80)]))
    assert list(find_problems(statistics)) == []
    assert statistics.orientations == {}
    assert not any('orientation' in line for line in [str(statistics.report), *list_findings(statistics)])


@pytest.mark.parametrize(
    ('orientation', 'size'),
    [(2, SIZE), (3, SIZE), (4, SIZE), (5, (80, 80)), (6, (80, 80)), (7, (80, 80)), (8, (80, 80))],
)
def test_an_orientation_that_keeps_the_size_is_a_problem(write_set, orientation, size):
    statistics = read_statistics(write_set([size] * 3, {1: (size, orientation)}))
    assert statistics.report.notes[-1].startswith('1 of 3 images that were looked at have an EXIF orientation')
    (problem,) = find_problems(statistics)
    named = f'may be labeled upright: 1.jpg (orientation {orientation})'
    assert problem.startswith('1 images have an EXIF orientation')
    assert named in problem
    assert sum(named in finding for finding in list_findings(statistics)) == 1


def test_labels_of_stored_pixels_are_told_by_their_stated_size(write_set):
    statistics = read_statistics(write_set([SIZE] * 3, {1: (SIZE, 6), 2: (SIZE, 8)}))
    assert list(find_problems(statistics)) == []
    line = '2 images have an EXIF orientation, read as stored: 1 of 6, 1 of 8'
    assert f'  orientation  {line}' in format_statistics(statistics)
    assert any(line in finding for finding in list_findings(statistics))


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_labels_of_the_upright_image_are_refused(write_set, orientation):
    folder = write_set([SIZE] * 3, {1: ((80, 100), orientation)})
    cause = rf'has 80 x 100 \(EXIF orientation {orientation} shows it at the stated size; save it upright\)'
    with pytest.raises(AnnotationError, match=rf'image 1\.jpg in .*{cause}'):
        CocoSource(folder, 'train').load()
    dataset = PoseDataset([CocoSource(folder, 'train', num_size_checks=0)], [], 'coco', (64, 64))
    with pytest.raises(ImageError, match=rf'1\.jpg: .*{cause}'):
        dataset[1]


def test_an_image_without_a_stated_size_may_be_labeled_upright(write_set):
    statistics = read_statistics(write_set([SIZE] * 2, {0: (SIZE, 6)}))
    # LSP's file, for one, states no sizes.
    statistics.records = [replace(record, stated_size=None) for record in statistics.records]
    read_all_images(statistics, 1)
    assert statistics.ambiguous_orientations == ['0.jpg (orientation 6)']


def test_labels_of_any_format_are_checked_for_an_orientation(tmp_path):
    source = label_files.write_coco(tmp_path / 'data')
    image = source / 'images' / 'b.png'
    height, width = cv2.imread(str(image)).shape[:2]
    write_jpeg(image, (width, height), 3)
    (line,) = find_label_problems(read_labels(source))
    assert line == '1 images have an EXIF orientation, are read as stored, and may be labeled upright: b.png'


def test_converting_labels_names_images_that_may_be_labeled_upright(command, tmp_path):
    (tmp_path / 'yolo/images').mkdir(parents=True)
    write_jpeg(tmp_path / 'yolo/images/a.jpg', SIZE, 6)
    (tmp_path / 'yolo/labels').mkdir()
    (tmp_path / 'yolo/labels/a.txt').write_text('0 0.5 0.5 0.8 0.8 0.25 0.25 2 0.75 0.75 2\n')
    (tmp_path / 'yolo/data.yaml').write_text('train: images\nval: images\nkpt_shape: [2, 3]\nnames: {0: gecko}\n')
    code, out, _ = command('dataset', 'convert', tmp_path / 'yolo/data.yaml', tmp_path / 'coco', '--to', 'coco')
    assert code == 0
    assert 'PROBLEM: 1 images have an EXIF orientation, are read as stored, and may be labeled upright' in out
