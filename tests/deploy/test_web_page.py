"""The page of `poseplug web`, opened and clicked through in Chromium: pytest tests/deploy/test_web_page.py"""

import json
import zipfile
from threading import Thread

import cv2
import numpy as np
import pytest

from poseplug.data.synthetic import render_lsp_scene
from poseplug.deploy.server import PredictionServer
from poseplug.predict.predictor import Predictor
from tests.deploy.browser import launch_browser, open_page


@pytest.fixture(scope='module')
def browser():
    with launch_browser() as browser:
        yield browser


@pytest.fixture(scope='module')
def lite():
    return Predictor(device='cpu')


@pytest.fixture(scope='module')
def url(browser, lite, predictor):
    """The address of a server with two models."""
    with PredictionServer([lite, predictor], port=0) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_port}/'
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def page(browser, url):
    with open_page(browser, url) as page:
        yield page


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    """A drawn person, as a PNG file."""
    file = tmp_path_factory.mktemp('photo') / 'walker.png'
    cv2.imwrite(str(file), render_lsp_scene(5, 3)[0].image)
    return file


@pytest.fixture(scope='module')
def video_file(tmp_path_factory):
    """Ten frames of VP8, which every Chromium plays."""
    file = tmp_path_factory.mktemp('video') / 'walk.webm'
    image = cv2.resize(render_lsp_scene(5, 3)[0].image, (128, 192))
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*'VP80'), 10, (128, 192))
    for n in range(10):
        writer.write(np.roll(image, 2 * n, axis=1))
    writer.release()
    return file


def wait_for_status(page, pattern):
    page.wait_for_function(
        'pattern => new RegExp(pattern).test(document.querySelector("#status").textContent)', arg=pattern
    )


def open_photo(page, photo):
    page.set_input_files('#file', photo)
    wait_for_status(page, 'px, 1 instance')


def read_table(page):
    """The x and y of every keypoint in the table."""
    rows = page.locator('tr[data-keypoint]').all_inner_texts()
    return np.array([[float(cell) for cell in row.split('\t')[1:3]] for row in rows])


def save(page, button):
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, download.value.path()


def test_an_image_shows_the_keypoints_of_the_predictor(page, photo, lite):
    open_photo(page, photo)
    (poses,) = lite(photo)
    np.testing.assert_allclose(read_table(page), poses.keypoints[0], atol=0.06)
    circles = page.locator('#overlay circle')
    positions = [[float(circles.nth(n).get_attribute(name)) for name in ('cx', 'cy')] for n in range(circles.count())]
    drawn = poses.keypoints[0][poses.keypoint_scores[0] >= 0.05]
    np.testing.assert_allclose(positions, drawn, atol=0.006)
    assert page.locator('#heatmaps-image').evaluate('image => image.naturalWidth') > 1000


def test_the_overlay_lies_on_the_image(page, photo):
    open_photo(page, photo)
    image, overlay = (page.locator(name).bounding_box() for name in ('#image', '#overlay'))
    assert image == overlay
    assert image['height'] > 300


def test_a_higher_threshold_draws_fewer_keypoints_without_a_request(page, photo):
    open_photo(page, photo)
    requests = []
    page.on('request', lambda request: requests.append(request.url))
    before = page.locator('#overlay circle').count()
    page.fill('#threshold', '0.7')
    after = page.locator('#overlay circle').count()
    assert 0 < after < before
    assert page.locator('tr.below').count() == 14 - after
    assert page.inner_text('#count') == f'{after} of 14 keypoints'
    assert requests == []


def test_a_sample_is_predicted_and_marked(page):
    page.click('#samples button:nth-child(2)')
    wait_for_status(page, 'sample_2.png: .* px, 1 instance')
    assert page.get_attribute('#samples button:nth-child(2)', 'aria-pressed') == 'true'


def test_boxes_that_are_dragged_are_the_instances(page, photo, lite):
    open_photo(page, photo)
    area = page.locator('#image').bounding_box()
    height, width = cv2.imread(str(photo)).shape[:2]
    scale = min(area['width'] / width, area['height'] / height)
    left, top = area['x'] + (area['width'] - scale * width) / 2, area['y'] + (area['height'] - scale * height) / 2
    boxes = np.array([[10, 12, 0.6 * width, 0.9 * height], [20, 10, 0.9 * width, 0.95 * height]])
    for n, (x0, y0, x1, y1) in enumerate(boxes, 1):
        page.mouse.move(left + scale * x0, top + scale * y0)
        page.mouse.down()
        page.mouse.move(left + scale * x1, top + scale * y1, steps=3)
        page.mouse.up()
        page.wait_for_function('n => document.querySelectorAll("#overlay rect").length === n', arg=n)
    (poses,) = lite(photo, boxes, box_format='xyxy')
    np.testing.assert_allclose(read_table(page), poses.keypoints.reshape(-1, 2), atol=0.6)  # a pixel of the screen
    assert page.locator('#overlay rect').count() == 2
    page.click('#clear-boxes')
    wait_for_status(page, 'px, 1 instance')


def test_another_model_predicts_the_same_image(page, photo, predictor):
    open_photo(page, photo)
    page.select_option('#models', '1')
    (poses,) = predictor(photo)
    page.wait_for_function(
        'x => document.querySelector("tr[data-keypoint] td:nth-child(2)").textContent === x',
        arg=f'{poses.to_dicts()[0]["keypoints"][0][0]:.1f}',
    )
    np.testing.assert_allclose(read_table(page), poses.keypoints[0], atol=0.06)


def test_results_and_drawing_are_saved(page, photo, lite):
    open_photo(page, photo)
    name, file = save(page, '#save-results')
    (image,) = json.loads(file.read_text())['images']
    (poses,) = lite(photo)
    assert (name, image['file']) == ('walker_poses.json', 'walker.png')
    assert image['instances'] == poses.to_dicts()
    for label in ('coco', 'csv', 'yolo'):
        page.check(f'[value={label}]')
    name, file = save(page, '#save-results')
    assert name == 'walker_poses.zip'
    assert {'results.json', 'results_coco.json', 'results.csv', 'yolo/data.yaml'} < set(
        zipfile.ZipFile(file).namelist()
    )
    name, file = save(page, '#save-drawing')
    drawn, image = cv2.imread(str(file)), cv2.imread(str(photo))
    assert (name, drawn.shape) == ('walker_pose.png', image.shape)
    x, y = np.round(poses.keypoints[0][poses.keypoint_scores[0].argmax()]).astype(int)
    assert np.abs(drawn[y, x].astype(int) - image[y, x]).max() > 20  # the keypoint is drawn there


def test_labels_are_drawn_and_their_distances_shown(page, photo, lite, tmp_path):
    (poses,) = lite(photo)
    moved = poses.keypoints[0] + (3.0, 4.0)
    table = [value for x, y in moved for value in (float(x), float(y), 2)]
    height, width = cv2.imread(str(photo)).shape[:2]
    category = {'id': 1, 'name': 'person', 'keypoints': list(lite.skeleton.keypoints)}
    annotation = {'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [0, 0, width, height], 'area': width * height}
    annotation |= {'iscrowd': 0, 'keypoints': table, 'num_keypoints': 14}
    image = {'id': 1, 'file_name': 'walker.png', 'width': width, 'height': height}
    labels = {'images': [image], 'annotations': [annotation], 'categories': [category]}
    (tmp_path / 'labels.json').write_text(json.dumps(labels))
    open_photo(page, photo)
    page.set_input_files('#labels-file', tmp_path / 'labels.json')
    page.wait_for_selector('#figures b')
    assert page.locator('#figures b').all_inner_texts() == ['100.0 %', '5.0 px']
    assert page.locator('tr[data-keypoint] td:last-child').all_inner_texts() == ['5.0'] * 14
    assert page.locator('#overlay g.labels rect').count() == 14
    page.uncheck('#show-labels')
    assert page.locator('#overlay g.labels').count() == 0
    (tmp_path / 'bad.json').write_text('{"images": 3')
    page.set_input_files('#labels-file', tmp_path / 'bad.json')
    page.wait_for_selector('#labels-error:visible')
    assert page.inner_text('#labels-error').startswith('bad.json')


def test_a_video_is_predicted_and_its_frames_are_shown_in_time(page, video_file):
    page.set_input_files('#file', video_file)
    wait_for_status(page, 'walk.webm: 10 frames, 1 instance, ')
    page.evaluate('document.querySelector("#video").currentTime = 0.85')
    page.wait_for_function('document.querySelector("#video").currentTime > 0.8')
    _, file = save(page, '#save-results')  # the first format is the drawn video
    assert file.stat().st_size > 1000
    page.check('[value=jsonl]')
    page.uncheck('[value=video]')
    name, file = save(page, '#save-results')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert (name, len(lines)) == ('walk_poses.jsonl', 11)
    instance = lines[1 + 8]['instances'][0]
    page.wait_for_function(
        'text => document.querySelector("tr[data-keypoint]").textContent.includes(text)',
        arg=f'{instance["keypoints"][0][0]:.1f}',
    )


def test_a_video_that_the_browser_cannot_play_is_shown_drawn_when_it_is_complete(page, photo, tmp_path):
    image = cv2.resize(cv2.imread(str(photo)), (128, 192))
    writer = cv2.VideoWriter(str(tmp_path / 'walk.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 10, (128, 192))
    for _ in range(3):
        writer.write(image)
    writer.release()
    page.set_input_files('#file', tmp_path / 'walk.avi')
    wait_for_status(page, 'walk.avi: 3 frames, 1 instance, ')
    page.wait_for_function('() => document.querySelector("#video").videoWidth > 0')
    assert page.locator('#overlay circle').count() == 0  # the skeletons are in the video
    assert page.locator('#error').is_hidden()


def test_frames_of_the_camera_are_predicted_until_it_is_stopped(page):
    page.click('#camera')
    wait_for_status(page, r'Camera: 1 instance, [\d.]+ frames/s')
    assert page.locator('tr[data-keypoint]').count() == 14
    page.click('#camera')
    wait_for_status(page, 'The camera is off')


def test_a_file_that_is_no_image_is_refused_and_the_next_one_predicted(page, photo, tmp_path):
    (tmp_path / 'notes.png').write_text('<b>no image</b>')
    with page.expect_response(lambda response: response.status == 400):
        page.set_input_files('#file', tmp_path / 'notes.png')
    page.wait_for_selector('#error:visible')
    assert page.inner_text('#error').startswith('notes.png: the image: 15 bytes that are not a whole image')
    open_photo(page, photo)
    assert page.locator('#error').is_hidden()
