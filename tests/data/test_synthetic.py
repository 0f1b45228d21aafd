import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import default_rng
from scipy.io import loadmat

from poseplug.core.errors import AnnotationError
from poseplug.data.synthetic import (
    ALL_KEYPOINTS,
    COCO_KEYPOINTS,
    LSP_KEYPOINTS,
    dataset_writers,
    render_coco_scene,
    render_lsp_scene,
    render_scene,
    write_coco,
    write_lsp,
)
from poseplug.data.synthetic.body import pose_body, sample_proportions
from poseplug.data.synthetic.clothing import sample_outfit
from poseplug.data.synthetic.person_sampling import PosedPerson, camera_rotation
from poseplug.data.synthetic.pose_families import POSE_FAMILIES, PoseAngles, sample_pose
from poseplug.data.synthetic.rendering import SUPERSAMPLING, CameraView, Light, RenderBuffers, paint_mask
from poseplug.data.synthetic.scene import draw_person
from poseplug.data.synthetic.solids import PART_TAGS
from poseplug.data.synthetic.visibility import is_occluded

NUM_SCENES = 24
LIGHT = Light(np.array((0.0, -0.6, 0.8), np.float32), 0.6, 0.5)


@pytest.fixture(scope='module')
def scenes():
    return [render_lsp_scene(0, index)[0] for index in range(NUM_SCENES)]


@pytest.fixture(scope='module')
def crowds():
    return [render_coco_scene(0, 0, index)[0] for index in range(8)]


@pytest.fixture(scope='module')
def lsp(tmp_path_factory):
    return write_lsp(tmp_path_factory.mktemp('sets') / 'lsp', num_images=6, seed=3)


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp('sets') / 'coco', num_train=5, num_val=2, seed=3)


def read_all_files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


def build_standing_person(yaw: float = 0.0, side: int = 240) -> tuple[RenderBuffers, PosedPerson]:
    """A person upright with the arms a little spread, alone in empty buffers of `side` pixels."""
    limb = np.array((0, 8, 5, 0, 0, 30, 0, 5), float)
    pose = PoseAngles('stand', np.zeros(4), np.zeros(3), {'left': limb, 'right': limb}, 0.0)
    rng = default_rng(1)
    view = CameraView(camera_rotation(yaw), np.array((side / 2, side / 2)), side * 0.45, 6.0, 0.0)
    person = PosedPerson(pose_body(sample_proportions(rng), pose), sample_outfit(rng), view)
    shape = (side * SUPERSAMPLING, side * SUPERSAMPLING)
    depth, tags = np.full(shape, -100, np.float32), np.zeros(shape, np.int16)
    return RenderBuffers(np.zeros((*shape, 3), np.uint8), depth, tags), person


def find_occlusion(buffers: RenderBuffers, person: PosedPerson) -> dict[str, bool]:
    """Whether each keypoint is occluded, by name."""
    points = np.stack([person.body.points[name] for name in ALL_KEYPOINTS])
    pixels, _, depth = person.view.project_points(points @ person.view.body_to_view.T)
    return {
        name: is_occluded(buffers, name, pixel, z, 0)
        for name, pixel, z in zip(ALL_KEYPOINTS, pixels, depth, strict=True)
    }


# --- the same for the same seed


def test_the_same_seed_writes_the_same_bytes(lsp, tmp_path):
    assert read_all_files(write_lsp(tmp_path / 'again', num_images=6, seed=3)) == read_all_files(lsp)


def test_another_seed_renders_other_images(lsp, tmp_path):
    other = read_all_files(write_lsp(tmp_path / 'other', num_images=1, seed=4))
    assert other['images/im0001.jpg'] != read_all_files(lsp)['images/im0001.jpg']


def test_an_image_does_not_depend_on_the_number_of_images(lsp, tmp_path):
    fewer = write_lsp(tmp_path / 'fewer', num_images=3, seed=3)
    for index in range(1, 4):
        assert read_all_files(fewer)[f'images/im{index:04d}.jpg'] == read_all_files(lsp)[f'images/im{index:04d}.jpg']
    few, many = (loadmat(root / 'joints.mat')['joints'] for root in (fewer, lsp))
    np.testing.assert_array_equal(few, many[..., :3])


def test_images_do_not_depend_on_their_order(scenes):
    np.testing.assert_array_equal(render_lsp_scene(0, 5)[0].image, scenes[5].image)
    np.testing.assert_array_equal(render_lsp_scene(0, 2)[0].image, scenes[2].image)


def test_processes_render_what_one_process_renders(lsp, tmp_path):
    assert read_all_files(write_lsp(tmp_path / 'pool', num_images=6, seed=3, num_workers=1)) == read_all_files(lsp)


# --- bodies


def test_keypoint_names_are_those_of_the_skeleton():
    from poseplug.skeletons.lsp import LSP

    assert LSP.keypoints == LSP_KEYPOINTS


@pytest.mark.parametrize('seed', range(5))
def test_a_flipped_pose_gives_the_flipped_body(seed):
    proportions, pose = sample_proportions(default_rng(seed)), sample_pose(default_rng(seed))
    flipped_limbs = {'left': pose.limbs['right'], 'right': pose.limbs['left']}
    flipped = PoseAngles(
        pose.family, pose.trunk * (1, 1, -1, -1), pose.head * (1, -1, -1), flipped_limbs, pose.body_roll
    )
    points, flipped_points = pose_body(proportions, pose).points, pose_body(proportions, flipped).points
    opposite = {'left': 'right', 'right': 'left'}
    for name, point in points.items():
        side, _, rest = name.partition('_')
        flipped_name = f'{opposite[side]}_{rest}' if side in opposite else name
        np.testing.assert_allclose(flipped_points[flipped_name], point * (-1, 1, 1))


@pytest.mark.parametrize('seed', range(5))
def test_bones_keep_their_length_in_every_pose(seed):
    proportions = sample_proportions(default_rng(seed))
    for points in (pose_body(proportions, sample_pose(default_rng((seed, i)))).points for i in range(10)):
        for side in ('left', 'right'):
            thigh = np.linalg.norm(points[f'{side}_hip'] - points[f'{side}_knee'])
            forearm = np.linalg.norm(points[f'{side}_elbow'] - points[f'{side}_wrist'])
            assert thigh == pytest.approx(0.43 * proportions.leg)
            assert forearm == pytest.approx(0.25 * proportions.arm)


def test_knees_and_elbows_bend_only_one_way():
    for family in POSE_FAMILIES.values():
        for side in (family.leading_limbs, family.trailing_limbs):
            assert side[3][0] >= 0
            assert side[7][0] >= 0
            assert side[3][1] <= 145
            assert side[7][1] <= 145


def test_every_family_is_sampled():
    sampled = {sample_pose(default_rng((0, i))).family for i in range(400)}
    assert sampled == set(POSE_FAMILIES)


# --- left, right, front, back


@pytest.mark.parametrize(('yaw', 'sign'), [(0, 1), (180, -1)])
def test_the_persons_left_is_at_the_right_of_the_image_only_from_the_front(yaw, sign):
    _, person = build_standing_person(yaw)
    for keypoint in ('shoulder', 'wrist', 'hip', 'ankle', 'eye'):
        sides = np.stack([person.body.points[f'{side}_{keypoint}'] for side in ('left', 'right')])
        (left, right), _, _ = person.view.project_points(sides @ person.view.body_to_view.T)
        assert (left[0] - right[0]) * sign > 0


def test_yaw_90_shows_the_right_side():
    buffers, person = build_standing_person(90)
    draw_person(buffers, person, LIGHT, 0)
    occluded = find_occlusion(buffers, person)
    assert not any(occluded[f'right_{keypoint}'] for keypoint in ('ear', 'shoulder', 'elbow', 'knee', 'ankle'))
    assert all(occluded[f'left_{keypoint}'] for keypoint in ('ear', 'shoulder', 'elbow', 'knee'))


def test_the_face_is_occluded_from_behind():
    front, back = (build_standing_person(yaw) for yaw in (0, 180))
    for buffers, person in (front, back):
        draw_person(buffers, person, LIGHT, 0)
    assert not any(find_occlusion(*front)[keypoint] for keypoint in ('nose', 'left_eye', 'right_eye'))
    assert all(find_occlusion(*back)[keypoint] for keypoint in ('nose', 'left_eye', 'right_eye'))


# --- occlusion


def test_every_keypoint_of_a_lone_person_who_faces_the_viewer_is_visible():
    buffers, person = build_standing_person()
    draw_person(buffers, person, LIGHT, 0)
    assert [
        keypoint for keypoint, flag in find_occlusion(buffers, person).items() if flag and keypoint in LSP_KEYPOINTS
    ] == []


@pytest.mark.parametrize('keypoint', LSP_KEYPOINTS)
def test_a_keypoint_behind_an_object_is_occluded_and_the_others_stay_visible(keypoint):
    buffers, person = build_standing_person()
    draw_person(buffers, person, LIGHT, 0)
    pixel, _, _ = person.view.project_points(person.view.body_to_view @ person.body.points[keypoint])
    mask = np.zeros(buffers.tags.shape, np.uint8)
    cv2.circle(mask, np.rint((pixel + 0.5) * SUPERSAMPLING - 0.5).astype(int).tolist(), 5, 255, -1)
    paint_mask(buffers, mask, np.array((0, 0, 255)), depth=2.0)
    assert [name for name, flag in find_occlusion(buffers, person).items() if flag and name in LSP_KEYPOINTS] == [
        keypoint
    ]


def test_an_object_behind_the_person_occludes_nothing():
    buffers, person = build_standing_person()
    draw_person(buffers, person, LIGHT, 0)
    before = buffers.tags.copy()
    paint_mask(buffers, np.full(buffers.tags.shape, 255, np.uint8), np.array((0, 0, 255)), depth=-2.0)
    np.testing.assert_array_equal(buffers.tags[before > 0], before[before > 0])
    assert not any(find_occlusion(buffers, person)[keypoint] for keypoint in LSP_KEYPOINTS)


def test_the_nearer_leg_covers_the_farther_one():
    buffers, person = build_standing_person(90)
    draw_person(buffers, person, LIGHT, 0)
    right = (buffers.tags == PART_TAGS['right_shin']).sum()
    left = (buffers.tags == PART_TAGS['left_shin']).sum()
    assert right > 4 * left


def test_a_keypoint_whose_pixels_belong_to_others_is_occluded(scenes, crowds):
    for scene in scenes + crowds:
        h, w = scene.instance_mask.shape
        for index, person in enumerate(scene.persons):
            for (x, y), flag in zip(np.rint(person.lsp_keypoints).astype(int), person.lsp_occluded, strict=True):
                around = scene.instance_mask[max(y - 1, 0) : max(y + 2, 0), max(x - 1, 0) : max(x + 2, 0)]
                if not (around == index + 1).any():
                    assert flag
                if not flag:
                    assert 0 <= x < w
                    assert 0 <= y < h


# --- images


def test_the_main_person_is_whole_and_of_lsp_size(scenes):
    for scene in scenes:
        h, w = scene.image.shape[:2]
        assert scene.image.dtype == np.uint8
        assert 110 <= h <= 210
        assert 110 <= w <= 210
        keypoints = scene.persons[0].lsp_keypoints
        assert (keypoints >= 0).all()
        assert (keypoints <= (w - 1, h - 1)).all()
        assert 60 < np.ptp(keypoints, axis=0).max() < 200


def test_about_a_tenth_of_the_keypoints_is_occluded(scenes):
    flags = [scene.persons[0].lsp_occluded for scene in scenes] + [
        render_lsp_scene(1, index)[0].persons[0].lsp_occluded for index in range(24)
    ]
    assert 0.05 < np.mean(flags) < 0.16


def test_keypoints_lie_on_their_person(scenes):
    on_person = []
    for scene in scenes:
        person = scene.persons[0]
        x, y = (
            np.rint(person.lsp_keypoints[:13][~person.lsp_occluded[:13]]).astype(int).T
        )  # the head's top is on its edge
        on_person.append(scene.instance_mask[y, x] == 1)
    assert np.concatenate(on_person).mean() > 0.98


def test_boxes_and_areas_are_those_of_the_visible_pixels(crowds):
    for scene in crowds:
        for index, person in enumerate(scene.persons):
            mask = scene.instance_mask == index + 1
            assert person.area == mask.sum()
            if person.area:
                assert person.box_xywh == cv2.boundingRect(mask.astype(np.uint8))


@pytest.mark.parametrize(('size', 'num_persons'), [((96, 128), 1), ((128, 96), 2), ((64, 64), 1)])
def test_a_scene_has_the_requested_size_and_number_of_people(size, num_persons):
    scene = render_scene(default_rng(0), size, num_persons)
    assert scene.image.shape == (size[1], size[0], 3)
    assert len(scene.persons) == num_persons
    assert (scene.persons[0].lsp_keypoints >= 0).all()
    assert (scene.persons[0].lsp_keypoints < size).all()


# --- the files of Leeds Sports Pose


def test_keypoints_are_written_as_lsp_writes_them(lsp):
    joints = loadmat(lsp / 'joints.mat')['joints']
    assert joints.shape == (3, 14, 6)
    assert joints.dtype == np.float64
    assert sorted(os.listdir(lsp / 'images')) == [f'im{i:04d}.jpg' for i in range(1, 7)]
    assert set(np.unique(joints[2])) <= {0, 1}


def test_lsp_coordinates_count_from_one(lsp):
    joints = loadmat(lsp / 'joints.mat')['joints']
    for index in range(6):
        person = render_lsp_scene(3, index)[0].persons[0]
        np.testing.assert_allclose(joints[:2, :, index].T - 1, person.lsp_keypoints)
        np.testing.assert_array_equal(joints[2, :, index], person.lsp_occluded)


def test_the_images_on_disk_are_the_scenes(lsp):
    for index in range(3):
        image, scene = cv2.imread(str(lsp / f'images/im{index + 1:04d}.jpg')), render_lsp_scene(3, index)[0]
        assert image.shape == scene.image.shape
        assert np.abs(image.astype(int) - scene.image).mean() < 12


def test_half_of_the_images_is_for_training_by_default(lsp, tmp_path):
    metadata = json.loads((lsp / 'dataset.json').read_text())
    assert (metadata['count'], metadata['train'], metadata['seed']) == (6, 3, 3)
    other = write_lsp(tmp_path / 'lsp', num_images=2, num_train=2)
    assert json.loads((other / 'dataset.json').read_text())['train'] == 2


def test_more_training_images_than_images_are_an_error(tmp_path):
    with pytest.raises(AnnotationError, match='3 training images of 2'):
        write_lsp(tmp_path / 'lsp', num_images=2, num_train=3)


# --- the files of COCO


@pytest.mark.parametrize(('split', 'count'), [('train2017', 5), ('val2017', 2)])
def test_coco_annotations_agree_with_themselves(coco, split, count):
    data = json.loads((coco / f'annotations/person_keypoints_{split}.json').read_text())
    assert len(data['images']) == count
    assert data['categories'][0]['keypoints'] == list(COCO_KEYPOINTS)
    for image in data['images']:
        pixels = cv2.imread(str(coco / split / image['file_name']))
        assert pixels.shape[:2] == (image['height'], image['width'])
    ids = {image['id'] for image in data['images']}
    assert len({person['id'] for person in data['annotations']}) == len(data['annotations']) > 0
    for person in data['annotations']:
        keypoints = np.reshape(person['keypoints'], (17, 3))
        assert person['image_id'] in ids
        assert person['iscrowd'] == 0
        assert person['area'] > 0
        assert person['num_keypoints'] == (keypoints[:, 2] > 0).sum()
        assert (keypoints[keypoints[:, 2] == 0] == 0).all()


def test_a_coco_box_holds_the_visible_keypoints(coco):
    data = json.loads((coco / 'annotations/person_keypoints_train2017.json').read_text())
    for person in data['annotations']:
        keypoints, (x, y, w, h) = np.reshape(person['keypoints'], (17, 3)), person['bbox']
        visible = keypoints[keypoints[:, 2] == 2, :2]
        assert (visible >= (x - 1.5, y - 1.5)).all()
        assert (visible <= (x + w + 0.5, y + h + 0.5)).all()


def test_coco_images_hold_one_to_six_people(crowds):
    counts = [len(scene.persons) for scene in crowds]
    assert min(counts) >= 1
    assert 3 <= max(counts) <= 6


def test_training_and_validation_have_no_image_in_common(coco):
    images = [path.read_bytes() for path in coco.rglob('*.jpg')]
    assert len(set(images)) == 7


# --- folders


def test_a_foreign_folder_is_not_changed(tmp_path):
    (tmp_path / 'lsp').mkdir()
    (tmp_path / 'lsp/joints.mat').write_bytes(b'real')
    with pytest.raises(AnnotationError, match=r'lsp: this folder was not written by the generator.*choose another'):
        write_lsp(tmp_path / 'lsp', num_images=1)
    assert read_all_files(tmp_path) == {'lsp/joints.mat': b'real'}


def test_a_generated_folder_with_foreign_files_is_not_replaced(tmp_path):
    root = write_lsp(tmp_path / 'lsp', num_images=1)
    (root / 'notes.txt').write_text('mine')
    with pytest.raises(AnnotationError, match=r"holds \['notes.txt'\]"):
        write_lsp(root, num_images=2)
    assert write_lsp(root, num_images=1) == root
    assert (root / 'notes.txt').read_text() == 'mine'


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / 'lsp').mkdir()
    assert (write_lsp(tmp_path / 'lsp', num_images=1) / 'joints.mat').exists()


def test_the_same_settings_render_nothing_twice(lsp, monkeypatch):
    monkeypatch.setattr(dataset_writers, 'render_scene', lambda *_, **__: pytest.fail('rendered again'))
    assert write_lsp(lsp, num_images=6, seed=3) == lsp


def test_other_settings_replace_the_folder(tmp_path):
    write_lsp(tmp_path / 'lsp', num_images=2)
    root = write_lsp(tmp_path / 'lsp', num_images=1)
    assert os.listdir(root / 'images') == ['im0001.jpg']
    assert os.listdir(tmp_path) == ['lsp']


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupt(iterable, total, description):
        yield next(iter(iterable))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lsp(tmp_path / 'lsp', num_images=3, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_image(tmp_path):
    reported = []

    def progress(iterable, total, description):
        for item in iterable:
            reported.append((total, description))
            yield item

    write_lsp(tmp_path / 'lsp', num_images=2, progress=progress)
    assert reported == [(2, 'rendering images')] * 2
