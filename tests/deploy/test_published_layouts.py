"""ONNX files as RTMPose, RTMO and ViTPose are published, made here: what they predict is what our codecs decode."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.deploy.exported_model import ExportedModel
from poseplug.deploy.published_layouts import (
    PublishedLayout,
    decode_published_outputs,
    find_published_layout,
    normalize_images,
)
from poseplug.deploy.runtime import ExportedPredictor
from poseplug.files.onnx_file import read_graph_info
from poseplug.files.video_decoding import VideoFrame
from poseplug.predict.video import PredictionOptions, track_frames
from poseplug.registry import CODECS
from poseplug.skeletons.coco import COCO

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
SIZE = (48, 64)


def write_file(path, outputs, batch='batch', size=SIZE):
    """A file that returns these arrays, of one image, for every image, plus 0 times its red channel."""
    helper, float_type = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node('Slice', ['input', 'first', 'second', 'axis'], ['red']),
        helper.make_node('ReduceMean', ['red', 'image_axes'], ['mean'], keepdims=0),
        helper.make_node('Mul', ['mean', 'zero'], ['nothing']),
    ]
    constants = {
        'first': np.array([0]),
        'second': np.array([1]),
        'axis': np.array([1]),
        'image_axes': np.array([1, 2, 3]),
        'zero': np.zeros(1, np.float32),
    }
    values = []
    for name, array in outputs.items():
        shape = np.array([-1, *[1] * array.ndim])
        constants |= {f'{name}_value': array[None].astype(np.float32), f'{name}_shape': shape}
        nodes += [
            helper.make_node('Reshape', ['nothing', f'{name}_shape'], [f'{name}_zeros']),
            helper.make_node('Add', [f'{name}_value', f'{name}_zeros'], [name]),
        ]
        values.append(helper.make_tensor_value_info(name, float_type, [batch, *array.shape]))
    image = helper.make_tensor_value_info('input', float_type, [batch, 3, size[1], size[0]])
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, 'published', [image], values, initializers)
    opsets = [helper.make_opsetid('', 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def draw_fields(codec):
    """The fields of one image, as arrays, and its keypoints (1, 17, 2) as the codec decodes them."""
    keypoints = torch.rand(1, 1, 17, 2, generator=torch.Generator().manual_seed(0)) * (torch.tensor(SIZE) - 17) + 8
    fields = codec.encode(keypoints, torch.full((1, 1, 17), 2)).stage_fields(0)
    noise = {name: values + 0.01 * torch.rand(values.shape) for name, values in fields.items()}
    return {name: values[0].numpy() for name, values in noise.items()}, codec.decode(noise).numpy()


def test_rtmpose_is_read_as_our_codec_reads_it(tmp_path):
    codec = CODECS.build(dict(type='SimCC', input_size=SIZE, match='mmpose'), skeleton=COCO)
    fields, expected = draw_fields(codec)
    file = write_file(tmp_path / 'rtmpose.onnx', {'simcc_x': fields['x'], 'simcc_y': fields['y']})
    poses = ExportedModel(file)(np.zeros((3, 64, 48, 3), np.uint8))
    assert poses.image_indices.tolist() == [0, 1, 2]
    for name in ('keypoints', 'keypoint_scores', 'instance_scores'):
        np.testing.assert_allclose(getattr(poses, name)[1:2], getattr(expected, name), rtol=1e-6)


@pytest.mark.parametrize(('codec_type', 'refine'), [('MSRAHeatmap', 'quarter'), ('UDPHeatmap', 'udp')])
def test_heatmaps_are_read_as_our_codecs_read_them(tmp_path, codec_type, refine):
    codec = CODECS.build(dict(type=codec_type, input_size=SIZE, match='mmpose'), skeleton=COCO)
    fields, expected = draw_fields(codec)
    file = write_file(tmp_path / 'vitpose.onnx', {'output': fields['heatmap']})
    model = ExportedModel(file, layout=PublishedLayout(refine=refine))
    np.testing.assert_allclose(model(np.zeros((1, 64, 48, 3), np.uint8)).keypoints, expected.keypoints, atol=1e-3)
    assert model.settings['crop']['box']['crop_rule'] == codec.crop_rule


@pytest.mark.parametrize('order', ['bgr', 'rgb'])
def test_bytes_are_normalized_as_the_formula_says(order):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    settings = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375], 'channel_order': order}
    ordered = images if order == 'bgr' else images[..., ::-1]
    expected = (ordered.astype(float) - settings['mean']) / settings['std']
    np.testing.assert_allclose(normalize_images(images, settings), expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)


def test_without_mean_bytes_become_numbers_as_they_are():
    images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    settings = {'mean': None, 'std': None, 'channel_order': 'bgr'}
    np.testing.assert_array_equal(normalize_images(images, settings), images.transpose(0, 3, 1, 2))


def test_a_box_is_cropped_and_the_keypoints_come_back_to_the_image(tmp_path):
    """A box of the input's shape and size, 1.25 times smaller: one px of the input is one px of the image."""
    x, y = np.zeros((17, 96)), np.zeros((17, 128))
    x[:, 40], y[:, 60] = 0.9, 0.8  # 2 bins per px: (20, 30)
    file = write_file(tmp_path / 'rtmpose.onnx', {'simcc_x': x, 'simcc_y': y}, batch=1)
    predictor = ExportedPredictor(file)
    assert not predictor.finds_instances
    box = [100.0, 50, 48 / 1.25, 64 / 1.25]
    (result,) = predictor(np.zeros((200, 300, 3), np.uint8), boxes=[box, box])
    left, top = box[0] + box[2] / 2 - 24, box[1] + box[3] / 2 - 32
    np.testing.assert_allclose(result.keypoints, np.tile([left + 20, top + 30], (2, 17, 1)), atol=1e-4)
    np.testing.assert_allclose(result.instance_scores, 0.8, rtol=1e-6)
    assert result.skeleton.name == 'coco'


def test_several_threads_predict_what_one_predicts(tmp_path):
    generator = np.random.default_rng(0)
    lines = {'simcc_x': generator.random((17, 96)), 'simcc_y': generator.random((17, 128))}
    predictor = ExportedPredictor(write_file(tmp_path / 'rtmpose.onnx', lines), threads=1)
    image = np.zeros((120, 160, 3), np.uint8)
    boxes = [[[x, 5.0, 40, 60 + x]] for x in range(12)]
    expected = [predictor(image, boxes=each)[0].keypoints for each in boxes]
    with ThreadPoolExecutor(4) as pool:
        actual = list(pool.map(lambda each: predictor(image, boxes=each)[0].keypoints, boxes))
    np.testing.assert_array_equal(actual, expected)


def test_frames_are_tracked_as_with_a_predictor_of_torch(tmp_path):
    """Two boxes that stay where they are keep their ids."""
    lines = {'simcc_x': np.eye(17, 96) + 0.1, 'simcc_y': np.eye(17, 128) + 0.1}
    predictor = ExportedPredictor(write_file(tmp_path / 'rtmpose.onnx', lines))
    frames = [VideoFrame(n, n / 25, np.zeros((120, 300, 3), np.uint8)) for n in range(3)]
    boxes = {n: [[10, 10, 40, 60], [200, 20, 40, 60]] for n in range(3)}
    tracked = [poses.ids.tolist() for _, poses in track_frames(predictor, frames, boxes, PredictionOptions())]
    assert tracked == [[1, 2]] * 3


def test_rtmo_is_suppressed_by_score_and_overlap_and_comes_back_from_its_letterbox(tmp_path):
    """The image is twice as large as the input; pixel centers sit on integers, so 10 px of the input are 20.5."""
    dets = np.array([[10, 10, 20, 30, 0.9], [10, 10, 20, 29, 0.8], [30, 30, 40, 50, 0.7], [0, 0, 9, 9, 0.2]])
    keypoints = np.zeros((4, 17, 3))
    keypoints[:, :, 0], keypoints[:, :, 1], keypoints[:, :, 2] = 10.0, 20.0, 0.5
    file = write_file(tmp_path / 'rtmo.onnx', {'dets': dets, 'keypoints': keypoints}, size=(64, 64))
    predictor = ExportedPredictor(file)
    assert predictor.finds_instances
    (result,) = predictor(np.zeros((128, 128, 3), np.uint8))
    np.testing.assert_allclose(result.instance_scores, [0.9, 0.7], rtol=1e-6)
    np.testing.assert_allclose(result.keypoints[0, 0], [20.5, 40.5], rtol=1e-6)
    np.testing.assert_allclose(result.boxes[1], [60.5, 60.5, 80.5, 100.5], rtol=1e-6)
    with pytest.raises(ConfigError, match='finds instances in whole images by itself; leave boxes out'):
        predictor(np.zeros((128, 128, 3), np.uint8), boxes=[[1, 1, 20, 20]])


def test_images_are_normalized_as_the_models_were_trained(tmp_path):
    """The input is the image's red channel where the order is RGB, and its blue one where it is BGR."""
    from poseplug.deploy.published_layouts import normalize_images

    file = write_file(tmp_path / 'a.onnx', {'simcc_x': np.ones((17, 96)), 'simcc_y': np.ones((17, 128))})
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[..., 2] = 200
    for order, red_channel in (('rgb', 0), ('bgr', 2)):
        settings = find_published_layout(read_graph_info(file.read_bytes()), PublishedLayout(channel_order=order))
        pixels = normalize_images(image, settings)
        assert pixels.shape == (1, 3, 2, 2)
        mean, std = settings['mean'][red_channel], settings['std'][red_channel]
        np.testing.assert_allclose(pixels[0, red_channel], (200 - mean) / std, rtol=1e-6)


def test_wrong_layouts_are_refused_by_name(tmp_path):
    other = write_file(tmp_path / 'other.onnx', {'boxes': np.ones((3, 4))})
    with pytest.raises(
        CheckpointError, match='no metadata of poseplug, and other outputs than RTMPose, RTMO and ViTPose'
    ):
        ExportedModel(other)
    five = write_file(tmp_path / 'five.onnx', {'output': np.ones((5, 16, 12))})
    with pytest.raises(ConfigError, match='no skeleton of 5 keypoints .* is known; name one'):
        ExportedModel(five)
    with pytest.raises(ConfigError, match="the skeleton 'coco' has 17 keypoints, and the file predicts 5"):
        ExportedModel(five, layout=PublishedLayout(skeleton='coco'))
    sized = write_file(tmp_path / 'sized.onnx', {'output': np.ones((17, 16, 12))}, size=('w', 'h'))
    with pytest.raises(CheckpointError, match='has no fixed height and width'):
        ExportedModel(sized)
    with pytest.raises(ConfigError, match="channel_order is 'rgb' or 'bgr'"):
        PublishedLayout(channel_order='gbr')


def test_no_confident_instance_is_no_error():
    outputs = {'dets': np.zeros((2, 4, 5), np.float32), 'keypoints': np.zeros((2, 4, 17, 3), np.float32)}
    settings = {'kind': 'dets', 'score_threshold': 0.3, 'nms_threshold': 0.5}
    assert len(decode_published_outputs(outputs, settings)) == 0
