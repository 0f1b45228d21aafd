"""The exported page in Chromium: it predicts what Python predicts, and its crops are those of poseplug.core.

It needs Playwright, Chromium and onnxruntime-web, named by POSEPLUG_ORT_WEB: a folder of npm install, or a file of npm
pack. Run it with: pytest tests/deploy/test_browser_page.py
"""

import csv
import io
import json
import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest

from poseplug.core.crops import letterbox_matrix
from poseplug.core.geometry import fit_matrix
from poseplug.data.image_warp import warp_image
from poseplug.data.synthetic import render_lsp_scene
from tests.deploy.browser import launch_browser, open_page

CROP_RULES = ('pixels', 'corners', 'released_hrnet', 'released_udp', 'released_dark')
TOLERANCE_PX = 0.1


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without a line per request."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope='module')
def browser():
    with launch_browser() as browser:
        yield browser


@pytest.fixture(scope='module')
def runtime_files():
    from poseplug.deploy.browser_export import find_runtime_files

    path = os.environ.get('POSEPLUG_ORT_WEB')
    if path is None:
        pytest.skip('needs onnxruntime-web: npm pack onnxruntime-web, and its file in POSEPLUG_ORT_WEB')
    return find_runtime_files(Path(path))


def serve_page(file, folder, runtime_files):
    """A server in a thread, of the page of an exported file."""
    from poseplug.deploy.browser_export import write_browser_page

    write_browser_page(file, folder, runtime_files)
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(QuietHandler, directory=str(folder)))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture(scope='module')
def lite(browser, runtime_files, tmp_path_factory):
    """The installed model: its page's address, and its predictor in Python."""
    pytest.importorskip('onnxscript')
    from poseplug.deploy.export import export_onnx
    from poseplug.deploy.export_settings import ExportOptions, collect_crop_settings
    from poseplug.deploy.runtime import ExportedPredictor
    from poseplug.predict.input_samples import get_test_pipeline
    from poseplug.predict.model_loading import load_model, resolve_model

    folder = tmp_path_factory.mktemp('lite')
    cfg, weights, name = resolve_model(None, None)
    model = load_model(cfg, weights, 'cpu')
    crop = collect_crop_settings(model, get_test_pipeline(cfg))
    export_onnx(model, folder / 'lite.onnx', ExportOptions(crop=crop, model_name=name, license='Apache-2.0'))
    server = serve_page(folder / 'lite.onnx', folder / 'page', runtime_files)
    yield f'http://127.0.0.1:{server.server_port}/', ExportedPredictor(folder / 'lite.onnx')
    server.shutdown()
    server.server_close()


@pytest.fixture(scope='module')
def rtmo(browser, runtime_files, tmp_path_factory):
    """A one-stage model with random weights, and images of noise in which it finds instances."""
    pytest.importorskip('onnxscript')
    from poseplug.deploy.export import export_onnx
    from poseplug.deploy.runtime import ExportedPredictor
    from tests.deploy.test_export import create_model

    folder = tmp_path_factory.mktemp('rtmo')
    model, images = create_model('rtmo')
    export_onnx(model, folder / 'rtmo.onnx')
    server = serve_page(folder / 'rtmo.onnx', folder / 'page', runtime_files)
    yield f'http://127.0.0.1:{server.server_port}/', ExportedPredictor(folder / 'rtmo.onnx'), images
    server.shutdown()
    server.server_close()


@pytest.fixture(scope='module')
def page(browser, lite):
    with open_page(browser, lite[0]) as page:
        page.wait_for_selector('#camera:enabled', timeout=60_000)
        yield page


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    file = tmp_path_factory.mktemp('photo') / 'walker.png'
    cv2.imwrite(str(file), render_lsp_scene(5, 3)[0].image)
    return file


def predict_file(page, file):
    """The results of an image, as the page saves them."""
    page.set_input_files('#file', file)
    page.wait_for_function(
        'name => document.querySelector("#status").textContent.match(`^${name}: .* ms$`)', arg=file.name
    )
    return read_results(page)


def read_results(page):
    with page.expect_download() as download:
        page.click('#save-json')
    return json.loads(download.value.path().read_text())


def check_instances(found, poses):
    """Compare the instances of the page with those of Python."""
    table = np.array([instance['keypoints'] for instance in found]).reshape(len(found), -1, 3)
    assert len(found) == len(poses) > 0
    np.testing.assert_allclose(table[..., :2], poses.keypoints, atol=TOLERANCE_PX)
    np.testing.assert_allclose(table[..., 2], poses.keypoint_scores, atol=0.002)
    np.testing.assert_allclose([each['score'] for each in found], poses.instance_scores, atol=0.002)


def test_an_image_has_the_keypoints_of_python(page, lite, photo):
    results = predict_file(page, photo)
    (poses,) = lite[1](photo)
    (image,) = results['images']
    assert (image['file'], image['width'], image['height']) == ('walker.png', *poses.image_size)
    check_instances(image['instances'], poses)
    assert results['keypoint_names'] == list(poses.skeleton.keypoints)


def test_real_photographs_have_the_keypoints_of_python(page, lite, real_data):
    for number in (1205, 1500, 1999):
        file = real_data / f'lsp/images/im{number:04}.jpg'
        (poses,) = lite[1](file)
        check_instances(predict_file(page, file)['images'][0]['instances'], poses)


def test_a_photo_is_turned_upright_as_its_file_says(page, lite, photo, tmp_path):
    image = cv2.imread(str(photo))
    jpeg = cv2.imencode('.jpg', cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE))[1].tobytes()
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'  # orientation 6
    file = tmp_path / 'turned.jpg'
    file.write_bytes(jpeg[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + jpeg[2:])
    (result,) = predict_file(page, file)['images']
    assert (result['height'], result['width']) == image.shape[:2]
    check_instances(result['instances'], lite[1](file)[0])


def test_boxes_that_are_dragged_are_cropped_as_in_python(page, lite, photo):
    predict_file(page, photo)
    area = page.locator('#stage').bounding_box()
    height, width = cv2.imread(str(photo)).shape[:2]
    scale = min(area['width'] / width, area['height'] / height)
    left, top = area['x'] + (area['width'] - scale * width) / 2, area['y'] + (area['height'] - scale * height) / 2
    for n, (x0, y0, x1, y1) in enumerate([(10, 12, 70, 180), (30, 10, 100, 190)], 1):
        page.mouse.move(left + scale * x0, top + scale * y0)
        page.mouse.down()
        page.mouse.move(left + scale * x1, top + scale * y1, steps=3)
        page.mouse.up()
        page.wait_for_function('n => document.querySelectorAll("#overlay rect").length === n', arg=n)
    (image,) = read_results(page)['images']
    boxes = [instance['box_xyxy'] for instance in image['instances']]
    check_instances(image['instances'], lite[1](photo, boxes, box_format='xyxy')[0])
    page.click('#clear-boxes')
    page.wait_for_function('() => document.querySelectorAll("#overlay rect").length === 0')


def test_a_table_is_saved(page, photo):
    results = predict_file(page, photo)
    with page.expect_download() as download:
        page.click('#save-csv')
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert [row['keypoint'] for row in rows] == results['keypoint_names']
    keypoints = results['images'][0]['instances'][0]['keypoints']
    assert [[float(row[name]) for name in ('x', 'y', 'score')] for row in rows] == keypoints
    assert {row['image'] for row in rows} == {'walker.png'}


def test_frames_of_the_camera_are_predicted(page):
    page.click('#camera')
    page.wait_for_function('() => /^Camera: 1 instance/.test(document.querySelector("#status").textContent)')
    assert page.locator('#overlay circle').count() > 0
    page.click('#camera')
    page.wait_for_function('() => /^The camera is off/.test(document.querySelector("#status").textContent)')


def test_frames_of_a_video_are_predicted_and_saved_with_their_time(page, lite, photo, tmp_path):
    image = cv2.resize(cv2.imread(str(photo)), (128, 192))
    writer = cv2.VideoWriter(str(tmp_path / 'walk.webm'), cv2.VideoWriter.fourcc(*'VP80'), 10, (128, 192))
    for _ in range(10):
        writer.write(image)
    writer.release()
    page.set_input_files('#file', tmp_path / 'walk.webm')
    page.wait_for_function('() => document.querySelector("#video").ended')
    page.wait_for_function('() => /^walk.webm: 1 instance/.test(document.querySelector("#status").textContent)')
    results = read_results(page)
    times = [frame['seconds'] for frame in results['frames']]
    assert times == sorted(set(times))
    assert 0 <= times[0] <= times[-1] <= 1.01
    (poses,) = lite[1](image)
    keypoints = np.array(results['frames'][-1]['instances'][0]['keypoints'])[:, :2]
    assert np.median(np.abs(keypoints - poses.keypoints[0])) < 3  # VP8 has changed the pixels


def test_a_file_that_is_no_image_is_named_and_the_next_one_predicted(page, photo, tmp_path):
    (tmp_path / 'notes.png').write_text('no image')
    page.set_input_files('#file', tmp_path / 'notes.png')
    page.wait_for_selector('#error:visible')
    assert page.inner_text('#error') == 'notes.png: the browser cannot read it as an image.'
    predict_file(page, photo)
    assert page.locator('#error').is_hidden()


def test_a_one_stage_model_finds_the_instances_of_python(browser, rtmo, tmp_path):
    url, predictor, images = rtmo
    with open_page(browser, url) as page:
        page.wait_for_selector('#camera:enabled', timeout=60_000)
        for n, pixels in enumerate((images[0], images[1][:40])):
            file = tmp_path / f'noise{n}.png'
            cv2.imwrite(str(file), pixels)
            (poses,) = predictor(file)
            (image,) = predict_file(page, file)['images']
            check_instances(image['instances'], poses)
            boxes = [instance['box_xyxy'] for instance in image['instances']]
            np.testing.assert_allclose(boxes, poses.boxes, atol=TOLERANCE_PX)
        assert page.locator('#box-tools').is_hidden()


# --- crops ------------------------------------------------------------------------------------------------------------


def call_runner(page, name, *arguments):
    """Call a function of model_runner.js."""
    script = '([name, values]) => import("./model_runner.js").then(module => module[name](...values))'
    return page.evaluate(script, [name, list(arguments)])


def to_matrix(scales):
    return np.array([[scales['sx'], 0, scales['tx']], [0, scales['sy'], scales['ty']], [0, 0, 1]])


@pytest.mark.parametrize('rule', CROP_RULES)
@pytest.mark.parametrize('extent', [(50.0, 80.0), (300.5, 20.25), (0.0, 0.5), (61.37, 142.91)])
@pytest.mark.parametrize('center', [(31.5, 47.25), (410.3, 77.7)])  # the second one has no exact form in 32 bits
def test_every_crop_rule_is_that_of_python(page, rule, extent, center):
    matrix = call_runner(page, 'fitMatrix', list(center), list(extent), [192, 256], rule)
    expected = fit_matrix(np.array(center), np.array(extent), (192, 256), rule)
    np.testing.assert_allclose(to_matrix(matrix), expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize('side', ['longer', 'height'])
@pytest.mark.parametrize('fraction', [1.0, 0.8])
def test_the_letterbox_is_that_of_python(page, side, fraction):
    matrix = call_runner(page, 'letterboxMatrix', [640, 480], [368, 320], fraction, side)
    expected = letterbox_matrix((640, 480), (368, 320), fraction, side)
    np.testing.assert_allclose(to_matrix(matrix), expected, rtol=1e-12)


@pytest.mark.parametrize(('interpolation', 'flag'), [('linear', cv2.INTER_LINEAR), ('cubic', cv2.INTER_CUBIC)])
@pytest.mark.parametrize('scale', [0.37, 1.9])
def test_the_warp_is_opencvs_within_one_level(page, interpolation, flag, scale):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    matrix = np.array([[scale, 0, 7.3], [0, 1.1 * scale, -4.6], [0, 0, 1]])
    script = """async ([rgba, matrix, settings]) => {
        const {warpImage} = await import('./model_runner.js');
        const target = new Uint8Array(3 * 48 * 64);
        warpImage({data: rgba, width: 50, height: 40}, matrix, [48, 64], settings, target);
        return Array.from(target);
    }"""
    rgba = cv2.cvtColor(image, cv2.COLOR_BGR2RGBA).ravel().tolist()
    scales = {'sx': scale, 'sy': 1.1 * scale, 'tx': 7.3, 'ty': -4.6}
    settings = {'interpolation': interpolation, 'fill_color': [128, 64, 32]}
    warped = np.array(page.evaluate(script, [rgba, scales, settings])).reshape(64, 48, 3)
    expected = warp_image(image, matrix, (48, 64), flag, (128, 64, 32)).astype(int)
    tolerance = 1 if cv2.__version__ >= '5' else 4  # before, OpenCV rounded positions to 1/32 px
    assert np.abs(warped - expected).max() <= tolerance
