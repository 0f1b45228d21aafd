import json
from dataclasses import fields

import numpy as np
import pytest
import torch

from poseplug.core.errors import AnnotationError
from poseplug.core.geometry import conjugate_about, flip_matrix, rotation_matrix, scaling_matrix, translation_matrix
from poseplug.core.poses import Poses, read_poses_csv, write_poses_csv
from poseplug.skeletons.lsp import LSP


def create_poses(**optional) -> Poses:
    """Three instances of LSP's skeleton."""
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 300, (3, 14, 2)).astype(np.float32)
    scores = rng.uniform(0, 1, (3, 14)).astype(np.float32)
    return Poses(keypoints, scores, scores.mean(axis=1), **optional)


def assert_same_poses(poses: Poses, expected: Poses, atol: float = 0.0) -> None:
    for f in fields(Poses):
        array, expected_array = getattr(poses, f.name), getattr(expected, f.name)
        assert (array is None) == (expected_array is None), f.name
        if array is not None:
            np.testing.assert_allclose(array, expected_array, atol=atol, err_msg=f.name)


def test_coco_results_come_back_as_the_same_instances():
    poses = create_poses()
    results = json.loads(json.dumps(poses.to_coco(7)))
    assert [len(r['keypoints']) for r in results] == [42] * 3
    assert {r['image_id'] for r in results} == {7}
    assert_same_poses(Poses.from_coco(results), poses, atol=1e-4)


def test_coco_results_are_rounded_only_where_digits_are_given():
    poses = Poses(np.array([[[1.23456789, 2.0]]]), np.array([[0.123456]]), np.array([0.5]))
    assert poses.to_coco(7)[0] == {'image_id': 7, 'category_id': 1, 'keypoints': [1.2346, 2.0, 0.1235], 'score': 0.5}
    assert poses.to_coco(7, digits=None)[0]['keypoints'] == [1.23456789, 2.0, 0.123456]


def test_dicts_of_result_files_have_ids_and_boxes_where_known():
    poses = Poses(np.array([[[1.234, 2.0]]]), np.array([[0.123456]]), np.array([0.55557]))
    expected = {'score': 0.5556, 'keypoints': [[1.23, 2.0, 0.1235]]}
    assert poses.to_dicts() == [expected]
    tracked = Poses(
        *(getattr(poses, n) for n in ('keypoints', 'keypoint_scores', 'instance_scores')),
        boxes=np.array([[0.0, 1.005, 9.126, 9.0]]),
        ids=np.array([3]),
    )
    (result,) = tracked.to_dicts()
    assert result == {'id': 3, **expected, 'box_xyxy': [0.0, 1.0, 9.13, 9.0]}
    assert list(result) == ['id', 'score', 'keypoints', 'box_xyxy']


def test_an_image_without_instances_has_no_coco_results():
    empty = create_poses()[[]]
    assert empty.to_coco(1) == []
    assert len(Poses.from_coco([])) == 0


def test_csv_rows_come_back_as_the_same_instances(tmp_path):
    file, poses = tmp_path / 'keypoints.csv', create_poses()
    write_poses_csv(file, [*poses.to_rows('a.jpg', LSP), *poses[:1].to_rows('b.jpg', LSP)])
    assert file.read_text().splitlines()[0] == 'image,instance,keypoint,x,y,score'
    poses_by_image = read_poses_csv(file, LSP)
    assert list(poses_by_image) == ['a.jpg', 'b.jpg']
    assert_same_poses(poses_by_image['a.jpg'], poses, atol=1e-3)
    assert_same_poses(poses_by_image['b.jpg'], poses[:1], atol=1e-3)


@pytest.mark.parametrize('name', ['a,b "c".jpg', 'two\nlines.jpg', 'line\u2028separator.jpg'])
def test_csv_rows_come_back_under_any_image_name(tmp_path, name):
    file, poses = tmp_path / 'keypoints.csv', create_poses()
    write_poses_csv(file, poses.to_rows(name, LSP))
    assert [*read_poses_csv(file, LSP)] == [name]


@pytest.mark.parametrize(
    ('line', 'message'),
    [('a.jpg,0,tail,1,2,1', 'tail'), ('a.jpg,0,neck,one,2,1', 'one'), ('a.jpg,0,neck', 'image, instance')],
)
def test_a_csv_that_cannot_be_read_names_its_file_and_line(tmp_path, line, message):
    file = tmp_path / 'keypoints.csv'
    file.write_text(f'image,instance,keypoint,x,y,score\n{line}\n')
    with pytest.raises(AnnotationError, match=f'keypoints.csv, line 2: .*{message}'):
        read_poses_csv(file, LSP)


def test_mmengine_data_comes_back_as_the_same_instances():
    poses = create_poses(boxes=np.tile([0.0, 0.0, 9.0, 9.0], (3, 1)), ids=np.arange(3))
    data = poses.to_instance_data()
    assert len(data) == 3
    assert_same_poses(Poses.from_instance_data(data), poses)


def test_tensors_become_arrays_of_the_same_numbers():
    poses = create_poses()
    tensors = Poses(*(torch.from_numpy(a) for a in (poses.keypoints, poses.keypoint_scores, poses.instance_scores)))
    assert isinstance(tensors.numpy().keypoints, np.ndarray)
    assert_same_poses(tensors.numpy(), poses)


@pytest.mark.parametrize('convert', [np.asarray, torch.as_tensor])
def test_a_matrix_and_its_inverse_are_the_identity(convert):
    matrix = (
        conjugate_about(rotation_matrix(30) @ scaling_matrix(1.5), (40, 50))
        @ translation_matrix(3, 4)
        @ flip_matrix(200)
    )
    poses = create_poses()
    poses = Poses(*(convert(a) for a in (poses.keypoints, poses.keypoint_scores, poses.instance_scores)))
    assert_same_poses(poses.transform(matrix).transform(np.linalg.inv(matrix)).numpy(), poses.numpy(), atol=1e-3)


@pytest.mark.parametrize('convert', [np.asarray, torch.as_tensor])
def test_a_rotated_box_encloses_its_corners(convert):
    box = convert(np.array([[0.0, 0.0, 4.0, 2.0]], dtype=np.float32))
    poses = Poses(convert(np.zeros((1, 1, 2), np.float32)), convert(np.ones((1, 1))), convert(np.ones(1)), boxes=box)
    np.testing.assert_allclose(poses.transform(rotation_matrix(90)).numpy().boxes, [[-2, 0, 0, 4]], atol=1e-6)


def test_splitting_a_batch_returns_the_instances_of_every_image():
    poses = create_poses(image_indices=np.array([2, 0, 2]))
    first, second, third = poses.split_by_image(3)
    assert [len(p) for p in (first, second, third)] == [1, 0, 2]
    np.testing.assert_array_equal(third.keypoints, poses.keypoints[[0, 2]])
    assert third.image_indices is None


def test_poses_of_one_image_cannot_be_split():
    with pytest.raises(ValueError, match='without image_indices'):
        create_poses().split_by_image(1)


def test_selected_keypoints_have_the_given_order_and_unknown_ones_score_zero():
    poses = create_poses(visibility=np.full((3, 14), 2))
    selected = poses.select_keypoints(np.array([13, -1, 0]))
    np.testing.assert_array_equal(selected.keypoints[:, [0, 2]], poses.keypoints[:, [13, 0]])
    np.testing.assert_array_equal(selected.keypoint_scores[:, 1], 0)
    assert selected.visibility[0].tolist() == [2, 0, 2]


def test_annotated_instances_score_one_where_they_are_labeled():
    poses = Poses.from_annotations(np.zeros((1, 3, 2)), np.array([[0, 1, 2]]))
    assert poses.keypoint_scores.tolist() == [[0, 1, 1]]
