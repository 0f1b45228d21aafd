"""Files that are no labels, or of tools that are not read, are refused by what they are."""

import json

import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.convert import read_labels
from poseplug.data.formats.json_structure import read_json_structure
from tests.data.formats import label_files

RESULT = dict(image_id=1, category_id=1, bbox=[1, 2, 3, 4], score=0.5)
OPENPOSE = dict(version=1.3, people=[dict(pose_keypoints_2d=[1, 2, 0.5])])
CONTENTS = {
    'COCO results': ([RESULT], 'bbox_file'),
    'detected boxes': ([dict(image_id=1, bbox=[[1, 2, 3, 4]], scores=[0.5])], 'bbox_file'),
    "MPII's labels": ([dict(joints=[], joints_vis=[], center=[1, 2], scale=1, image='a.jpg')], 'MPIISource'),
    "AI Challenger's labels": ([dict(image_id='a', keypoint_annotations={}, human_annotations={})], 'AICSource'),
    'a project of VIA 3': (dict(project={}, config={}, attribute={}, file={}, metadata={}, view={}), 'CSV table'),
    "Encord's format": ([dict(label_hash='1', data_units={})], 'as COCO'),
    "Labelbox's format": ([dict(data_row={}, media_attributes={}, projects={})], 'CSV table'),
    'labels of one image of Supervisely': (dict(size=dict(width=1, height=1), objects=[], tags=[]), 'meta.json'),
    'that OpenPose predicted': (OPENPOSE, 'not labels'),
    'JSON-MIN': ([dict(id=1, image='/data/a.jpg', kp=[])], 'export as JSON'),
    "CreateML's format": ([dict(image='a.jpg', annotations=[])], 'no keypoints'),
    'without its list of categories': (dict(images=[], annotations=[]), '"keypoints"'),
}


@pytest.mark.parametrize('name', CONTENTS)
@pytest.mark.parametrize('is_folder', [False, True])
def test_json_files_are_refused_by_what_they_are(tmp_path, name, is_folder):
    content, remedy = CONTENTS[name]
    file = tmp_path / 'some.json'
    file.write_text(json.dumps(content))
    with pytest.raises(AnnotationError) as refusal:
        read_labels(tmp_path if is_folder else file)
    assert str(refusal.value).startswith(f'{file} is ')
    assert name in str(refusal.value)
    assert remedy in str(refusal.value)


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('a.xml', '<annotation><filename>a.jpg</filename></annotation>', 'Pascal VOC'),
        ('data.yaml', 'train: images\nval: images\nnames: [gecko]\n', 'without kpt_shape'),
        ('clipDLC_resnet50_x.h5', '', 'predictions of DeepLabCut'),
        ('clip.analysis.h5', '', 'an analysis of SLEAP'),
        ('joints.mat', '', 'MATLAB'),
        ('a.ndjson', '{"type": "dataset", "task": "detect", "class_names": {"0": "gecko"}}', 'task detect'),
        ('a.jsonl', 'no JSON', 'in none of the formats that are known'),
        ('notes.json', '{"a": 1}', 'in none of the formats that are known'),
    ],
)
def test_other_files_are_refused_by_what_they_are(command, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    code, _, err = command('dataset', 'verify', tmp_path)
    assert code == 2
    assert message in err


def test_verify_says_what_a_file_of_detections_is(command, tmp_path):
    (tmp_path / 'boxes.json').write_text(json.dumps([RESULT]))
    code, _, err = command('dataset', 'verify', tmp_path / 'boxes.json')
    assert code == 2
    assert 'not labels' in err


def test_verify_takes_a_format_and_a_folder_of_images(command, tmp_path):
    source = label_files.write_labelme(tmp_path / 'data')
    label_files.write_images(tmp_path / 'images')
    for file in source.glob('*.png'):
        file.unlink()
    (source / 'coco.json').write_text(json.dumps(label_files.build_coco_content()))
    code, _, err = command('dataset', 'verify', source)
    assert code == 2
    assert 'may be coco, labelme; say which by --format' in err
    code, out, _ = command('dataset', 'verify', source, '--format', 'labelme', '--images', tmp_path / 'images')
    assert code == 0
    assert 'LabelMe folder, 2 images, 3 instances' in out


def test_the_structure_of_a_file_follows_its_changes(tmp_path):
    file = tmp_path / 'a.json'
    file.write_text('{"shapes": []}')
    assert read_json_structure(file).has_keys('shapes')
    file.write_text('[{"joints": 1}, 2]')
    structure = read_json_structure(file)
    assert structure.is_list
    assert structure.types == {'joints': int}
