import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import default_rng
from scipy.io import loadmat

from poseplug.datasets import synthetic
from poseplug.datasets.synthetic import (
    ALL_JOINTS,
    COCO_JOINTS,
    FAMILIES,
    FINE,
    LSP_JOINTS,
    TAGS,
    Canvas,
    Light,
    Member,
    Pose,
    View,
    camera_rotation,
    coco_scene,
    draw_person,
    lsp_scene,
    occluded,
    pose_body,
    render_scene,
    sample_build,
    sample_outfit,
    sample_pose,
    stamp,
    write_coco,
    write_lsp,
)
from poseplug.errors import AnnotationError

COUNT = 24
LIGHT = Light(np.array((0.0, -0.6, 0.8), np.float32), 0.6, 0.5)


@pytest.fixture(scope='module')
def scenes():
    return [lsp_scene(0, index)[0] for index in range(COUNT)]


@pytest.fixture(scope='module')
def crowds():
    return [coco_scene(0, 0, index)[0] for index in range(8)]


@pytest.fixture(scope='module')
def lsp(tmp_path_factory):
    return write_lsp(tmp_path_factory.mktemp('sets') / 'lsp', count=6, seed=3)


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp('sets') / 'coco', train=5, val=2, seed=3)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


def standing(yaw: float = 0.0, side: int = 240) -> tuple[Canvas, Member]:
    """Somebody upright with the arms a little spread, alone on an empty canvas of `side` pixels."""
    limb = np.array((0, 8, 5, 0, 0, 30, 0, 5), float)
    pose = Pose('stand', np.zeros(4), np.zeros(3), {'left': limb, 'right': limb}, 0.0)
    rng = default_rng(1)
    view = View(camera_rotation(yaw), np.array((side / 2, side / 2)), side * 0.45, 6.0, 0.0)
    member = Member(pose_body(sample_build(rng), pose), sample_outfit(rng), view)
    cells = (side * FINE, side * FINE)
    canvas = Canvas(np.zeros((*cells, 3), np.uint8), np.full(cells, -100, np.float32), np.zeros(cells, np.int16))
    return canvas, member


def hidden(canvas: Canvas, member: Member) -> dict[str, bool]:
    places = np.stack([member.figure.points[name] for name in ALL_JOINTS])
    pixels, _, depth = member.view.project(places @ member.view.camera.T)
    return {name: occluded(canvas, name, pixel, z, 0) for name, pixel, z in zip(ALL_JOINTS, pixels, depth, strict=True)}


# --- the same for the same seed


def test_the_same_seed_writes_the_same_bytes(lsp, tmp_path):
    assert contents(write_lsp(tmp_path / 'again', count=6, seed=3)) == contents(lsp)


def test_another_seed_draws_other_pictures(lsp, tmp_path):
    other = contents(write_lsp(tmp_path / 'other', count=1, seed=4))
    assert other['images/im0001.jpg'] != contents(lsp)['images/im0001.jpg']


def test_picture_i_does_not_depend_on_how_many_are_made(lsp, tmp_path):
    fewer = write_lsp(tmp_path / 'fewer', count=3, seed=3)
    for index in range(1, 4):
        assert contents(fewer)[f'images/im{index:04d}.jpg'] == contents(lsp)[f'images/im{index:04d}.jpg']
    few, many = (loadmat(root / 'joints.mat')['joints'] for root in (fewer, lsp))
    np.testing.assert_array_equal(few, many[..., :3])


def test_pictures_do_not_depend_on_their_order(scenes):
    np.testing.assert_array_equal(lsp_scene(0, 5)[0].image, scenes[5].image)
    np.testing.assert_array_equal(lsp_scene(0, 2)[0].image, scenes[2].image)


def test_processes_draw_what_one_process_draws(lsp, tmp_path):
    assert contents(write_lsp(tmp_path / 'pool', count=6, seed=3, workers=1)) == contents(lsp)


# --- bodies


def test_joint_names_are_those_of_the_skeleton():
    from poseplug.skeletons.lsp import LSP

    assert LSP.joints == LSP_JOINTS


@pytest.mark.parametrize('seed', range(5))
def test_a_mirrored_pose_gives_the_mirrored_body(seed):
    build, pose = sample_build(default_rng(seed)), sample_pose(default_rng(seed))
    swapped = {'left': pose.limbs['right'], 'right': pose.limbs['left']}
    mirrored = Pose(pose.family, pose.trunk * (1, 1, -1, -1), pose.head * (1, -1, -1), swapped, pose.topple)
    body, other = pose_body(build, pose).points, pose_body(build, mirrored).points
    opposite = {'left': 'right', 'right': 'left'}
    for name, point in body.items():
        side, _, rest = name.partition('_')
        np.testing.assert_allclose(other[f'{opposite[side]}_{rest}' if side in opposite else name], point * (-1, 1, 1))


@pytest.mark.parametrize('seed', range(5))
def test_bones_keep_their_length_in_every_pose(seed):
    build = sample_build(default_rng(seed))
    for points in (pose_body(build, sample_pose(default_rng((seed, i)))).points for i in range(10)):
        for side in ('left', 'right'):
            thigh = np.linalg.norm(points[f'{side}_hip'] - points[f'{side}_knee'])
            fore = np.linalg.norm(points[f'{side}_elbow'] - points[f'{side}_wrist'])
            assert thigh == pytest.approx(0.43 * build.leg)
            assert fore == pytest.approx(0.25 * build.arm)


def test_knees_and_elbows_bend_only_one_way():
    for family in FAMILIES.values():
        for side in (family.lead, family.trail):
            assert side[3][0] >= 0
            assert side[7][0] >= 0
            assert side[3][1] <= 145
            assert side[7][1] <= 145


def test_every_family_is_drawn():
    drawn = {sample_pose(default_rng((0, i))).family for i in range(400)}
    assert drawn == set(FAMILIES)


# --- left, right, front, back


@pytest.mark.parametrize(('yaw', 'sign'), [(0, 1), (180, -1)])
def test_the_persons_left_is_at_the_right_of_the_picture_only_from_the_front(yaw, sign):
    _, member = standing(yaw)
    for joint in ('shoulder', 'wrist', 'hip', 'ankle', 'eye'):
        sides = np.stack([member.figure.points[f'{side}_{joint}'] for side in ('left', 'right')])
        (left, right), _, _ = member.view.project(sides @ member.view.camera.T)
        assert (left[0] - right[0]) * sign > 0


def test_yaw_90_shows_the_right_side():
    canvas, member = standing(90)
    draw_person(canvas, member, LIGHT, 0)
    gone = hidden(canvas, member)
    assert not any(gone[f'right_{joint}'] for joint in ('ear', 'shoulder', 'elbow', 'knee', 'ankle'))
    assert all(gone[f'left_{joint}'] for joint in ('ear', 'shoulder', 'elbow', 'knee'))


def test_the_face_is_hidden_from_behind():
    front, back = (standing(yaw) for yaw in (0, 180))
    for canvas, member in (front, back):
        draw_person(canvas, member, LIGHT, 0)
    assert not any(hidden(*front)[joint] for joint in ('nose', 'left_eye', 'right_eye'))
    assert all(hidden(*back)[joint] for joint in ('nose', 'left_eye', 'right_eye'))


# --- occlusion


def test_everything_of_somebody_who_faces_the_viewer_alone_is_seen():
    canvas, member = standing()
    draw_person(canvas, member, LIGHT, 0)
    assert [joint for joint, flag in hidden(canvas, member).items() if flag and joint in LSP_JOINTS] == []


@pytest.mark.parametrize('joint', LSP_JOINTS)
def test_a_joint_behind_something_is_occluded_and_the_others_stay_seen(joint):
    canvas, member = standing()
    draw_person(canvas, member, LIGHT, 0)
    pixel, _, _ = member.view.project(member.view.camera @ member.figure.points[joint])
    mask = np.zeros(canvas.tag.shape, np.uint8)
    cv2.circle(mask, np.rint((pixel + 0.5) * FINE - 0.5).astype(int).tolist(), 5, 255, -1)
    stamp(canvas, mask, np.array((0, 0, 255)), depth=2.0)
    assert [name for name, flag in hidden(canvas, member).items() if flag and name in LSP_JOINTS] == [joint]


def test_nothing_is_occluded_by_what_stands_behind():
    canvas, member = standing()
    draw_person(canvas, member, LIGHT, 0)
    before = canvas.tag.copy()
    stamp(canvas, np.full(canvas.tag.shape, 255, np.uint8), np.array((0, 0, 255)), depth=-2.0)
    np.testing.assert_array_equal(canvas.tag[before > 0], before[before > 0])
    assert not any(hidden(canvas, member)[joint] for joint in LSP_JOINTS)


def test_the_nearer_leg_hides_the_farther_one():
    canvas, member = standing(90)
    draw_person(canvas, member, LIGHT, 0)
    right = (canvas.tag == TAGS['right_shin']).sum()
    left = (canvas.tag == TAGS['left_shin']).sum()
    assert right > 4 * left


def test_a_joint_whose_pixels_belong_to_others_is_occluded(scenes, crowds):
    for scene in scenes + crowds:
        h, w = scene.owner.shape
        for number, person in enumerate(scene.people):
            for (x, y), flag in zip(np.rint(person.joints).astype(int), person.occluded, strict=True):
                around = scene.owner[max(y - 1, 0) : max(y + 2, 0), max(x - 1, 0) : max(x + 2, 0)]
                if not (around == number + 1).any():
                    assert flag
                if not flag:
                    assert 0 <= x < w
                    assert 0 <= y < h


# --- pictures


def test_the_main_person_is_whole_and_of_lsp_size(scenes):
    for scene in scenes:
        h, w = scene.image.shape[:2]
        assert scene.image.dtype == np.uint8
        assert 110 <= h <= 210
        assert 110 <= w <= 210
        joints = scene.people[0].joints
        assert (joints >= 0).all()
        assert (joints <= (w - 1, h - 1)).all()
        assert 60 < np.ptp(joints, axis=0).max() < 200


def test_about_a_tenth_of_the_joints_is_occluded(scenes):
    flags = [scene.people[0].occluded for scene in scenes] + [
        lsp_scene(1, index)[0].people[0].occluded for index in range(24)
    ]
    assert 0.05 < np.mean(flags) < 0.16


def test_joints_lie_on_their_person(scenes):
    on = []
    for scene in scenes:
        person = scene.people[0]
        x, y = np.rint(person.joints[:13][~person.occluded[:13]]).astype(int).T  # the head's top is on its edge
        on.append(scene.owner[y, x] == 1)
    assert np.concatenate(on).mean() > 0.98


def test_boxes_and_areas_are_those_of_the_visible_pixels(crowds):
    for scene in crowds:
        for number, person in enumerate(scene.people):
            mask = scene.owner == number + 1
            assert person.area == mask.sum()
            if person.area:
                assert person.box == cv2.boundingRect(mask.astype(np.uint8))


@pytest.mark.parametrize(('size', 'people'), [((96, 128), 1), ((128, 96), 2), ((64, 64), 1)])
def test_a_scene_has_the_size_and_the_people_asked_for(size, people):
    scene = render_scene(default_rng(0), size, people)
    assert scene.image.shape == (size[1], size[0], 3)
    assert len(scene.people) == people
    assert (scene.people[0].joints >= 0).all()
    assert (scene.people[0].joints < size).all()


# --- the files of Leeds Sports Pose


def test_joints_are_written_as_lsp_writes_them(lsp):
    joints = loadmat(lsp / 'joints.mat')['joints']
    assert joints.shape == (3, 14, 6)
    assert joints.dtype == np.float64
    assert sorted(os.listdir(lsp / 'images')) == [f'im{i:04d}.jpg' for i in range(1, 7)]
    assert set(np.unique(joints[2])) <= {0, 1}


def test_lsp_coordinates_count_from_one(lsp):
    joints = loadmat(lsp / 'joints.mat')['joints']
    for index in range(6):
        person = lsp_scene(3, index)[0].people[0]
        np.testing.assert_allclose(joints[:2, :, index].T - 1, person.joints)
        np.testing.assert_array_equal(joints[2, :, index], person.occluded)


def test_the_pictures_on_disk_are_the_scenes(lsp):
    for index in range(3):
        image, scene = cv2.imread(str(lsp / f'images/im{index + 1:04d}.jpg')), lsp_scene(3, index)[0]
        assert image.shape == scene.image.shape
        assert np.abs(image.astype(int) - scene.image).mean() < 12


def test_half_is_for_training_unless_said_otherwise(lsp, tmp_path):
    about = json.loads((lsp / 'dataset.json').read_text())
    assert (about['count'], about['train'], about['seed']) == (6, 3, 3)
    other = write_lsp(tmp_path / 'lsp', count=2, train=2)
    assert json.loads((other / 'dataset.json').read_text())['train'] == 2


def test_more_training_pictures_than_pictures_are_an_error(tmp_path):
    with pytest.raises(AnnotationError, match='3 training pictures of 2'):
        write_lsp(tmp_path / 'lsp', count=2, train=3)


# --- the files of COCO


@pytest.mark.parametrize(('split', 'count'), [('train2017', 5), ('val2017', 2)])
def test_coco_annotations_agree_with_themselves(coco, split, count):
    data = json.loads((coco / f'annotations/person_keypoints_{split}.json').read_text())
    assert len(data['images']) == count
    assert data['categories'][0]['keypoints'] == list(COCO_JOINTS)
    for image in data['images']:
        picture = cv2.imread(str(coco / split / image['file_name']))
        assert picture.shape[:2] == (image['height'], image['width'])
    ids = {image['id'] for image in data['images']}
    assert len({person['id'] for person in data['annotations']}) == len(data['annotations']) > 0
    for person in data['annotations']:
        keypoints = np.reshape(person['keypoints'], (17, 3))
        assert person['image_id'] in ids
        assert person['iscrowd'] == 0
        assert person['area'] > 0
        assert person['num_keypoints'] == (keypoints[:, 2] > 0).sum()
        assert (keypoints[keypoints[:, 2] == 0] == 0).all()


def test_a_coco_box_holds_the_visible_joints(coco):
    data = json.loads((coco / 'annotations/person_keypoints_train2017.json').read_text())
    for person in data['annotations']:
        keypoints, (x, y, w, h) = np.reshape(person['keypoints'], (17, 3)), person['bbox']
        seen = keypoints[keypoints[:, 2] == 2, :2]
        assert (seen >= (x - 1.5, y - 1.5)).all()
        assert (seen <= (x + w + 0.5, y + h + 0.5)).all()


def test_coco_pictures_hold_one_to_six_people(crowds):
    counts = [len(scene.people) for scene in crowds]
    assert min(counts) >= 1
    assert 3 <= max(counts) <= 6


def test_training_and_validation_share_no_picture(coco):
    pictures = [path.read_bytes() for path in coco.rglob('*.jpg')]
    assert len(set(pictures)) == 7


# --- folders


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / 'lsp').mkdir()
    (tmp_path / 'lsp/joints.mat').write_bytes(b'real')
    with pytest.raises(AnnotationError, match=r'lsp: this folder was not written by the generator.*choose another'):
        write_lsp(tmp_path / 'lsp', count=1)
    assert contents(tmp_path) == {'lsp/joints.mat': b'real'}


def test_a_generated_folder_with_files_of_somebody_else_is_not_replaced(tmp_path):
    root = write_lsp(tmp_path / 'lsp', count=1)
    (root / 'notes.txt').write_text('mine')
    with pytest.raises(AnnotationError, match=r"holds \['notes.txt'\]"):
        write_lsp(root, count=2)
    assert write_lsp(root, count=1) == root
    assert (root / 'notes.txt').read_text() == 'mine'


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / 'lsp').mkdir()
    assert (write_lsp(tmp_path / 'lsp', count=1) / 'joints.mat').exists()


def test_the_same_settings_draw_nothing_twice(lsp, monkeypatch):
    monkeypatch.setattr(synthetic, 'render_scene', lambda *_, **__: pytest.fail('drawn again'))
    assert write_lsp(lsp, count=6, seed=3) == lsp


def test_other_settings_replace_the_folder(tmp_path):
    write_lsp(tmp_path / 'lsp', count=2)
    root = write_lsp(tmp_path / 'lsp', count=1)
    assert os.listdir(root / 'images') == ['im0001.jpg']
    assert os.listdir(tmp_path) == ['lsp']


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupted(iterable, total, description):
        yield next(iter(iterable))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lsp(tmp_path / 'lsp', count=3, progress=interrupted)
    assert list(tmp_path.iterdir()) == []


def test_progress_sees_every_picture(tmp_path):
    told = []

    def progress(iterable, total, description):
        for item in iterable:
            told.append((total, description))
            yield item

    write_lsp(tmp_path / 'lsp', count=2, progress=progress)
    assert told == [(2, 'drawing people')] * 2
