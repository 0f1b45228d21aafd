"""Videos through a model: every frame has its line under its true number, and the drawn video keeps time."""

import csv
import json
import logging
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from poseplug.build import build_model
from poseplug.errors import AnnotationError, ConfigError, VideoError
from poseplug.inference import clips
from poseplug.inference.clips import Treatment, write_clip
from poseplug.inference.film import Film
from poseplug.inference.predictor import Predictor
from poseplug.inference.smoothing import Smoothing
from poseplug.inference.video import Video
from poseplug.poses import Poses
from poseplug.skeleton import Skeleton
from tests.reliability import videos

PAIR = Skeleton(name='pair', joints=('top', 'end'), limbs=(('top', 'end'),))


class Reader:
    """Stands for a predictor: the first person's first joint lies at x = 10 times the number of a frame.

    It fails at the number `breaks`.
    """

    skeleton, name = PAIR, 'reader'

    def __init__(self, several=False, breaks=None):
        self.breaks, self.finds_people = breaks, several
        self.model = SimpleNamespace(codec=SimpleNamespace(score='none'))

    def stream(self, images, boxes=None, batch_size=32, every_stage=False, box_format='xywh'):
        for image, own in zip(images, boxes or [None] * len(images), strict=True):
            number = videos.number_of(image)
            if number == self.breaks:
                raise RuntimeError('broken')
            yield [people(number, 1 if own is None else len(own))]


def people(number, count):
    points = np.array([[[10.0 * number, 60], [10.0 * number + 40, 110]] for _ in range(count)])
    points = points.reshape(count, 2, 2) + 90 * np.arange(count)[:, None, None] * (1, 0)
    return Poses(points, np.ones((count, 2)), np.ones(count))


@pytest.fixture
def clip(tmp_path):
    """A whole video of 50 frames of 160x120 px, 25 a second."""
    videos.written(tmp_path / 'clip.avi', 'MJPG')
    return tmp_path / 'clip.avi'


@pytest.fixture
def predictor(tiny_config, tmp_path):
    """A small CPM with random weights."""
    torch.manual_seed(0)
    cfg = tiny_config()
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'tiny.pth')
    return Predictor(cfg, tmp_path / 'tiny.pth')


def lines(folder, name='clip'):
    heading, *found = map(json.loads, (folder / f'{name}.jsonl').read_text().splitlines())
    return heading, found


def shown(file):
    """The numbers that a drawn video's frames show; it was enlarged by 3."""
    capture, found = cv2.VideoCapture(str(file)), []
    while (read := capture.read())[0]:
        found.append(videos.number_of(cv2.resize(read[1], (videos.WIDTH, videos.HEIGHT))))
    return found, capture.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize('name', [n for n, case in videos.CASES.items() if case.lost is not None])
def test_every_frame_of_any_video_has_a_line_under_its_number_and_a_drawing_at_its_time(tmp_path, name):
    case = videos.CASES[name]
    file = tmp_path / f'clip{case.ending}'
    file.write_bytes(case.spoil(videos.written(tmp_path / f'whole{case.ending}', videos.CODECS[case.ending])))
    account = write_clip(Reader(), file, tmp_path / 'clip', treatment=Treatment(batch_size=7))
    there = [n for n in range(50) if n not in case.lost]
    found = lines(tmp_path)[1]
    assert [line['index'] for line in found] == there
    assert [line['seconds'] for line in found] == pytest.approx([n / 25 for n in there])
    wrong = [n['index'] for n in found if n['people'][0]['keypoints'][0][0] != 10 * n['index']]
    assert set(wrong) <= set(case.damaged)
    drawn, fps = shown(tmp_path / 'clip_pose.mp4')
    expected = [max(m for m in there if m <= n) for n in range(there[-1] + 1)]
    assert fps == 25
    assert len(drawn) == len(expected)
    assert all(a == b for a, b in zip(drawn, expected, strict=True) if b not in case.damaged)
    assert account['missing']['count'] == len(case.lost)
    assert account['drawn']['repeated'] == len(expected) - len(there)


def test_the_first_line_says_what_the_others_mean(clip, tmp_path):
    write_clip(Reader(), clip, tmp_path / 'clip', treatment=Treatment(smoothing=Smoothing(beta=3), draw=False))
    assert lines(tmp_path)[0] == {
        'model': 'reader',
        'skeleton': 'pair',
        'centric': 'person',
        'joints': ['top', 'end'],
        'score': 'none',
        'file': str(clip),
        'width': 160,
        'height': 120,
        'fps': 25,
        'every': 1,
        'smoothing': {'min_cutoff': 1.0, 'beta': 3, 'd_cutoff': 1.0},
    }
    assert {f.name for f in tmp_path.iterdir()} == {'clip.avi', 'clip.jsonl'}


def test_people_of_a_video_are_those_of_its_frames_as_pictures(predictor, clip, tmp_path):
    account = write_clip(predictor, clip, tmp_path / 'clip', treatment=Treatment(every=10, batch_size=2))
    frames = [frame.pixels for frame in Video(clip) if frame.index % 10 == 0]
    found = lines(tmp_path)[1]
    assert account['people'] == 1
    for line, alone in zip(found, predictor(frames), strict=True):
        (person,) = line['people']
        assert person['id'] == 1
        assert np.array(person['keypoints'])[:, :2] == pytest.approx(alone.keypoints[0], abs=0.01)


@pytest.mark.parametrize('boxes', [None, {}, {n: [[0, 0, 90, 90]] * 3 for n in range(30)}])
def test_only_a_batch_of_frames_is_held_however_many_people_they_have(predictor, boxes):
    read = []

    def frames():
        for number in range(30):
            read.append(number)
            yield clips.Frame(number, number / 25, videos.numbered(number))

    for frame, people in clips.followed(predictor, frames(), boxes, Treatment(batch_size=4)):
        assert len(read) - frame.index <= 4
        assert len(people) == (1 if boxes is None else len(boxes.get(frame.index, [])))


def test_a_run_that_breaks_keeps_the_frames_that_it_had(clip, tmp_path):
    with pytest.raises(RuntimeError, match='broken'):
        write_clip(Reader(breaks=31), clip, tmp_path / 'clip', treatment=Treatment(batch_size=1, csv=True))
    assert {f.name for f in tmp_path.iterdir()} == {
        'clip.avi', 'clip.jsonl.partial', 'clip.csv.partial', 'clip_pose.partial.mp4'
    }  # fmt: skip
    kept = (tmp_path / 'clip.jsonl.partial').read_text().splitlines()
    assert [json.loads(line)['index'] for line in kept[1:]] == [*range(31)]
    assert shown(tmp_path / 'clip_pose.partial.mp4')[0] == [*range(31)]
    write_clip(Reader(), clip, tmp_path / 'clip', treatment=Treatment(csv=True))
    assert {f.name for f in tmp_path.iterdir()} == {'clip.avi', 'clip.jsonl', 'clip.csv', 'clip_pose.mp4'}


def test_a_first_frame_that_cannot_be_predicted_leaves_nothing_behind(clip, tmp_path):
    with pytest.raises(RuntimeError, match='broken'):
        write_clip(Reader(breaks=0), clip, tmp_path / 'clip')
    assert [f.name for f in tmp_path.iterdir()] == ['clip.avi']


def test_one_of_every_n_frames_is_predicted_and_shown_n_times_as_long(clip, tmp_path):
    write_clip(Reader(), clip, tmp_path / 'clip', treatment=Treatment(every=8))
    heading, found = lines(tmp_path)
    assert heading['every'] == 8
    assert [line['index'] for line in found] == [0, 8, 16, 24, 32, 40, 48]
    assert shown(tmp_path / 'clip_pose.mp4') == ([0, 8, 16, 24, 32, 40, 48], 25 / 8)


def test_where_the_nth_frame_is_lost_the_next_one_is_taken():
    frames = [clips.Frame(n, n / 25, np.zeros(0)) for n in range(20) if n not in (0, 10, 11, 15)]
    assert [frame.index for frame in clips.taken(frames, 5)] == [1, 5, 12, 16]


def test_boxes_go_to_their_frames_and_people_have_ids(clip, tmp_path, caplog):
    boxes = {n: [[0, 0, 9, 9]] * 2 for n in (0, 1, 3, 49, 60)}
    with caplog.at_level(logging.WARNING, 'poseplug'):
        account = write_clip(Reader(), clip, tmp_path / 'clip', boxes)
    found = {line['index']: [p['id'] for p in line['people']] for line in lines(tmp_path)[1] if line['people']}
    assert found == {0: [1, 2], 1: [1, 2], 3: [1, 2], 49: [3, 4]}
    assert account['people'] == 4
    assert caplog.messages == [f'{clip}: boxes of frames that it does not have: 60']


def test_a_table_has_a_row_a_joint_with_the_number_of_its_frame(clip, tmp_path):
    write_clip(Reader(several=True), clip, tmp_path / 'clip', treatment=Treatment(csv=True, draw=False))
    rows = list(csv.DictReader((tmp_path / 'clip.csv').read_text().splitlines()))
    assert len(rows) == 50 * 2
    assert tuple(rows[14].values()) == ('7', '0.28', rows[14]['id'], 'top', '70.0', '60.0', '1.0')


def test_smoothed_joints_are_drawn_and_written(clip, tmp_path):
    write_clip(Reader(), clip, tmp_path / 'clip', treatment=Treatment(smoothing=Smoothing(beta=0)))
    found = np.array([line['people'][0]['keypoints'][0][0] for line in lines(tmp_path)[1]])
    assert found[0] == 0
    late = (10 * np.arange(50) - found)[-10:] / 250  # at 10 px a frame, 250 px a second
    assert late == pytest.approx(1 / (2 * np.pi), abs=0.01)


def test_a_video_that_does_not_say_how_long_it_is_is_read_to_its_end(tmp_path, capsys):
    pictures = (cv2.imencode('.jpg', videos.numbered(n))[1].tobytes() for n in range(25))
    (tmp_path / 'clip.mjpg').write_bytes(b''.join(pictures))
    write_clip(Reader(), tmp_path / 'clip.mjpg', tmp_path / 'clip')
    assert [line['people'][0]['keypoints'][0][0] for line in lines(tmp_path)[1]] == [10.0 * n for n in range(25)]
    assert 'predicting clip.mjpg 25, ' in capsys.readouterr().err


def test_what_is_no_video_and_boxes_outside_are_told_before_work(clip, tmp_path):
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(VideoError, match=r'text\.mp4 is no video that can be read'):
        clips.check_video(tmp_path / 'text.mp4', None, 'xywh')
    clips.check_video(clip, {4: [[0, 0, 9, 9]], 5: []}, 'xywh')
    with pytest.raises(AnnotationError, match=r'clip\.avi, frame 4: box 0 .* lies outside the picture'):
        clips.check_video(clip, {4: [[900, 0, 9, 9]]}, 'xywh')


def test_a_folder_that_takes_no_file_is_an_error(clip, tmp_path):
    (tmp_path / 'clip.jsonl.partial').mkdir()
    with pytest.raises(ConfigError, match=r'clip\.jsonl\.partial: Is a directory; name another folder for --out'):
        write_clip(Reader(), clip, tmp_path / 'clip')


def test_where_mpeg4_cannot_be_written_the_video_is_of_jpeg_pictures(tmp_path):
    wide = np.zeros((16, 20_000, 3), np.uint8)
    with Film(tmp_path / 'wide', 25, wide) as film:
        film.add(0, wide)
    assert film.file.name == 'wide.avi'
    assert [f.name for f in tmp_path.iterdir()] == ['wide.avi']


@pytest.mark.parametrize(('folder', 'fps'), [('absent', 25), ('.', 90_000)])
def test_a_video_that_cannot_be_written_is_an_error_that_says_what_to_do(tmp_path, folder, fps):
    with pytest.raises(VideoError, match=r'as mp4v or MJPG; take --every N, another --out, or .*--no-video'):
        Film(tmp_path / folder / 'film', fps, np.zeros((20, 20, 3), np.uint8))


def test_frames_that_do_not_reach_the_disk_are_told(tmp_path):
    picture = np.zeros((20, 20, 3), np.uint8)
    film = Film(tmp_path / 'film', 25, picture)
    film.writer.release()
    for place in range(2):
        film.add(place, picture)
    with pytest.raises(VideoError, match='0 of 2 frames were written; is the disk full'):
        film.__exit__(None, None, None)


def test_a_drawn_video_of_odd_size_loses_no_column_and_takes_frames_of_another_size(tmp_path):
    picture = np.zeros((121, 161, 3), np.uint8)
    with Film(tmp_path / 'film', 25, picture) as film:
        film.add(0, picture)
        film.add(2, np.full((60, 60, 3), 255, np.uint8))
    assert (film.size, film.repeated, film.resized, film.shown) == ((162, 122), 1, 1, 3)
    capture = cv2.VideoCapture(str(film.file))
    pictures = [capture.read()[1] for _ in range(3)]
    assert [p.shape for p in pictures] == [(122, 162, 3)] * 3
    assert [int(p[61, 81].mean()) > 200 for p in pictures] == [False, False, True]
