import json
from dataclasses import fields

import numpy as np
import pytest
import torch

from poseplug.errors import AnnotationError
from poseplug.geometry import about, mirroring, rotation, scaling, translation
from poseplug.poses import Poses, read_csv, write_csv
from poseplug.skeletons.lsp import LSP


def three_people(**others) -> Poses:
    chance = np.random.default_rng(0)
    keypoints = chance.uniform(0, 300, (3, 14, 2)).astype(np.float32)
    scores = chance.uniform(0, 1, (3, 14)).astype(np.float32)
    return Poses(keypoints, scores, scores.mean(axis=1), **others)


def assert_same(a: Poses, b: Poses, atol: float = 0.0) -> None:
    for f in fields(Poses):
        one, other = getattr(a, f.name), getattr(b, f.name)
        assert (one is None) == (other is None), f.name
        if one is not None:
            np.testing.assert_allclose(one, other, atol=atol, err_msg=f.name)


def test_coco_records_come_back_as_the_same_people():
    poses = three_people()
    records = json.loads(json.dumps(poses.to_coco(7)))
    assert [len(r['keypoints']) for r in records] == [42] * 3
    assert {r['image_id'] for r in records} == {7}
    assert_same(Poses.from_coco(records), poses, atol=1e-4)


def test_a_picture_with_nobody_is_nobody_in_coco_too():
    nobody = three_people()[[]]
    assert nobody.to_coco(1) == []
    assert len(Poses.from_coco([])) == 0


def test_csv_rows_come_back_as_the_same_people(tmp_path):
    file, poses = tmp_path / 'joints.csv', three_people()
    write_csv(file, [*poses.rows('a.jpg', LSP), *poses[:1].rows('b.jpg', LSP)])
    assert file.read_text().splitlines()[0] == 'image,person,joint,x,y,score'
    back = read_csv(file, LSP)
    assert list(back) == ['a.jpg', 'b.jpg']
    assert_same(back['a.jpg'], poses, atol=1e-3)
    assert_same(back['b.jpg'], poses[:1], atol=1e-3)


@pytest.mark.parametrize(
    ('line', 'message'),
    [('a.jpg,0,tail,1,2,1', 'tail'), ('a.jpg,0,neck,one,2,1', 'one'), ('a.jpg,0,neck', 'image, person')],
)
def test_a_csv_that_cannot_be_read_names_its_file_and_line(tmp_path, line, message):
    file = tmp_path / 'joints.csv'
    file.write_text(f'image,person,joint,x,y,score\n{line}\n')
    with pytest.raises(AnnotationError, match=f'joints.csv, line 2: .*{message}'):
        read_csv(file, LSP)


def test_mmengine_data_comes_back_as_the_same_people():
    poses = three_people(boxes=np.tile([0.0, 0.0, 9.0, 9.0], (3, 1)), ids=np.arange(3))
    data = poses.to_instance_data()
    assert len(data) == 3
    assert_same(Poses.from_instance_data(data), poses)


def test_tensors_become_arrays_of_the_same_numbers():
    poses = three_people()
    tensors = Poses(*(torch.from_numpy(a) for a in (poses.keypoints, poses.scores, poses.person_scores)))
    assert isinstance(tensors.numpy().keypoints, np.ndarray)
    assert_same(tensors.numpy(), poses)


@pytest.mark.parametrize('kind', [np.asarray, torch.as_tensor])
def test_moving_by_a_matrix_and_back_is_the_identity(kind):
    matrix = about(rotation(30) @ scaling(1.5), (40, 50)) @ translation(3, 4) @ mirroring(200)
    poses = three_people()
    poses = Poses(*(kind(a) for a in (poses.keypoints, poses.scores, poses.person_scores)))
    assert_same(poses.moved(matrix).moved(np.linalg.inv(matrix)).numpy(), poses.numpy(), atol=1e-3)


@pytest.mark.parametrize('kind', [np.asarray, torch.as_tensor])
def test_a_turned_box_becomes_the_hull_of_its_corners(kind):
    box = kind(np.array([[0.0, 0.0, 4.0, 2.0]], dtype=np.float32))
    poses = Poses(kind(np.zeros((1, 1, 2), np.float32)), kind(np.ones((1, 1))), kind(np.ones(1)), boxes=box)
    np.testing.assert_allclose(poses.moved(rotation(90)).numpy().boxes, [[-2, 0, 0, 4]], atol=1e-6)


def test_splitting_a_batch_gives_every_picture_its_own_people():
    poses = three_people(images=np.array([2, 0, 2]))
    first, second, third = poses.split(3)
    assert [len(p) for p in (first, second, third)] == [1, 0, 2]
    np.testing.assert_array_equal(third.keypoints, poses.keypoints[[0, 2]])
    assert third.images is None


def test_annotated_people_score_one_where_they_are_labelled():
    poses = Poses.of_record(np.zeros((1, 3, 2)), np.array([[0, 1, 2]]))
    assert poses.scores.tolist() == [[0, 1, 1]]
