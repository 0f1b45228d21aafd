"""The page's server: its answers are the predictor's, it refuses what it should, and it goes on."""

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

from poseplug.datasets.images import image_of
from poseplug.errors import ConfigError
from poseplug.inference import served
from poseplug.inference.records import heading, people_of
from poseplug.inference.served import Server, answer, jpeg_url, name_of, samples, shrunk
from poseplug.visualization.draw import joint_sides
from poseplug.visualization.fields import stage_strips
from tests.conftest import ROOT

PAGE = ROOT / 'demo/web.html'
MOST = 200_000


@contextmanager
def running(predictor, **options):
    """A server in a thread of its own, on a port that is free."""
    with Server(predictor, PAGE, port=0, **options) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope='module')
def server(predictor):
    with running(predictor, most_bytes=MOST) as server:
        yield server


@pytest.fixture(scope='module')
def pictures(tiny_data):
    return [f.read_bytes() for f in sorted((tiny_data / 'images').glob('*.jpg'))[:4]]


def ask(server, method, path, body=None, **headers):
    """(status, headers, body) of a request; a header is named with _ for - and left out where it is None."""
    connection = HTTPConnection('127.0.0.1', server.server_port, timeout=20)
    told = {'Host': f'127.0.0.1:{server.server_port}'} | ({'Content-Length': str(len(body))} if body else {})
    told |= {name.replace('_', '-'): value for name, value in headers.items()}
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in told.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def refusal(server, method, path, body=None, **headers):
    status, _, content = ask(server, method, path, body, **headers)
    return status, json.loads(content)['error']


def pixels(url):
    kind, _, data = url.partition(';base64,')
    assert kind == 'data:image/jpeg'
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


# --- a picture --------------------------------------------------------------------------------------------------------


def test_a_picture_comes_back_with_the_people_of_the_predictor(server, predictor, pictures):
    status, headers, content = ask(server, 'POST', '/predict', pictures[0])
    found = json.loads(content)
    (people,) = predictor([pictures[0]])
    image = image_of(pictures[0])
    assert (status, headers['Content-Type']) == (200, 'application/json')
    assert heading(predictor).items() <= found.items()
    assert found['images'] == [{'width': image.shape[1], 'height': image.shape[0], 'people': people_of(people)}]


def test_the_picture_and_the_belief_maps_are_those_of_the_predictor(predictor, pictures):
    found = answer(predictor, pictures[0])
    assert np.abs(pixels(found['picture']).astype(int) - image_of(pictures[0])).mean() < 5  # JPEG's loss
    assert found['fields'] == jpeg_url(stage_strips(predictor.fields(pictures[0])))
    assert found['note'] == served.MAPS


def test_pictures_sent_at_once_each_get_their_own_people(server, predictor, pictures):
    with ThreadPoolExecutor(len(pictures)) as pool:
        replies = list(pool.map(lambda data: ask(server, 'POST', '/predict', data), pictures))
    for (status, _, content), data in zip(replies, pictures, strict=True):
        assert status == 200
        assert json.loads(content)['images'][0]['people'] == people_of(predictor([data])[0])


def test_a_picture_held_sideways_is_turned_upright_with_its_joints(predictor, pictures):
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'  # orientation 6
    turned = pictures[0][:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + pictures[0][2:]
    height, width = image_of(pictures[0]).shape[:2]
    (image,) = answer(predictor, turned)['images']
    assert (image['width'], image['height']) == (height, width)
    assert image['people'] == people_of(predictor([np.rot90(image_of(pictures[0]), -1)])[0])


def test_a_large_picture_is_shown_smaller_and_a_small_one_as_it_is():
    assert shrunk(np.zeros((3200, 10, 3), np.uint8)).shape == (1600, 5, 3)
    assert shrunk(np.zeros((1, 9000, 3), np.uint8)).shape == (1, 1600, 3)
    assert shrunk(np.zeros((20, 1600, 3), np.uint8)).shape == (20, 1600, 3)


class Stub:
    """A detector that finds the same boxes in every picture."""

    def __init__(self, boxes):
        self.boxes = boxes

    def __call__(self, images):
        return [(np.reshape(self.boxes, (-1, 4)).astype(float), np.linspace(0.9, 0.5, len(self.boxes)))] * len(images)


def test_with_a_detector_the_belief_maps_are_the_first_persons(predictor, pictures, monkeypatch):
    monkeypatch.setattr(predictor, 'detector', Stub([[5, 6, 60, 70], [20, 10, 80, 90]]))
    found = answer(predictor, pictures[0])
    assert [p['corners'] for p in found['images'][0]['people']] == [[5, 6, 60, 70], [20, 10, 80, 90]]
    assert found['note'].startswith('Person 1. ')
    assert found['fields'] == jpeg_url(stage_strips(predictor.fields(pictures[0], [5, 6, 60, 70], 'corners')))


def test_where_the_detector_finds_nobody_there_are_no_maps(predictor, pictures, monkeypatch):
    monkeypatch.setattr(predictor, 'detector', Stub([]))
    found = answer(predictor, pictures[0])
    assert (found['images'][0]['people'], found['fields']) == ([], None)
    assert 'finds nobody' in found['note']


def test_a_model_without_belief_maps_says_so_beside_its_people(predictor, pictures, monkeypatch):
    def refuse(*_):
        raise ConfigError('SimCC makes no belief maps')

    monkeypatch.setattr(predictor, 'fields', refuse)
    found = answer(predictor, pictures[0])
    assert (found['fields'], found['note']) == (None, 'SimCC makes no belief maps')
    assert len(found['images'][0]['people']) == 1


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('spoil', [lambda d: d[: len(d) // 2], lambda d: b'<b>hello</b>', lambda d: d[::-1]])
def test_bytes_that_are_no_whole_picture_are_refused_with_the_message_of_the_door(server, pictures, spoil):
    data = spoil(pictures[0])
    status, message = refusal(server, 'POST', '/predict', data)
    assert status == 400
    assert message.startswith(f'the picture: {len(data):,} bytes that are not a whole picture; fetch the file again')


def test_an_empty_body_is_no_picture(server):
    status, message = refusal(server, 'POST', '/predict', Content_Length='0')
    assert status == 400
    assert message.startswith('the picture: 0 bytes')


def test_a_body_over_the_cap_is_refused_unread(server):
    status, message = refusal(server, 'POST', '/predict', Content_Length=str(MOST + 1))
    assert (status, message) == (
        413,
        '200,001 bytes are more than the 200,000 that are taken; make the picture smaller',
    )


def test_who_has_sent_too_much_already_still_gets_the_answer(server):
    assert refusal(server, 'POST', '/predict', bytes(3 * MOST))[0] == 413


@pytest.mark.parametrize(('length', 'status'), [(None, 411), ('-1', 400), ('ten', 400), ('9' * 5000, 400), ('²', 400)])
def test_a_length_that_is_absent_or_no_number_is_refused(server, length, status):
    told = length.encode('utf-8') if length else None
    assert refusal(server, 'POST', '/predict', Content_Length=told)[0] == status


def test_fewer_bytes_than_announced_are_refused(server, pictures):
    with socket.create_connection(('127.0.0.1', server.server_port), timeout=20) as connection:
        connection.sendall(b'POST /predict HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n' + bytes(10))
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile('rb') as reply:
            text = reply.read()
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
    status, message = refusal(server, method, path, b'x' if method == 'POST' else None)
    assert (status, message[:21]) == (404, 'there is nothing here')


@pytest.mark.parametrize('host', ['evil.example', 'evil.example:80', '127.0.0.1.evil.example', '[', '', None])
@pytest.mark.parametrize(('method', 'path'), [('GET', '/'), ('GET', '/model'), ('POST', '/predict')])
def test_a_name_that_leads_here_from_outside_is_forbidden(server, pictures, method, path, host):
    body = pictures[0] if method == 'POST' else None
    assert refusal(server, method, path, body, Host=host)[0] == 403


@pytest.mark.parametrize('origin', ['http://evil.example', 'null', 'http://127.0.0.1:1'])
def test_a_page_of_another_site_may_not_send_pictures(server, pictures, origin):
    assert refusal(server, 'POST', '/predict', pictures[0], Origin=origin)[0] == 403


def test_the_own_page_may_send_pictures_by_either_name(server, pictures):
    for name in served.LOCAL:
        host = f'{name}:{server.server_port}'
        assert ask(server, 'POST', '/predict', pictures[0], Host=host, Origin=f'http://{host}')[0] == 200


def test_on_another_host_any_name_is_answered(predictor):
    with running(predictor, host='0.0.0.0') as server:
        assert ask(server, 'GET', '/model', Host='pose.example')[0] == 200
        assert json.loads(server.about)['local'] is False


@pytest.mark.parametrize(
    ('host', 'name'),
    [('LOCALHOST:1', 'localhost'), ('127.0.0.1', '127.0.0.1'), ('[::1]:80', '::1'), ('[', ''), ('', '')],
)
def test_the_name_in_a_host_header_has_no_port(host, name):
    assert name_of(host) == name


# --- it goes on -------------------------------------------------------------------------------------------------------


def test_after_an_error_in_the_network_the_next_picture_is_served(server, predictor, pictures, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError('/secret/path: out of memory')

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, 'poseplug'):
        patch.setattr(predictor.model, 'predict', fail)
        status, message = refusal(server, 'POST', '/predict', pictures[0])
    assert status == 500
    assert 'secret' not in message
    told = f'a picture of {len(pictures[0])} bytes failed: RuntimeError: /secret/path: out of memory'
    assert [r.getMessage() for r in caplog.records] == [told]
    assert ask(server, 'POST', '/predict', pictures[0])[0] == 200


def test_who_goes_away_in_the_middle_leaves_the_server_serving(server, pictures, capfd):
    head = f'POST /predict HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {len(pictures[0])}\r\n\r\n'.encode()
    for data in (b'', b'GET', head, head + pictures[0][:50]):
        connection = socket.create_connection(('127.0.0.1', server.server_port), timeout=20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')  # closed by a reset
        connection.sendall(data)
        connection.close()
    assert ask(server, 'POST', '/predict', pictures[0])[0] == 200
    assert capfd.readouterr() == ('', '')


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_lets_in_its_own_script_alone(server):
    status, headers, content = ask(server, 'GET', '/?sample=1')
    policy, page = headers['Content-Security-Policy'], content.decode()
    nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
    assert (status, headers['Content-Type']) == (200, 'text/html; charset=utf-8')
    assert len(nonce) >= 20
    assert page.count(f'<script nonce="{nonce}">') == page.count('<script') == 1
    assert page.count(f'<style nonce="{nonce}">') == page.count('<style') == 1
    assert policy.startswith("default-src 'none';")
    assert not any(word in policy for word in ('unsafe', '*', 'http'))
    assert ask(server, 'GET', '/')[1]['Content-Security-Policy'] != policy  # a nonce is used once


def test_the_page_needs_nothing_from_elsewhere_and_reads_no_text_as_html():
    text = PAGE.read_text()
    namespace = 'http://www.w3.org/2000/svg'
    assert not any(word in text.replace(namespace, '') for word in ('http:', 'https:', '//cdn', '@import', 'url('))
    assert not re.search(r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\sstyle="|\son\w+=', text)


def test_every_answer_says_that_it_is_neither_kept_nor_guessed_at(server):
    for path in ('/', '/model', '/samples/0', '/nowhere'):
        headers = ask(server, 'GET', path)[1]
        assert (headers['Cache-Control'], headers['X-Content-Type-Options']) == ('no-store', 'nosniff')
        assert headers['Content-Security-Policy'].startswith("default-src 'none'")


def test_the_page_is_told_the_skeleton_as_it_is_drawn(server, predictor):
    status, _, content = ask(server, 'GET', '/model')
    told, skeleton = json.loads(content), predictor.skeleton
    assert status == 200
    assert told['joints'] == list(skeleton.joints)
    assert told['sides'] == joint_sides(skeleton)
    assert [(told['joints'][a], told['joints'][b]) for a, b, _ in told['limbs']] == list(skeleton.limbs)
    knee = ['left_hip', 'left_knee']
    assert [side for a, b, side in told['limbs'] if sorted((told['joints'][a], told['joints'][b])) == knee] == ['left']
    assert told['colors']['left'] == '#ff9628'  # BGR 40, 150, 255
    assert (told['most_bytes'], told['local'], told['finds_people']) == (MOST, True, False)


def test_every_sample_is_a_picture_that_can_be_sent(server):
    names = json.loads(server.about)['samples']
    assert len(names) == len(served.SAMPLES)
    for n in range(len(names)):
        status, headers, picture = ask(server, 'GET', f'/samples/{n}')
        assert (status, headers['Content-Type']) == (200, 'image/png')
        assert ask(server, 'POST', '/predict', picture)[0] == 200


def test_samples_of_several_people_are_other_pictures(monkeypatch):
    monkeypatch.setattr(served, 'SAMPLES', (1,))
    ((_, alone),), ((_, together),) = samples(False), samples(True)
    assert image_of(alone).shape != image_of(together).shape


def test_numbers_that_are_not_finite_reach_the_page_as_null(predictor, pictures, monkeypatch):
    (people,) = predictor([pictures[0]])
    lost = replace(people, keypoints=np.full_like(people.keypoints, np.nan))
    monkeypatch.setattr(served, 'answer', lambda *_: {'people': people_of(lost)})
    with running(predictor) as server:
        found = json.loads(ask(server, 'POST', '/predict', pictures[0])[2], parse_constant=pytest.fail)
    assert found['people'][0]['keypoints'][0][:2] == [None, None]


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_or_none_and_a_page_that_is_absent_are_told(server, predictor, tmp_path):
    for port in (server.server_port, 70_000):
        with pytest.raises(ConfigError, match=f'127.0.0.1, port {port}: .*; name another --port or --host'):
            Server(predictor, PAGE, port=port)
    with pytest.raises(ConfigError, match='No such file or directory; the page belongs there'):
        Server(predictor, tmp_path / 'web.html', port=0)


@pytest.mark.parametrize(('host', 'warned'), [('127.0.0.1', False), ('localhost', False), ('0.0.0.0', True)])
def test_the_command_serves_until_it_is_stopped_and_warns_where_others_reach_it(
    predictor, monkeypatch, capsys, caplog, host, warned
):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, 'serve_forever', stop)
    monkeypatch.setattr('poseplug.inference.predictor.Predictor', lambda *_, **__: predictor)
    monkeypatch.setattr(sys, 'argv', ['web.py', '--port', '0', '--host', host])
    monkeypatch.setattr(logging.getLogger(), 'handlers', logging.getLogger().handlers)
    with pytest.raises(SystemExit, match='130'):
        runpy.run_path(str(ROOT / 'demo/web.py'), run_name='__main__')
    assert capsys.readouterr().out.startswith(f'{predictor.name} at http://{host}:')
    assert ('whoever reaches this machine' in caplog.text) == warned
