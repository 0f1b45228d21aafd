"""The server of the web page: its responses are the predictor's, it refuses what it should, and it stays up."""

import argparse
import base64
import copy
import io
import json
import logging
import re
import socket
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from threading import Event, Thread
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from poseplug.cli.commands.web import _build_predictor as build_page_predictor
from poseplug.cli.commands.web import split_models
from poseplug.cli.options import run_command
from poseplug.core.errors import ConfigError
from poseplug.deploy import page_files, web_content
from poseplug.deploy import server as server_module
from poseplug.deploy.runtime import ExportedPredictor
from poseplug.deploy.server import PredictionServer
from poseplug.deploy.web_content import (
    HEATMAPS_NOTE,
    SAMPLE_INDICES,
    build_response,
    draw_sample_images,
    encode_jpeg_url,
    shrink_image,
)
from poseplug.deploy.web_requests import LOCAL_HOSTS, parse_host_name
from poseplug.files.images import read_image_bytes
from poseplug.predict.prediction_options import PredictionOptions
from poseplug.predict.result_records import build_result_header
from poseplug.predict.video import predict_video
from poseplug.report.drawing_style import keypoint_sides
from poseplug.report.heatmaps import draw_heatmap_strips

PAGES = page_files.PAGES_FOLDER
MAX_BYTES = 200_000


@contextmanager
def run_server(predictor, **options):
    """A server in a thread, on a free port."""
    with PredictionServer([predictor], port=0, **options) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope='module')
def server(predictor):
    with run_server(predictor, max_bytes=MAX_BYTES) as server:
        yield server


@pytest.fixture(scope='module')
def image_files(tiny_data):
    return [f.read_bytes() for f in sorted((tiny_data / 'images').glob('*.jpg'))[:4]]


def send(server, method, path, body=None, **headers):
    """(status, headers, body) of the response; headers are named with _ for -, and None removes a header."""
    connection = HTTPConnection('127.0.0.1', server.server_port, timeout=20)
    sent_headers = {'Host': f'127.0.0.1:{server.server_port}'}
    if body:
        sent_headers['Content-Length'] = str(len(body))
    sent_headers |= {name.replace('_', '-'): value for name, value in headers.items()}
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in sent_headers.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def send_refused(server, method, path, body=None, **headers):
    status, _, content = send(server, method, path, body, **headers)
    return status, json.loads(content)['error']


def decode_url(url):
    kind, _, data = url.partition(';base64,')
    assert kind == 'data:image/jpeg'
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


# --- an image ---------------------------------------------------------------------------------------------------------


def test_the_response_to_an_image_has_the_instances_of_the_predictor(server, predictor, image_files):
    status, headers, content = send(server, 'POST', '/predict', image_files[0])
    response = json.loads(content)
    (poses,) = predictor([image_files[0]])
    image = read_image_bytes(image_files[0])
    assert (status, headers['Content-Type']) == (200, 'application/json')
    assert build_result_header(predictor).items() <= response.items()
    assert response['images'] == [{'width': image.shape[1], 'height': image.shape[0], 'instances': poses.to_dicts()}]


def test_image_and_heatmaps_of_the_response_are_those_of_the_predictor(predictor, image_files):
    response = build_response(predictor, image_files[0])
    difference = decode_url(response['image_url']).astype(int) - read_image_bytes(image_files[0])
    assert np.abs(difference).mean() < 5  # JPEG's loss
    strips = draw_heatmap_strips(predictor.predict_heatmaps(image_files[0]))
    assert response['heatmaps_url'] == encode_jpeg_url(strips)
    assert response['note'] == HEATMAPS_NOTE


def test_images_sent_at_once_each_get_their_own_instances(server, predictor, image_files):
    with ThreadPoolExecutor(len(image_files)) as pool:
        responses = list(pool.map(lambda data: send(server, 'POST', '/predict', data), image_files))
    for (status, _, content), data in zip(responses, image_files, strict=True):
        assert status == 200
        assert json.loads(content)['images'][0]['instances'] == predictor([data])[0].to_dicts()


def test_a_sideways_image_is_turned_upright_with_its_keypoints(predictor, image_files):
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'  # orientation 6
    sideways = image_files[0][:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + image_files[0][2:]
    height, width = read_image_bytes(image_files[0]).shape[:2]
    (result,) = build_response(predictor, sideways)['images']
    assert (result['width'], result['height']) == (height, width)
    (poses,) = predictor([np.rot90(read_image_bytes(image_files[0]), -1)])
    assert result['instances'] == poses.to_dicts()


def test_a_large_image_is_shrunk_and_a_small_one_is_not():
    assert shrink_image(np.zeros((3200, 10, 3), np.uint8)).shape == (1600, 5, 3)
    assert shrink_image(np.zeros((1, 9000, 3), np.uint8)).shape == (1, 1600, 3)
    assert shrink_image(np.zeros((20, 1600, 3), np.uint8)).shape == (20, 1600, 3)


class FixedDetector:
    """A detector that finds the same boxes in every image."""

    def __init__(self, boxes):
        self.boxes = boxes

    def __call__(self, images):
        boxes, scores = np.reshape(self.boxes, (-1, 4)).astype(float), np.linspace(0.9, 0.5, len(self.boxes))
        return [(boxes, scores)] * len(images)


def test_with_a_detector_the_heatmaps_are_those_of_the_first_instance(predictor, image_files, monkeypatch):
    monkeypatch.setattr(predictor, 'detector', FixedDetector([[5, 6, 60, 70], [20, 10, 80, 90]]))
    response = build_response(predictor, image_files[0])
    instances = response['images'][0]['instances']
    assert [instance['box_xyxy'] for instance in instances] == [[5, 6, 60, 70], [20, 10, 80, 90]]
    assert response['note'].startswith('Instance 1. ')
    strips = draw_heatmap_strips(predictor.predict_heatmaps(image_files[0], [5, 6, 60, 70], 'xyxy'))
    assert response['heatmaps_url'] == encode_jpeg_url(strips)


def test_without_a_detection_there_are_no_heatmaps(predictor, image_files, monkeypatch):
    monkeypatch.setattr(predictor, 'detector', FixedDetector([]))
    response = build_response(predictor, image_files[0])
    assert (response['images'][0]['instances'], response['heatmaps_url']) == ([], None)
    assert 'finds no instance' in response['note']


def test_a_model_without_heatmaps_says_so_beside_its_instances(predictor, image_files, monkeypatch):
    def refuse(*_):
        raise ConfigError('SimCC predicts no heatmaps')

    monkeypatch.setattr(predictor, 'predict_heatmaps', refuse)
    response = build_response(predictor, image_files[0])
    assert (response['heatmaps_url'], response['note']) == (None, 'SimCC predicts no heatmaps')
    assert len(response['images'][0]['instances']) == 1


# --- refused requests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('spoil', [lambda d: d[: len(d) // 2], lambda d: b'<b>hello</b>', lambda d: d[::-1]])
def test_bytes_that_are_no_complete_image_are_refused_with_the_message_of_the_reader(server, image_files, spoil):
    data = spoil(image_files[0])
    status, message = send_refused(server, 'POST', '/predict', data)
    assert status == 400
    assert message.startswith(f'the image: {len(data):,} bytes that are not a whole image; fetch the file again')


def test_an_empty_body_is_no_image(server):
    status, message = send_refused(server, 'POST', '/predict', Content_Length='0')
    assert status == 400
    assert message.startswith('the image: 0 bytes')


def test_a_body_over_the_limit_is_refused_unread(server):
    status, message = send_refused(server, 'POST', '/predict', Content_Length=str(MAX_BYTES + 1))
    assert (status, message) == (
        413,
        '200,001 bytes exceed the limit of 200,000; make the image smaller',
    )


def test_a_client_that_has_sent_too_much_still_gets_the_response(server):
    assert send_refused(server, 'POST', '/predict', bytes(3 * MAX_BYTES))[0] == 413


@pytest.mark.parametrize(('length', 'status'), [(None, 411), ('-1', 400), ('ten', 400), ('9' * 5000, 400), ('²', 400)])
def test_a_missing_or_malformed_length_is_refused(server, length, status):
    header = length.encode('utf-8') if length else None
    assert send_refused(server, 'POST', '/predict', Content_Length=header)[0] == status


def test_fewer_bytes_than_announced_are_refused(server, image_files):
    with socket.create_connection(('127.0.0.1', server.server_port), timeout=20) as connection:
        connection.sendall(b'POST /predict HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n' + bytes(10))
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile('rb') as response:
            text = response.read()
    assert text.startswith(b'HTTP/1.0 400 ')
    assert b'10 of 1,000 bytes arrived' in text


@pytest.mark.parametrize(
    ('method', 'path'),
    [
        ('GET', '/setup.py'),
        ('GET', '/files/web.html'),
        ('GET', '/files/server.py'),
        ('GET', '/files/../server.py'),
        ('GET', '/files/%2e%2e/server.py'),
        ('GET', '/videos/../../etc/passwd'),
        ('GET', '/../setup.py'),
        ('GET', '//etc/passwd'),
        ('GET', '/predict'),
        ('GET', '/samples/99'),
        ('GET', '/samples/-1'),
        ('GET', '/samples/'),
        ('POST', '/'),
        ('POST', '/model'),
    ],
)
def test_an_unknown_path_is_not_found(server, method, path):
    status, message = send_refused(server, method, path, b'x' if method == 'POST' else None)
    assert (status, message[:21]) == (404, 'there is nothing here')


@pytest.mark.parametrize('host', ['evil.example', 'evil.example:80', '127.0.0.1.evil.example', '[', '', None])
@pytest.mark.parametrize(('method', 'path'), [('GET', '/'), ('GET', '/model'), ('POST', '/predict')])
def test_a_host_name_that_points_here_from_outside_is_forbidden(server, image_files, method, path, host):
    body = image_files[0] if method == 'POST' else None
    assert send_refused(server, method, path, body, Host=host)[0] == 403


@pytest.mark.parametrize('origin', ['http://evil.example', 'null', 'http://127.0.0.1:1'])
def test_a_page_of_another_site_may_not_send_images(server, image_files, origin):
    assert send_refused(server, 'POST', '/predict', image_files[0], Origin=origin)[0] == 403


def test_the_own_page_may_send_images_by_either_name(server, image_files):
    for name in LOCAL_HOSTS:
        host = f'{name}:{server.server_port}'
        assert send(server, 'POST', '/predict', image_files[0], Host=host, Origin=f'http://{host}')[0] == 200


def test_on_another_host_any_name_is_answered(predictor):
    with run_server(predictor, host='0.0.0.0') as server:
        assert send(server, 'GET', '/model', Host='pose.example')[0] == 200
        assert json.loads(send(server, 'GET', '/model')[2])['local'] is False


@pytest.mark.parametrize(
    ('host', 'name'),
    [('LOCALHOST:1', 'localhost'), ('127.0.0.1', '127.0.0.1'), ('[::1]:80', '::1'), ('[', ''), ('', '')],
)
def test_the_port_of_a_host_header_is_dropped(host, name):
    assert parse_host_name(host) == name


# --- after errors -----------------------------------------------------------------------------------------------------


def test_after_an_error_in_the_network_the_next_image_is_served(server, predictor, image_files, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError('/secret/path: out of memory')

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, 'poseplug'):
        patch.setattr(predictor.model, 'predict', fail)
        status, message = send_refused(server, 'POST', '/predict', image_files[0])
    assert status == 500
    assert 'secret' not in message
    message = '/predict failed: RuntimeError: /secret/path: out of memory'
    assert [record.getMessage() for record in caplog.records] == [message]
    assert send(server, 'POST', '/predict', image_files[0])[0] == 200


def test_a_client_that_disconnects_does_not_stop_the_server(server, image_files, capfd):
    header = f'POST /predict HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {len(image_files[0])}\r\n\r\n'.encode()
    for data in (b'', b'GET', header, header + image_files[0][:50]):
        connection = socket.create_connection(('127.0.0.1', server.server_port), timeout=20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')  # closed by a reset
        connection.sendall(data)
        connection.close()
    assert send(server, 'POST', '/predict', image_files[0])[0] == 200
    assert capfd.readouterr() == ('', '')


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_allows_scripts_and_styles_of_its_server_alone(server):
    status, headers, content = send(server, 'GET', '/?sample=1')
    policy, page = headers['Content-Security-Policy'], content.decode()
    assert (status, headers['Content-Type']) == (200, 'text/html; charset=utf-8')
    assert page.count('<script') == page.count('<script type="module" src="/files/') == 1
    assert '<style' not in page
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert not any(word in policy for word in ('unsafe', '*', 'http'))


def test_the_files_of_the_page_have_their_types(server):
    types = {'page.css': 'text/css; charset=utf-8', 'web.js': 'text/javascript; charset=utf-8'}
    for name, content_type in types.items():
        status, headers, content = send(server, 'GET', f'/files/{name}')
        assert (status, headers['Content-Type']) == (200, content_type)
        assert content == (PAGES / name).read_bytes()


@pytest.mark.parametrize('name', sorted(file.name for file in PAGES.iterdir()))
def test_the_pages_need_nothing_from_elsewhere_and_read_no_text_as_html(name):
    text = (PAGES / name).read_text()
    namespace = 'http://www.w3.org/2000/svg'
    assert not any(word in text.replace(namespace, '') for word in ('http:', 'https:', '//cdn', '@import', 'url('))
    assert not re.search(r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\sstyle="|\son\w+=', text)


def test_every_response_forbids_caching_and_content_sniffing(server):
    for path in ('/', '/model', '/samples/0', '/nowhere'):
        headers = send(server, 'GET', path)[1]
        assert (headers['Cache-Control'], headers['X-Content-Type-Options']) == ('no-store', 'nosniff')
        assert headers['Content-Security-Policy'].startswith("default-src 'none'")


def test_the_page_gets_the_skeleton_as_it_is_drawn(server, predictor):
    status, _, content = send(server, 'GET', '/model')
    model, skeleton = json.loads(content), predictor.skeleton
    assert model['models'] == [predictor.name]
    names = model['keypoint_names']
    assert status == 200
    assert names == list(skeleton.keypoints)
    assert model['sides'] == keypoint_sides(skeleton)
    assert [(names[a], names[b]) for a, b, _ in model['limbs']] == list(skeleton.limbs)
    thigh = ['left_hip', 'left_knee']
    assert [side for a, b, side in model['limbs'] if sorted((names[a], names[b])) == thigh] == ['left']
    assert model['colors']['left'] == '#ff9628'  # BGR 40, 150, 255
    assert (model['max_bytes'], model['local'], model['finds_instances']) == (MAX_BYTES, True, False)
    assert model['accepts_boxes']


def test_every_sample_is_an_image_that_can_be_sent(server):
    names = json.loads(send(server, 'GET', '/model')[2])['samples']
    assert len(names) == len(SAMPLE_INDICES)
    for n in range(len(names)):
        status, headers, image_file = send(server, 'GET', f'/samples/{n}')
        assert (status, headers['Content-Type']) == (200, 'image/png')
        assert send(server, 'POST', '/predict', image_file)[0] == 200


def test_samples_of_several_people_are_other_images(monkeypatch):
    monkeypatch.setattr(web_content, 'SAMPLE_INDICES', (1,))
    ((_, one_person),), ((_, many_people),) = draw_sample_images(False), draw_sample_images(True)
    assert read_image_bytes(one_person).shape != read_image_bytes(many_people).shape


def test_numbers_that_are_not_finite_reach_the_page_as_null(predictor, image_files, monkeypatch):
    (poses,) = predictor([image_files[0]])
    not_finite = replace(poses, keypoints=np.full_like(poses.keypoints, np.nan))
    monkeypatch.setattr(server_module, 'build_response', lambda *_: {'instances': not_finite.to_dicts()})
    with run_server(predictor) as server:
        response = json.loads(send(server, 'POST', '/predict', image_files[0])[2], parse_constant=pytest.fail)
    assert response['instances'][0]['keypoints'][0][:2] == [None, None]


# --- the command ------------------------------------------------------------------------------------------------------


def test_an_unavailable_port_and_a_missing_page_are_errors(server, predictor, tmp_path, monkeypatch):
    for port in (server.server_port, 70_000):
        with pytest.raises(ConfigError, match=f'127.0.0.1, port {port}: .*; name another --port or --host'):
            PredictionServer([predictor], port=port)
    monkeypatch.setattr(page_files, 'PAGES_FOLDER', tmp_path)
    with pytest.raises(ConfigError, match='web.html: No such file or directory; the file belongs there'):
        PredictionServer([predictor], port=0)
    with pytest.raises(ConfigError, match='at least one model'):
        PredictionServer([], port=0)


@pytest.mark.parametrize(('host', 'warns'), [('127.0.0.1', False), ('localhost', False), ('0.0.0.0', True)])
def test_the_command_serves_until_it_is_stopped_and_warns_on_public_addresses(
    predictor, monkeypatch, capsys, caplog, host, warns
):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(PredictionServer, 'serve_forever', stop)
    monkeypatch.setattr('poseplug.predict.predictor.Predictor', lambda *_, **__: predictor)
    monkeypatch.setattr(logging.getLogger(), 'handlers', logging.getLogger().handlers)
    with pytest.raises(SystemExit, match='130'):
        run_command('web', 'poseplug web', ['--port', '0', '--host', host])
    assert capsys.readouterr().out.startswith(f'{predictor.name} at http://{host}:')
    assert ('anyone who reaches this machine' in caplog.text) == warns


def test_models_are_names_exported_files_and_configs_with_a_checkpoint(tmp_path):
    texts = ['cpm_lsp_lite', 'a.py', 'a.pth', 'b.onnx', 'hrnet_w32_coco_256x192', 'c.pth']
    pairs = [('cpm_lsp_lite', None), ('a.py', 'a.pth'), ('b.onnx', None), ('hrnet_w32_coco_256x192', 'c.pth')]
    assert split_models(texts) == pairs
    assert split_models([]) == [(None, None)]
    with pytest.raises(ConfigError, match=r'a.py is no model with weights of its own \(poseplug models\).*checkpoint'):
        split_models(['a.py'])


def test_a_detector_is_refused_by_a_single_model_that_finds_instances(predictor, monkeypatch):
    args = argparse.Namespace(models=['rtmo.onnx'], threads=None, device=None)
    monkeypatch.setattr(
        'poseplug.deploy.runtime.ExportedPredictor', lambda *_: SimpleNamespace(name='rtmo', finds_instances=True)
    )
    with pytest.raises(ConfigError, match='rtmo finds the instances of an image by itself; leave --detector out'):
        build_page_predictor(args, len, 'rtmo.onnx', None)
    assert build_page_predictor(args, None, 'rtmo.onnx', None).name == 'rtmo'


# --- boxes, several models, downloads, labels -------------------------------------------------------------------------


def test_boxes_of_the_query_are_the_instances(server, predictor, image_files):
    content = json.loads(send(server, 'POST', '/predict?boxes=5,6,60,70,20,10,80,90', image_files[0])[2])
    boxes = [[5.0, 6.0, 60.0, 70.0], [20.0, 10.0, 80.0, 90.0]]
    (poses,) = predictor([image_files[0]], [boxes], box_format='xyxy')
    assert content['images'][0]['instances'] == poses.to_dicts()
    assert content['note'].startswith('Instance 1. ')


@pytest.mark.parametrize('query', ['boxes=1,2,3', 'boxes=a,b,c,d', 'boxes=1,2,3,4,5', 'model=1', 'model=-1', 'model=x'])
def test_a_query_that_means_nothing_is_refused(server, image_files, query):
    assert send_refused(server, 'POST', f'/predict?{query}', image_files[0])[0] == 400


def test_an_impossible_box_is_refused_with_the_message_of_the_predictor(server, image_files):
    status, message = send_refused(server, 'POST', '/predict?boxes=nan,1,2,3', image_files[0])
    assert status == 400
    assert 'box' in message


def test_without_heatmaps_the_response_has_the_keypoints_alone(server, image_files):
    content = json.loads(send(server, 'POST', '/predict?heatmaps=0', image_files[0])[2])
    assert 'image_url' not in content
    assert len(content['images'][0]['instances']) == 1


def test_each_of_several_models_is_described_and_predicts(predictor, image_files):
    other = copy.copy(predictor)
    other.name = 'other'
    other.detector = FixedDetector([[5, 6, 60, 70], [20, 10, 80, 90]])
    with PredictionServer([predictor, other], port=0) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            models = [json.loads(send(server, 'GET', f'/model?model={n}')[2]) for n in (0, 1)]
            results = [json.loads(send(server, 'POST', f'/predict?model={n}', image_files[0])[2]) for n in (0, 1)]
        finally:
            server.shutdown()
            thread.join()
    assert [model['model'] for model in models] == [predictor.name, 'other']
    assert [model['finds_instances'] for model in models] == [False, True]
    assert models[0]['models'] == models[1]['models'] == [predictor.name, 'other']
    assert [len(result['images'][0]['instances']) for result in results] == [1, 2]


def test_results_are_downloaded_under_the_name_of_their_image(server, image_files):
    content = json.loads(send(server, 'POST', '/predict?heatmaps=0', image_files[0])[2])
    content['images'][0]['file'] = '../../etc/pärt.jpg'
    body = json.dumps(content).encode()
    status, headers, file = send(server, 'POST', '/download?formats=json,csv', body)
    assert (status, headers['Content-Disposition']) == (200, "attachment; filename*=UTF-8''p%C3%A4rt_poses.zip")
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        assert sorted(archive.namelist()) == ['results.csv', 'results.json']
    assert send_refused(server, 'POST', '/download?formats=png', body)[0] == 400
    assert send_refused(server, 'POST', '/download?formats=csv', b'[]') == (400, 'what was sent is no JSON object')


def test_labels_are_read_and_compared(server, predictor):
    names = list(predictor.skeleton.keypoints)
    category = {'id': 1, 'name': 'person', 'keypoints': names}
    annotation = {'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 50, 50], 'area': 2500, 'iscrowd': 0}
    annotation |= {'keypoints': [10, 20, 2] * len(names), 'num_keypoints': len(names)}
    image = {'id': 1, 'file_name': 'a.jpg', 'width': 64, 'height': 64}
    coco = {'images': [image], 'annotations': [annotation], 'categories': [category]}
    labels = json.loads(send(server, 'POST', '/labels?name=labels.json', json.dumps(coco).encode())[2])
    instances = [{'keypoints': [[13.0, 24.0, 0.5]] * len(names)}]
    body = json.dumps({'instances': instances, 'labels': labels['images']['a.jpg']}).encode()
    assert json.loads(send(server, 'POST', '/compare', body)[2])['mean_px'] == 5.0
    assert send_refused(server, 'POST', '/labels?name=a.py', b'x')[0] == 400
    assert send_refused(server, 'POST', '/compare', b'{}')[0] == 400


def test_an_exported_file_predicts_images_and_videos(video_file, tmp_path):
    pytest.importorskip('onnxscript', reason='onnxscript is not installed (extra: export)')
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed (extra: export)')
    from poseplug.deploy.export import export_onnx
    from tests.deploy.test_export import create_model

    model, images = create_model('rtmo')
    predictor = ExportedPredictor(export_onnx(model, tmp_path / 'rtmo.onnx'))
    image_file = cv2.imencode('.png', images[0])[1].tobytes()
    with run_server(predictor) as server:
        content = json.loads(send(server, 'POST', '/predict', image_file)[2])
        token = json.loads(send(server, 'POST', '/videos?name=walk.mp4&smooth=1', video_file)[2])['token']
        frames, last = follow_job(server, token)
        status, message = send_refused(server, 'POST', '/predict?boxes=1,2,30,40', image_file)
    assert content['images'][0]['instances'] == predictor([images[0]])[0].to_dicts()
    assert content['note'] == 'An exported file shows no heatmaps.'
    assert (len(frames), last['state']) == (5, 'finished')
    assert (status, message) == (400, f'{predictor.name} finds instances in whole images by itself; leave boxes out')


# --- videos -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def video_file(tmp_path_factory):
    """A video of five frames."""
    file = tmp_path_factory.mktemp('video') / 'walk.mp4'
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*'mp4v'), 10, (64, 48))
    for n in range(5):
        writer.write(np.full((48, 64, 3), 40 * n, np.uint8))
    writer.release()
    return file.read_bytes()


def follow_job(server, token):
    """The frames and the last response of a job that has ended."""
    offset, frames = 0, []
    for _ in range(600):
        content = json.loads(send(server, 'GET', f'/videos/{token}?offset={offset}')[2])
        frames += content['frames']
        if content['state'] not in ('waiting', 'running') and content['offset'] == offset:
            return frames, content
        offset = content['offset']
        time.sleep(0.05)
    raise AssertionError('the job does not end')


def test_a_video_is_predicted_frame_by_frame_and_downloaded(server, predictor, video_file, tmp_path):
    token = json.loads(send(server, 'POST', '/videos?name=walk.mp4', video_file)[2])['token']
    frames, last = follow_job(server, token)
    assert (last['state'], last['error'], last['num_frames']) == ('finished', '', 5)
    (tmp_path / 'walk.mp4').write_bytes(video_file)
    predict_video(predictor, tmp_path / 'walk.mp4', tmp_path / 'out', options=PredictionOptions(draw_video=False))
    assert frames == [json.loads(line) for line in (tmp_path / 'out.jsonl').read_text().splitlines()[1:]]
    formats = 'video,jsonl,csv,openpose'
    _, headers, file = send(server, 'GET', f'/videos/{token}/download?formats={formats}')
    assert headers['Content-Disposition'].endswith('walk_poses.zip')
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        names = archive.namelist()
    assert {'walk.csv', 'walk.jsonl', 'walk_pose.mp4', 'openpose/walk_000000000004_keypoints.json'} <= set(names)
    assert len(names) == 8
    assert send_refused(server, 'GET', f'/videos/{token}/download?formats=gif')[0] == 400


@pytest.mark.parametrize(('name', 'data', 'message'), [('a.mp4', b'x' * 100, 'a.mp4'), ('a.mp4', b'', 'a.mp4')])
def test_bytes_that_are_no_video_fail_with_the_name_of_the_file(server, name, data, message):
    token = json.loads(send(server, 'POST', f'/videos?name={name}', data, Content_Length=str(len(data)))[2])['token']
    frames, last = follow_job(server, token)
    assert (frames, last['state']) == ([], 'failed')
    assert last['error'].startswith(message)
    assert send_refused(server, 'GET', f'/videos/{token}/download?formats=csv')[0] == 400


def test_a_file_that_is_no_video_by_its_name_and_one_over_the_limit_are_refused(server, predictor):
    assert send_refused(server, 'POST', '/videos?name=notes.txt', b'x')[0] == 400
    server.max_video_bytes, limit = 10, server.max_video_bytes
    try:
        assert send_refused(server, 'POST', '/videos?name=a.mp4', b'x' * 11)[0] == 413
    finally:
        server.max_video_bytes = limit
    token = json.loads(send(server, 'POST', '/videos?name=a.mp4', b'x')[2])[
        'token'
    ]  # the refused one is not in its way
    assert follow_job(server, token)[1]['state'] == 'failed'


def test_a_video_is_stopped_and_another_waits_until_then(server, predictor, video_file, monkeypatch):
    stream, release = predictor.stream, Event()

    def wait(*args, **settings):
        release.wait(20)
        return stream(*args, **settings)

    monkeypatch.setattr(predictor, 'stream', wait)
    token = json.loads(send(server, 'POST', '/videos?name=walk.mp4', video_file)[2])['token']
    status, message = send_refused(server, 'POST', '/videos?name=walk.mp4', video_file)
    assert (status, message[:38]) == (400, 'another video is being predicted; wait')
    assert send(server, 'POST', f'/videos/{token}/stop', b'', Content_Length='0')[0] == 200
    release.set()
    assert follow_job(server, token)[1]['state'] == 'cancelled'


def test_the_folders_of_videos_are_removed_with_the_server(predictor, video_file):
    with run_server(predictor) as server:
        token = json.loads(send(server, 'POST', '/videos?name=walk.mp4', video_file)[2])['token']
        follow_job(server, token)
        upload = server.jobs.find_job(token).upload
        assert upload.is_file()
    assert not upload.parent.exists()


def test_the_oldest_folder_makes_room_for_the_next_video(predictor):
    with run_server(predictor) as server:
        tokens = []
        for _ in range(5):
            tokens.append(json.loads(send(server, 'POST', '/videos?name=a.mp4', b'x')[2])['token'])
            follow_job(server, tokens[-1])
        statuses = [send(server, 'GET', f'/videos/{token}')[0] for token in tokens]
    assert statuses == [404, 200, 200, 200, 200]
