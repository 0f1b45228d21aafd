"""The gate of an export: differences by hand, the whole chain with a model of the package, and a file that fails."""

from pathlib import Path

import numpy as np
import pytest
import torch

from poseplug.cli.options import run_command
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.poses import Poses
from poseplug.deploy import checked_export
from poseplug.deploy.checked_export import CheckSettings, export_checked
from poseplug.deploy.export import export_model
from poseplug.deploy.export_settings import ExportOptions, collect_crop_settings, hash_weights
from poseplug.deploy.parity import ParityTolerance, compare_results, render_parity_images
from poseplug.deploy.runtime import ExportedPredictor
from poseplug.deploy.torch_files import TorchExportedModel
from poseplug.predict.model_loading import load_model
from poseplug.predict.predictor import Predictor


def create_poses(x: float, scores=(0.9, 0.02), instance_score: float = 0.5) -> Poses:
    """One instance of two keypoints, at x and at x + 100."""
    return Poses(np.array([[[x, 0.0], [x + 100, 0]]]), np.array([scores]), np.array([instance_score]))


def concat(*poses: Poses) -> Poses:
    return Poses(
        *(np.concatenate([getattr(p, n) for p in poses]) for n in ('keypoints', 'keypoint_scores', 'instance_scores'))
    )


def test_distances_are_those_of_keypoints_that_count_and_scores_those_of_all():
    other = Poses(np.array([[[3.0, 4.0], [500, 0]]]), np.array([[0.8, 0.05]]), np.array([0.47]))
    report = compare_results([create_poses(0.0)], [other], min_score=0.05)
    assert report.distances_px.tolist() == [5.0]
    assert report.max_score_difference == pytest.approx(0.1)
    assert (report.num_images, report.num_instances, report.unmatched) == (1, 1, 0)


def test_instances_are_matched_whatever_their_order_and_others_are_counted():
    near, far = create_poses(0.0), create_poses(1000.0, instance_score=0.9)
    report = compare_results([concat(near, far)], [concat(far, near)])
    assert report.distances_px.tolist() == [0.0, 0.0]
    assert compare_results([concat(near, far)], [near]).unmatched == 1
    assert compare_results([near[:0]], [near]).unmatched == 1


@pytest.mark.parametrize('other', [create_poses(0.2), create_poses(0.0, instance_score=0.6), create_poses(0.0)[:0]])
def test_more_than_the_tolerance_is_an_error_that_says_how_much(other):
    report = compare_results([create_poses(0.0)], [other])
    with pytest.raises(MismatchError, match=r'a.onnx differs from the model by more than 0.05 px \(--tolerance-px\)'):
        report.check_tolerance(ParityTolerance(), 'a.onnx')


def test_nothing_to_compare_is_an_error_and_not_a_success():
    with pytest.raises(MismatchError, match='no instance was found in the images'):
        compare_results([create_poses(0.0)[:0]], [create_poses(0.0)[:0]]).check_tolerance(ParityTolerance(), 'a.onnx')
    faint = create_poses(0.0, scores=(0.01, 0.01))
    with pytest.raises(MismatchError, match=r'no keypoint scores 0\.05 or more'):
        compare_results([faint], [faint]).check_tolerance(ParityTolerance(), 'a.onnx')


def test_a_quantile_forgives_the_rest():
    distances = np.arange(100.0)
    report = compare_results([create_poses(0.0)], [create_poses(0.0)])
    report = type(report)(1, 1, distances, 0.0, 0)
    report.check_tolerance(ParityTolerance(px=95.0, quantile=0.95), 'a.onnx')
    with pytest.raises(MismatchError):
        report.check_tolerance(ParityTolerance(px=94.0, quantile=0.96), 'a.onnx')


@pytest.fixture(scope='module')
def lite():
    return load_model('cpm_lsp_lite', device='cpu')


@pytest.fixture(scope='module')
def exported_file(tmp_path_factory):
    """The small installed model as TorchScript, with its flip test, and what was reported."""
    lines: list[str] = []
    file = tmp_path_factory.mktemp('exported') / 'sub/lite.pt'
    options = ExportOptions(flip_test=True, license='Apache-2.0')
    export_checked('cpm_lsp_lite', None, file, 'torchscript', options, report=lines.append)
    return file, lines


def test_an_exported_model_predicts_what_the_model_predicts(exported_file):
    """As files, with and without boxes, in batches of other sizes than the exported one."""
    file, lines = exported_file
    assert [path.name for path in file.parent.iterdir()] == ['lite.pt']
    assert len(lines) == 1
    assert lines[0].startswith('torch: 8 instances in 8 images, 112 keypoints: median')
    predictor, exported = Predictor('cpm_lsp_lite', device='cpu'), ExportedPredictor(TorchExportedModel(file))
    images, boxes = render_parity_images(finds_instances=False)
    several = [np.concatenate([box, box * 0.5 + 1]) for box in boxes]
    for given, batch_size in ((None, 3), (several, 5)):
        results = [each(images, given, batch_size) for each in (predictor, exported)]
        for expected, actual in zip(*results, strict=True):
            np.testing.assert_allclose(actual.keypoints, expected.keypoints, atol=2e-3)
            np.testing.assert_allclose(actual.keypoint_scores, expected.keypoint_scores, atol=1e-5)
            np.testing.assert_allclose(actual.instance_scores, expected.instance_scores, atol=1e-5)
            assert (actual.boxes is None) == (given is None)
            if given is not None:
                np.testing.assert_allclose(actual.boxes, expected.boxes)
            assert (actual.path, actual.image_size, actual.index) == (
                expected.path,
                expected.image_size,
                expected.index,
            )
            assert list(actual.speed) == list(expected.speed)
    assert exported.skeleton == predictor.skeleton
    assert exported.score_meaning == predictor.score_meaning


def test_the_file_says_what_it_predicts_and_of_which_weights(exported_file, lite):
    settings = TorchExportedModel(exported_file[0]).settings
    assert (settings['kind'], settings['codec'], settings['flip_test']) == ('top_down', 'CPMHeatmap', True)
    assert settings['license'] == 'Apache-2.0'
    assert settings['weights_sha256'] == hash_weights(lite)
    assert settings['crop']['box'] == {'padding': 1.25, 'crop_rule': 'pixels'}
    assert settings['crop']['image'] == {
        'type': 'letterbox',
        'fill_fraction': 0.9,
        'side': 'longer',
        'crop_rule': 'pixels',
    }


def test_a_file_that_predicts_something_else_is_removed(lite, tmp_path, monkeypatch, capsys):
    """The last convolution's biases are exchanged between keypoints before the export."""

    def export_changed(model, file, target, options):
        changed = load_model('cpm_lsp_lite', device='cpu')
        with torch.no_grad():
            for parameter in list(changed.network.head.parameters())[-2:]:
                parameter.copy_(parameter.roll(1, 0))
        return export_model(changed, file, target, options)

    monkeypatch.setattr(checked_export, 'export_model', export_changed)
    out = tmp_path / 'lite.pt'
    arguments = ['cpm_lsp_lite', '--out', str(out), '--to', 'torchscript']
    with pytest.raises(SystemExit) as exit_info:
        run_export(arguments)
    assert exit_info.value.code == 2
    assert 'MismatchError: cpm_lsp_lite' in (message := capsys.readouterr().err)
    assert 'no file was left' in message
    assert list(tmp_path.iterdir()) == []


def run_export(arguments: list[str]) -> None:
    run_command('export', 'poseplug export', arguments)


def test_scores_on_labeled_data_are_reported_before_and_after(tiny_data, tmp_path):
    sources = {'test_dataloader.dataset.sources': [dict(type='LSPSource', data_root=str(tiny_data), split='test')]}
    options = {**sources, 'test_dataloader.num_workers': 0, 'test_dataloader.batch_size': 2}
    cfg = load_config('cpm_lsp_lite', options)
    weights = Path(checked_export.__file__).parents[1] / 'weights/cpm_lsp_lite.safetensors'
    lines: list[str] = []
    check = CheckSettings(num_data=2)
    export_checked(cfg, weights, tmp_path / 'lite.pt', 'torchscript', check=check, report=lines.append)
    scores = [line for line in lines if line.startswith('torch: PCK@0.2 ')]
    assert len(scores) == 1
    before, after = (float(word) for word in scores[0].split() if word.replace('.', '').isdigit())
    assert before == after


def test_a_pipeline_that_cannot_be_repeated_is_refused_by_name(lite):
    pipeline = [dict(type='LetterboxImage'), dict(type='Warp'), dict(type='RandomHSV')]
    with pytest.raises(ConfigError, match='the test pipeline has RandomHSV, which an exported model cannot repeat'):
        collect_crop_settings(lite, pipeline)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--out', 'a.pt'], '--out a.pt: a file --to onnx ends in .onnx'),
        (['--out', 'a.onnx', '--cfg-options', 'seed=1'], '--cfg-options change a config; name it, and its checkpoint'),
        (['no_such_model', '--out', 'a.onnx'], 'no_such_model has no weights of its own'),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run_export(arguments)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
