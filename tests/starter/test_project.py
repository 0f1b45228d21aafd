"""`poseplug init`: from label files of any format to a config that trains."""

import json
import re
import shlex

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from poseplug.config.build import build_dataset, build_model
from poseplug.config.load import load_config
from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.data.formats.label_choice import choose_labels
from poseplug.data.formats.label_skeleton import reorder_skeleton
from poseplug.engine.weight_init import init_weights
from poseplug.files.skeleton_record import describe_skeleton
from poseplug.files.weights import load_checkpoint
from poseplug.predict.shipped_model import SHIPPED_MODEL_DIR, load_shipped_model
from poseplug.registry.skeletons import get_skeleton
from poseplug.skeletons.coco import COCO
from poseplug.starter.project import create_project
from poseplug.starter.run_plan import MODEL_SIZES, plan_run
from poseplug.zoo.index import find_published_model
from poseplug.zoo.installed_models import find_installed_weights
from poseplug.zoo.published_models import load_published_config
from tests.data.formats import label_files
from tests.starter.animals import KEYPOINTS, write_coco_animals, write_yolo_animals

WRITERS = {
    'coco': label_files.write_coco,
    'labelme': label_files.write_labelme,
    'cvat': label_files.write_cvat,
    'label_studio': label_files.write_label_studio,
    'deeplabcut': label_files.write_deeplabcut,
}
TINY_RUN = {
    'train_cfg.max_steps': 2,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'test_dataloader.num_workers': 0,
}


@pytest.fixture(scope='module')
def geckos(tmp_path_factory):
    return write_coco_animals(tmp_path_factory.mktemp('animals') / 'geckos', num_images=10)


def count_instances(cfg):
    return {key: len(build_dataset(cfg, cfg[f'{key}_dataloader'].dataset)) for key in ('train', 'val', 'test')}


def test_the_commands_that_init_prints_lead_to_a_report(command, geckos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command('init', geckos, '--out', 'project')
    assert code == 0, err
    assert '  gecko: ' in out
    assert 'flip pairs by left and right in the names: left_paw - right_paw, left_foot - right_foot' in out
    assert 'split: 8 images for training, 2 for validation' in out
    commands = [shlex.split(line)[1:] for line in out.splitlines() if line.startswith('  poseplug ')]
    assert [words[0] for words in commands] == ['train', 'test', 'predict', 'doctor']
    options = [f'{key}={value}' for key, value in TINY_RUN.items()]
    for words in commands:
        extra = [] if words[0] == 'predict' else ['--cfg-options', *options]
        if words[0] == 'predict':
            words[1] = 'project/run/config.py'  # the saved config has the tiny network
        code, out, err = command(*words, *extra)
        assert code == 0, (words, err)
    for name in ('report/report.html', 'predictions/results.json', 'label_check/labels.html', 'run/best.pth'):
        assert (tmp_path / 'project' / name).is_file(), name


def test_the_config_is_short_and_reads_all_instances(geckos, tmp_path):
    project = create_project(geckos, tmp_path / 'project')
    assert len(project.config.read_text().splitlines()) < 40
    cfg = load_config(project.config, training=True)
    counts = count_instances(cfg)
    labels = json.loads((geckos / 'labels.json').read_text())
    assert counts['train'] + counts['val'] == len(labels['annotations'])
    assert counts['val'] == counts['test']
    assert list(cfg.skeleton['keypoints']) == KEYPOINTS
    assert len(build_model(cfg).skeleton.flip_pairs) == 2
    sheet = cv2.imread(str(tmp_path / 'project/labels.jpg'))
    assert sheet.std() > 10
    assert project.example_box is not None


def test_a_project_can_be_moved_and_used_from_any_folder(geckos, tmp_path, monkeypatch):
    create_project(geckos, tmp_path / 'project')
    (tmp_path / 'project').rename(tmp_path / 'moved')
    monkeypatch.chdir(tmp_path)
    assert count_instances(load_config('moved/config.py'))['train'] > 0


def test_a_yolo_folder_keeps_its_split_and_its_flips(tmp_path):
    folder = write_yolo_animals(tmp_path / 'yolo', num_train=5, num_val=3)
    project = create_project(folder / 'data.yaml', tmp_path / 'project')
    assert 'split: that of the files' in project.lines
    assert 'flip pairs of the file: left_paw - right_paw, left_foot - right_foot' in project.lines
    images = {
        split: json.loads((project.folder / f'annotations/{split}.json').read_text())['images']
        for split in ('train', 'val')
    }
    assert {split: len(rows) for split, rows in images.items()} == {'train': 5, 'val': 3}
    assert all(image['file_name'].startswith('train/') for image in images['train'])
    assert count_instances(load_config(project.config))['val'] > 0


def test_a_part_for_tests_is_tested_and_another_one_validates(tmp_path):
    folder = write_yolo_animals(tmp_path / 'yolo', num_train=4, num_val=2)
    for kind in ('images', 'labels'):
        (folder / kind / 'test').mkdir()
        for file in sorted((folder / kind / 'train').iterdir())[:1]:
            file.rename(folder / kind / 'test' / file.name)
    with open(folder / 'data.yaml', 'a') as file:
        file.write('test: images/test\n')
    cfg = load_config(create_project(folder, tmp_path / 'project').config)
    assert cfg.test_dataloader.dataset.sources[0].ann_file == 'annotations/test.json'
    assert cfg.val_dataloader.dataset.sources[0].ann_file == 'annotations/val.json'


@pytest.mark.parametrize('name', WRITERS)
def test_labels_of_every_format_become_a_config(name, tmp_path):
    project = create_project(WRITERS[name](tmp_path / 'labels'), tmp_path / 'project')
    cfg = load_config(project.config, training=True)
    assert count_instances(cfg)['train'] + count_instances(cfg)['val'] == 3
    assert sorted(cfg.skeleton['keypoints']) == sorted(label_files.KEYPOINTS)


def test_frames_of_one_video_are_split_with_a_warning(geckos, tmp_path):
    folder = write_coco_animals(tmp_path / 'video', num_images=6)
    first = next((folder / 'images').iterdir()).read_bytes()
    for file in (folder / 'images').iterdir():
        file.write_bytes(first)
    project = create_project(folder, tmp_path / 'project')
    assert any('near-duplicates of each other, as frames of one video' in line for line in project.lines)


def test_keypoints_of_a_registered_skeleton_are_that_skeleton(multi_person_data, tmp_path):
    project = create_project(multi_person_data / 'annotations/person_keypoints_train2017.json', tmp_path / 'project')
    cfg = load_config(project.config)
    assert cfg.skeleton == 'coco'
    assert "skeleton: that of 'coco', by the names: its limbs, flip pairs and sigmas" in project.lines
    assert not (tmp_path / 'project/skeleton.json').exists()


def test_keypoints_without_names_or_sides_are_numbered_and_not_flipped(geckos, tmp_path):
    content = json.loads((geckos / 'labels.json').read_text())
    del content['categories'][0]['keypoints'], content['categories'][0]['skeleton']
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    project = create_project(tmp_path / 'labels.json', tmp_path / 'project', image_folder=geckos / 'images')
    cfg = load_config(project.config)
    assert cfg.skeleton['keypoints'][0] == 'keypoint_1'
    assert cfg.model.flip_test is False
    assert 'RandomFlip' not in [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert any(line.startswith('flip pairs: none; images are not flipped') for line in project.lines)


def test_missing_images_are_left_out_and_counted(tmp_path):
    folder = write_coco_animals(tmp_path / 'geckos', num_images=5)
    (folder / 'images/gecko002.jpg').unlink()
    lines = '\n'.join(create_project(folder, tmp_path / 'project').lines)
    assert '1 images are not in ' in lines
    assert re.search(r'\d instances of images that are not there left out', lines)


def test_a_file_per_folder_is_a_split_also_where_both_count_from_one(geckos, tmp_path):
    """The layout of Roboflow: train/_annotations.coco.json beside the images, and valid/ likewise."""
    content = json.loads((geckos / 'labels.json').read_text())
    for split, number in (('train', 7), ('valid', 3)):
        folder = tmp_path / 'export' / split
        folder.mkdir(parents=True)
        images = content['images'][:number]
        ids = {image['id'] for image in images}
        annotations = [a for a in content['annotations'] if a['image_id'] in ids]
        part = {**content, 'images': images, 'annotations': annotations}
        (folder / '_annotations.coco.json').write_text(json.dumps(part))
        for image in images:
            (folder / image['file_name']).write_bytes((geckos / 'images' / image['file_name']).read_bytes())
    project = create_project(tmp_path / 'export', tmp_path / 'project')
    assert 'split: that of the files' in project.lines
    written = {s: json.loads((project.folder / f'annotations/{s}.json').read_text()) for s in ('train', 'val')}
    assert [len(written[s]['images']) for s in ('train', 'val')] == [7, 3]
    numbers = [image['id'] for s in ('train', 'val') for image in written[s]['images']]
    assert sorted(numbers) == list(range(1, 11))
    cfg = load_config(project.config)
    assert count_instances(cfg)['val'] == len(written['val']['annotations'])


def test_of_two_skeletons_with_the_same_names_that_of_the_category_counts(tmp_path):
    from poseplug.data.formats.label_skeleton import build_label_skeleton

    names = list(COCO.keypoints)
    for title, expected in (('Macaque', 'macaque'), ('person', 'coco')):
        category = dict(id=1, name=title, keypoints=names)
        assert build_label_skeleton(tmp_path / 'a.json', category).registered_name == expected


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_folder_with_files_is_never_written_to(command, geckos, tmp_path):
    (tmp_path / 'project').mkdir()
    (tmp_path / 'project/mine.txt').write_text('mine')
    code, out, err = command('init', geckos, '--out', tmp_path / 'project')
    assert (code, out) == (2, '')
    assert 'exists and is not an empty folder; name a new one by --out' in err
    assert [file.name for file in (tmp_path / 'project').iterdir()] == ['mine.txt']


@pytest.mark.parametrize(('change', 'message'), [
    (lambda c: c['annotations'].clear(), 'no category has instances with keypoints'),
    (lambda c: [i.update(file_name=f'no/{i["id"]}.jpg') for i in c['images']], 'none of its 10 images is .*--images'),
    (lambda c: c['images'][2].pop('file_name'), r'images\[2\] has no file_name; correct the file'),
    (lambda c: c['annotations'][1].pop('image_id'), r'annotations\[1\] has no image_id'),
    (lambda c: c['annotations'][1].update(keypoints=[1, 2]), 'keypoints'),
    (lambda c: c['categories'][0].update(skeleton=[[1, 99]]), 'skeleton has pairs of 1 to 8; found 1 to 99'),
])  # fmt: skip
def test_wrong_labels_are_an_error_that_leaves_no_files(command, geckos, tmp_path, change, message):
    content = json.loads((geckos / 'labels.json').read_text())
    change(content)
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    code, out, err = command('init', tmp_path / 'labels.json', '--images', geckos / 'images', '--out', tmp_path / 'p')
    assert (code, out) == (2, '')
    assert re.search(message, err), err
    assert not (tmp_path / 'p').exists()


def test_categories_with_keypoints_of_their_own_must_be_named(geckos, tmp_path):
    content = json.loads((geckos / 'labels.json').read_text())
    content['categories'].append(dict(id=2, name='Blue Fly', keypoints=['head', 'abdomen']))
    content['annotations'][0].update(category_id=2, keypoints=[20, 20, 2, 30, 30, 2])
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    settings = dict(image_folder=geckos / 'images')
    with pytest.raises(
        AnnotationError, match=r"'gecko' \(8 keypoints\), 'Blue Fly' \(2 keypoints\). Name one by --cat"
    ):
        create_project(tmp_path / 'labels.json', tmp_path / 'p', **settings)
    with pytest.raises(AnnotationError, match="no category 'geko' has instances; closest: 'gecko'"):
        create_project(tmp_path / 'labels.json', tmp_path / 'p', categories=['geko'], **settings)
    project = create_project(tmp_path / 'labels.json', tmp_path / 'p', categories=['GECKO'], **settings)
    assert any('1 instances of other categories left out' in line for line in project.lines)


@pytest.mark.parametrize(('model', 'message'), [
    ('hourglass1_coco_182', "closest: 'hourglass1_coco_128'"),
    ('rtmo_s_coco_640', 'init needs a top-down model'),
    ('rtmo-s', 'init needs a top-down model .* this one is OneStage'),
])  # fmt: skip
def test_a_model_that_does_not_fit_is_an_error(model, message):
    with pytest.raises(ConfigError, match=message):
        plan_run(model, 100, (50, 50))


# --- choices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('num_instances', 'box', 'size'), [
    (50, (300, 300), 'small'), (5000, (60, 80), 'small'), (5000, (120, 300), 'base'), (50_000, (120, 300), 'large'),
])  # fmt: skip
def test_the_model_follows_the_number_of_instances_and_their_size(num_instances, box, size):
    assert plan_run(None, num_instances, box).config == MODEL_SIZES[size]


def test_the_length_and_the_rate_follow_the_data_and_the_batch():
    plan = plan_run('base', 5000, (100, 100))
    assert (plan.batch_size, plan.max_steps) == (32, 60 * 5000 // 32)
    assert plan.lr == pytest.approx(1e-3 * 32 / 128)
    assert plan.num_epochs == pytest.approx(60, abs=0.1)
    assert plan_run('small', 3, (100, 100)).batch_size == 3
    assert plan_run('small', 10**7, (100, 100)).max_steps == 20_000


@pytest.mark.parametrize(('box', 'size'), [((50, 100), (192, 256)), ((100, 100), (256, 256)), ((100, 50), (256, 192))])
def test_a_large_input_has_the_shape_of_the_boxes(box, size):
    assert plan_run('base', 5000, box).input_size == size
    assert plan_run('small', 5000, box).input_size is None


@pytest.mark.parametrize(
    'model', [*MODEL_SIZES, 'rtmpose_t_coco_256x192', 'cpm_lsp_lite', 'cpm_mpii_368', 'cpm_efficientnet_lsp']
)
def test_the_config_of_every_model_is_complete(geckos, tmp_path, model):
    project = create_project(geckos, tmp_path / 'project', model=model)
    cfg = load_config(project.config, training=True)
    assert cfg.train_dataloader.batch_size <= 16
    assert cfg.train_dataloader.get('source_ratios') is None  # of sources that the labels do not have
    assert cfg.param_scheduler[1].end == 1.0
    for key in ('train', 'val', 'test'):
        pipeline = cfg[f'{key}_dataloader'].dataset.pipeline
        assert pipeline[0].type == 'CropBox'
        assert 'MultiScaleCrop' not in [step.type for step in pipeline]


@pytest.mark.parametrize('name', ['rtmpose-t', 'hrnet-w32-udp', 'rtmpose-m-ap10k', 'seresnet101-mpii'])
def test_a_published_model_gives_its_network_and_its_weights(geckos, tmp_path, name):
    project = create_project(geckos, tmp_path / 'project', model=name)
    entry = find_published_model(name)
    assert any(f'with the published weights of {entry.name} (as --model says)' in line for line in project.lines)
    assert len(project.config.read_text().splitlines()) < 40
    cfg = load_config(project.config, training=True)
    assert cfg.init == entry.name
    assert cfg.model == load_config(entry.config, entry.overrides).model
    assert list(cfg.skeleton['keypoints']) == KEYPOINTS


def test_a_run_begins_with_the_weights_of_the_published_model(geckos, tmp_path, monkeypatch):
    cfg = load_config(create_project(geckos, tmp_path / 'project', model='rtmpose-t').config, training=True)
    published = build_model(load_published_config('rtmpose-t'))
    content = dict(state_dict=published.state_dict(), skeleton=describe_skeleton(published.skeleton))
    torch.save(content, tmp_path / 'rtmpose-t.pth')
    monkeypatch.setattr('poseplug.engine.weight_init.find_weights', lambda name: tmp_path / f'{name}.pth')
    model = build_model(cfg)
    init_weights(model, cfg.init)
    before, after = published.state_dict(), model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith('backbone.'))
    assert before['head.maps.weight'].shape[0] == 17
    assert after['head.maps.weight'].shape[0] == len(KEYPOINTS)


def test_a_run_begins_with_the_weights_of_an_installed_model(geckos, tmp_path):
    cfg = load_config(create_project(geckos, tmp_path / 'project', model='cpm_efficientnet_lsp').config, training=True)
    assert cfg.init == 'cpm_efficientnet_lsp'
    weights = load_checkpoint(find_installed_weights('cpm_efficientnet_lsp'))['state_dict']
    model = build_model(cfg)
    init_weights(model, cfg.init)
    after = model.state_dict()
    names = [name for name in weights if name.startswith('backbone.')]
    assert names
    assert all(torch.equal(weights[name], after[name]) for name in names)


def test_a_small_project_begins_with_the_weights_of_the_installed_model(geckos, tmp_path):
    project = create_project(geckos, tmp_path / 'project', model='small')
    assert any('with the installed weights of cpm_efficientnet_lsp (as' in line for line in project.lines)
    cfg = load_config(project.config, training=True)
    model, (installed, _) = build_model(cfg), load_shipped_model()
    before = load_file(SHIPPED_MODEL_DIR / f'{cfg.init}.safetensors')
    init_weights(model, cfg.init)
    after = model.state_dict()
    assert installed['model']['backbone'] == cfg.model.backbone
    assert all(torch.equal(before[n].float(), after[n].float()) for n in before if n.startswith('backbone.'))
    # the geckos' neck is that of a person
    person, gecko = get_skeleton('lsp').keypoints.index('neck'), KEYPOINTS.index('neck')
    name = next(
        n for n in after if n.startswith('head.') and n.endswith('weight') and len(after[n]) == len(KEYPOINTS) + 1
    )
    assert torch.equal(after[name][gecko], before[name][person].float())


def test_the_rate_of_published_weights_follows_the_root_of_the_batch():
    plan = plan_run('rtmpose-s', 500, (80, 60))
    assert (plan.config, plan.published_name, plan.batch_size) == ('rtmpose_s_coco_256x192', 'rtmpose-s', 16)
    assert plan.lr == pytest.approx(4e-3 / 8)  # the root of 16 / 1024


def test_a_skeleton_takes_the_order_and_the_names_of_a_file():
    names = [name.replace('_', ' ').title() for name in reversed(COCO.keypoints)]
    skeleton = reorder_skeleton(COCO, names)
    assert skeleton.keypoints == tuple(names)
    assert skeleton.sigmas == COCO.sigmas[::-1]
    assert ('Left Eye', 'Right Eye') in skeleton.flip_pairs
    assert len(skeleton.limbs) == len(COCO.limbs)


def test_images_in_several_folders_are_named_from_the_one_that_contains_them(tmp_path):
    from poseplug.data.formats.label_collector import LabelCollector

    for name in ('one/a.png', 'two/deep/b.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / 'labels').mkdir()
    collector = LabelCollector('example', tmp_path / 'labels', tmp_path / 'labels')
    category = collector.add_category('cat', ['nose'])
    for name in ('../one/a.png', '../two/deep/b.png'):
        collector.add_instance(collector.add_sized_image(name, (20, 20)), category, [[5, 5, 2]])
    labels = choose_labels(collector.finish_labels())
    assert labels.image_folder == tmp_path.resolve()
    assert [image['file_name'] for image in labels.content['images']] == ['one/a.png', 'two/deep/b.png']
