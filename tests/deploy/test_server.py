"""The server of the web page: its responses are the predictor's, it refuses what it should, and it stays up."""

import base64
import json
import logging
import re
import runpy
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from threading import Thread

import cv2
import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.deploy import server as server_module
from poseplug.deploy.server import (
    HEATMAPS_NOTE,
    LOCAL_HOSTS,
    SAMPLE_INDICES,
    PredictionServer,
    build_response,
    draw_sample_images,
    encode_jpeg_url,
    parse_host_name,
    shrink_image,
)
from poseplug.files.images import read_image_bytes
from poseplug.predict.result_records import build_result_header
from poseplug.report.drawing_style import keypoint_sides
from poseplug.report.heatmaps import draw_heatmap_strips
from tests.conftest import ROOT

PAGE = ROOT / 'demo/web.html'
MAX_BYTES = 200_000


@contextmanager
def run_server(predictor, **options):
    """A server in a thread, on a free port."""
    with PredictionServer(predictor, PAGE, port=0, **options) as server:
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
        ('GET', '/demo/web.html'),
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
        assert json.loads(server.model_json)['local'] is False


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
    message = f'an image of {len(image_files[0])} bytes failed: RuntimeError: /secret/path: out of memory'
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


def test_the_page_allows_its_own_script_alone(server):
    status, headers, content = send(server, 'GET', '/?sample=1')
    policy, page = headers['Content-Security-Policy'], content.decode()
    nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
    assert (status, headers['Content-Type']) == (200, 'text/html; charset=utf-8')
    assert len(nonce) >= 20
    assert page.count(f'<script nonce="{nonce}">') == page.count('<script') == 1
    assert page.count(f'<style nonce="{nonce}">') == page.count('<style') == 1
    assert policy.startswith("default-src 'none';")
    assert not any(word in policy for word in ('unsafe', '*', 'http'))
    assert send(server, 'GET', '/')[1]['Content-Security-Policy'] != policy  # a nonce is used once


def test_the_page_needs_nothing_from_elsewhere_and_reads_no_text_as_html():
    text = PAGE.read_text()
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
    names = model['keypoint_names']
    assert status == 200
    assert names == list(skeleton.keypoints)
    assert model['sides'] == keypoint_sides(skeleton)
    assert [(names[a], names[b]) for a, b, _ in model['limbs']] == list(skeleton.limbs)
    thigh = ['left_hip', 'left_knee']
    assert [side for a, b, side in model['limbs'] if sorted((names[a], names[b])) == thigh] == ['left']
    assert model['colors']['left'] == '#ff9628'  # BGR 40, 150, 255
    assert (model['max_bytes'], model['local'], model['finds_instances']) == (MAX_BYTES, True, False)


def test_every_sample_is_an_image_that_can_be_sent(server):
    names = json.loads(server.model_json)['samples']
    assert len(names) == len(SAMPLE_INDICES)
    for n in range(len(names)):
        status, headers, image_file = send(server, 'GET', f'/samples/{n}')
        assert (status, headers['Content-Type']) == (200, 'image/png')
        assert send(server, 'POST', '/predict', image_file)[0] == 200


def test_samples_of_several_people_are_other_images(monkeypatch):
    monkeypatch.setattr(server_module, 'SAMPLE_INDICES', (1,))
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


def test_an_unavailable_port_and_a_missing_page_are_errors(server, predictor, tmp_path):
    for port in (server.server_port, 70_000):
        with pytest.raises(ConfigError, match=f'127.0.0.1, port {port}: .*; name another --port or --host'):
            PredictionServer(predictor, PAGE, port=port)
    with pytest.raises(ConfigError, match='No such file or directory; the page belongs there'):
        PredictionServer(predictor, tmp_path / 'web.html', port=0)


@pytest.mark.parametrize(('host', 'warns'), [('127.0.0.1', False), ('localhost', False), ('0.0.0.0', True)])
def test_the_command_serves_until_it_is_stopped_and_warns_on_public_addresses(
    predictor, monkeypatch, capsys, caplog, host, warns
):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(PredictionServer, 'serve_forever', stop)
    monkeypatch.setattr('poseplug.predict.predictor.Predictor', lambda *_, **__: predictor)
    monkeypatch.setattr(sys, 'argv', ['web.py', '--port', '0', '--host', host])
    monkeypatch.setattr(logging.getLogger(), 'handlers', logging.getLogger().handlers)
    with pytest.raises(SystemExit, match='130'):
        runpy.run_path(str(ROOT / 'demo/web.py'), run_name='__main__')
    assert capsys.readouterr().out.startswith(f'{predictor.name} at http://{host}:')
    assert ('anyone who reaches this machine' in caplog.text) == warns
