"""Prediction of videos: every frame has a line with its true index, and the drawn video keeps time."""

import csv
import json
import logging
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from poseplug.config.build import build_model
from poseplug.core.errors import AnnotationError, ConfigError, VideoError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.files.video_decoding import VideoFrame
from poseplug.files.video_reader import VideoReader
from poseplug.predict.prediction_options import PredictionOptions
from poseplug.predict.predictor import Predictor
from poseplug.predict.video import check_video, is_video, predict_video, select_frames, track_frames
from poseplug.predict.video_writer import VideoWriter
from tests.reliability import videos

PAIR = Skeleton(name='pair', keypoints=('top', 'end'), limbs=(('top', 'end'),))


class FakePredictor:
    """A predictor whose first instance has its first keypoint at x = 10 times the frame index.

    It fails at the index `fails_at`.
    """

    skeleton, name = PAIR, 'fake'

    def __init__(self, finds_instances=False, fails_at=None):
        self.fails_at, self.finds_instances = fails_at, finds_instances
        self.score_meaning = 'none'

    def stream(self, images, boxes=None, batch_size=32, box_format='xywh'):
        for image, image_boxes in zip(images, boxes or [None] * len(images), strict=True):
            index = videos.decode_frame_number(image)
            if index == self.fails_at:
                raise RuntimeError('broken')
            yield create_poses(index, 1 if image_boxes is None else len(image_boxes))


def create_poses(index, count):
    points = np.array([[[10.0 * index, 60], [10.0 * index + 40, 110]] for _ in range(count)])
    points = points.reshape(count, 2, 2) + 90 * np.arange(count)[:, None, None] * (1, 0)
    return Poses(points, np.ones((count, 2)), np.ones(count))


@pytest.fixture
def clip(tmp_path):
    """A whole video of 50 frames of 160x120 px, 25 a second."""
    videos.write_video(tmp_path / 'clip.avi', 'MJPG')
    return tmp_path / 'clip.avi'


@pytest.fixture
def predictor(tiny_config, tmp_path):
    """A small CPM with random weights."""
    torch.manual_seed(0)
    cfg = tiny_config()
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'tiny.pth')
    return Predictor(cfg, tmp_path / 'tiny.pth')


def read_lines(folder, name='clip'):
    header, *frames = map(json.loads, (folder / f'{name}.jsonl').read_text().splitlines())
    return header, frames


def read_drawn_frames(file):
    """The indices that a drawn video's frames show, and their seconds; it was enlarged by 3."""
    frames = list(VideoReader(file))
    small = [cv2.resize(frame.image, (videos.WIDTH, videos.HEIGHT)) for frame in frames]
    return [videos.decode_frame_number(image) for image in small], [frame.seconds for frame in frames]


@pytest.mark.parametrize('name', [n for n, case in videos.CASES.items() if case.lost_frames is not None])
def test_every_frame_of_any_video_has_a_line_with_its_index_and_a_drawing_at_its_time(tmp_path, name):
    case = videos.CASES[name]
    file = tmp_path / f'clip{case.suffix}'
    file.write_bytes(case.damage(videos.write_video(tmp_path / f'whole{case.suffix}', videos.CODECS[case.suffix])))
    summary = predict_video(FakePredictor(), file, tmp_path / 'clip', options=PredictionOptions(batch_size=7))
    readable = [n for n in range(50) if n not in case.lost_frames]
    frames = read_lines(tmp_path)[1]
    assert [frame['index'] for frame in frames] == readable
    assert [frame['seconds'] for frame in frames] == pytest.approx([n / 25 for n in readable])
    wrong = [f['index'] for f in frames if f['instances'][0]['keypoints'][0][0] != 10 * f['index']]
    assert set(wrong) <= set(case.unreadable_frames)
    drawn, seconds = read_drawn_frames(tmp_path / 'clip_pose.mp4')
    assert seconds == pytest.approx([n / 25 for n in readable], abs=1e-4)
    assert all(a == b for a, b in zip(drawn, readable, strict=True) if b not in case.unreadable_frames)
    assert summary['missing_frames']['count'] == len(case.lost_frames)
    assert summary['damaged_frames']['count'] == len(case.unreadable_frames)


def test_the_first_line_describes_the_others(clip, tmp_path):
    predict_video(
        FakePredictor(),
        clip,
        tmp_path / 'clip',
        options=PredictionOptions(smoother=dict(type='OneEuroSmoother', beta=3), draw_video=False),
    )
    assert read_lines(tmp_path)[0] == {
        'model': 'fake',
        'skeleton': 'pair',
        'centric': 'person',
        'keypoint_names': ['top', 'end'],
        'score_meaning': 'none',
        'file': str(clip),
        'width': 160,
        'height': 120,
        'fps': 25,
        'frame_interval': 1,
        'tracker': None,
        'smoother': {'type': 'OneEuroSmoother', 'beta': 3},
    }
    assert {f.name for f in tmp_path.iterdir()} == {'clip.avi', 'clip.jsonl'}


def test_instances_of_a_video_are_those_of_its_frames_as_images(predictor, clip, tmp_path):
    summary = predict_video(
        predictor, clip, tmp_path / 'clip', options=PredictionOptions(frame_interval=10, batch_size=2)
    )
    images = [frame.image for frame in VideoReader(clip) if frame.index % 10 == 0]
    assert summary['num_instances'] == 1
    for frame, expected in zip(read_lines(tmp_path)[1], predictor(images), strict=True):
        (instance,) = frame['instances']
        assert instance['id'] == 1
        assert np.array(instance['keypoints'])[:, :2] == pytest.approx(expected.keypoints[0], abs=0.01)


@pytest.mark.parametrize('boxes', [None, {}, {n: [[0, 0, 90, 90]] * 3 for n in range(30)}])
def test_only_a_batch_of_frames_is_held_however_many_instances_they_have(predictor, boxes):
    read_indices = []

    def read_frames():
        for index in range(30):
            read_indices.append(index)
            yield VideoFrame(index, index / 25, videos.draw_numbered_frame(index))

    for frame, poses in track_frames(predictor, read_frames(), boxes, PredictionOptions(batch_size=4)):
        assert len(read_indices) - frame.index <= 4
        assert len(poses) == (1 if boxes is None else len(boxes.get(frame.index, [])))


def test_a_run_that_fails_keeps_the_frames_before(clip, tmp_path):
    with pytest.raises(RuntimeError, match='broken'):
        predict_video(
            FakePredictor(fails_at=31), clip, tmp_path / 'clip', options=PredictionOptions(batch_size=1, save_csv=True)
        )
    assert {f.name for f in tmp_path.iterdir()} == {
        'clip.avi', 'clip.jsonl.partial', 'clip.csv.partial', 'clip_pose.partial.mp4'
    }  # fmt: skip
    lines = (tmp_path / 'clip.jsonl.partial').read_text().splitlines()
    assert [json.loads(line)['index'] for line in lines[1:]] == [*range(31)]
    assert read_drawn_frames(tmp_path / 'clip_pose.partial.mp4')[0] == [*range(31)]
    predict_video(FakePredictor(), clip, tmp_path / 'clip', options=PredictionOptions(save_csv=True))
    assert {f.name for f in tmp_path.iterdir()} == {'clip.avi', 'clip.jsonl', 'clip.csv', 'clip_pose.mp4'}


def test_a_first_frame_that_cannot_be_predicted_leaves_nothing_behind(clip, tmp_path):
    with pytest.raises(RuntimeError, match='broken'):
        predict_video(FakePredictor(fails_at=0), clip, tmp_path / 'clip')
    assert [f.name for f in tmp_path.iterdir()] == ['clip.avi']


def test_one_of_n_frames_is_predicted_and_shown_until_the_next(clip, tmp_path):
    predict_video(FakePredictor(), clip, tmp_path / 'clip', options=PredictionOptions(frame_interval=8))
    header, frames = read_lines(tmp_path)
    assert header['frame_interval'] == 8
    assert [frame['index'] for frame in frames] == [0, 8, 16, 24, 32, 40, 48]
    drawn, seconds = read_drawn_frames(tmp_path / 'clip_pose.mp4')
    assert drawn == [0, 8, 16, 24, 32, 40, 48]
    assert seconds == pytest.approx([0.32 * n for n in range(7)])


def test_where_the_nth_frame_is_lost_the_next_one_is_selected():
    frames = [VideoFrame(n, n / 25, np.zeros(0)) for n in range(20) if n not in (0, 10, 11, 15)]
    assert [frame.index for frame in select_frames(frames, 5)] == [1, 5, 12, 16]


def test_boxes_go_to_their_frames_and_instances_have_ids(clip, tmp_path, caplog):
    boxes = {n: [[0, 0, 9, 9]] * 2 for n in (0, 1, 3, 49, 60)}
    with caplog.at_level(logging.WARNING, 'poseplug'):
        summary = predict_video(FakePredictor(), clip, tmp_path / 'clip', boxes)
    frames = [frame for frame in read_lines(tmp_path)[1] if frame['instances']]
    ids = {frame['index']: [instance['id'] for instance in frame['instances']] for frame in frames}
    assert ids == {0: [1, 2], 1: [1, 2], 3: [1, 2], 49: [3, 4]}
    assert summary['num_instances'] == 4
    assert caplog.messages == [f'{clip}: boxes of frames that it does not have: 60']


def test_a_table_has_one_row_per_keypoint_with_the_index_of_its_frame(clip, tmp_path):
    predict_video(
        FakePredictor(finds_instances=True),
        clip,
        tmp_path / 'clip',
        options=PredictionOptions(save_csv=True, draw_video=False),
    )
    rows = list(csv.DictReader((tmp_path / 'clip.csv').read_text().splitlines()))
    assert len(rows) == 50 * 2
    assert tuple(rows[14].values()) == ('7', '0.28', rows[14]['id'], 'top', '70.0', '60.0', '1.0')


def test_smoothed_keypoints_are_drawn_and_written(clip, tmp_path):
    predict_video(
        FakePredictor(),
        clip,
        tmp_path / 'clip',
        options=PredictionOptions(smoother=dict(type='OneEuroSmoother', beta=0)),
    )
    x = np.array([frame['instances'][0]['keypoints'][0][0] for frame in read_lines(tmp_path)[1]])
    assert x[0] == 0
    lag_s = (10 * np.arange(50) - x)[-10:] / 250  # at 10 px a frame, 250 px a second
    assert lag_s == pytest.approx(1 / (2 * np.pi), abs=0.01)


def test_a_video_of_undeclared_length_is_read_to_its_end(tmp_path, capsys):
    images = (cv2.imencode('.jpg', videos.draw_numbered_frame(n))[1].tobytes() for n in range(25))
    (tmp_path / 'clip.mjpg').write_bytes(b''.join(images))
    predict_video(FakePredictor(), tmp_path / 'clip.mjpg', tmp_path / 'clip')
    x = [frame['instances'][0]['keypoints'][0][0] for frame in read_lines(tmp_path)[1]]
    assert x == [10.0 * n for n in range(25)]
    assert 'predicting clip.mjpg 25, ' in capsys.readouterr().err


def test_unreadable_videos_and_boxes_outside_are_reported_before_work(clip, tmp_path):
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(VideoError, match=r'text\.mp4 is no video that can be read'):
        check_video(tmp_path / 'text.mp4', None, 'xywh')
    check_video(clip, {4: [[0, 0, 9, 9]], 5: []}, 'xywh')
    with pytest.raises(AnnotationError, match=r'clip\.avi, frame 4: box 0 .* lies outside the image'):
        check_video(clip, {4: [[900, 0, 9, 9]]}, 'xywh')


def test_a_file_that_cannot_be_written_is_an_error(clip, tmp_path):
    (tmp_path / 'clip.jsonl.partial').mkdir()
    with pytest.raises(ConfigError, match=r'clip\.jsonl\.partial: Is a directory; name another folder for --out'):
        predict_video(FakePredictor(), clip, tmp_path / 'clip')


def test_a_video_that_cannot_be_written_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(VideoError, match=r'drawn\.partial\.mp4: no video of 20x20 px .* \(No such file .*--no-video'):
        VideoWriter(tmp_path / 'absent/drawn', np.zeros((20, 20, 3), np.uint8))


def test_frames_that_do_not_reach_the_disk_are_an_error(tmp_path):
    frame = np.zeros((20, 20, 3), np.uint8)
    writer = VideoWriter(tmp_path / 'drawn', frame)
    for index in range(2):
        writer.write_frame(index / 25, frame)
    writer.num_frames += 1
    with pytest.raises(VideoError, match='2 of 3 frames were written; is the disk full'):
        writer.__exit__(None, None, None)


def test_a_full_disk_is_an_error(tmp_path):
    frame = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    (tmp_path / 'drawn.partial.mp4').symlink_to('/dev/full')

    def write_frames():
        with VideoWriter(tmp_path / 'drawn', frame) as writer:
            for index in range(40):
                writer.write_frame(index / 25, frame)

    with pytest.raises(VideoError, match=r'drawn\.partial\.mp4: no video .*No space left on device'):
        write_frames()


def test_a_drawn_video_of_odd_size_loses_no_column_and_accepts_frames_of_another_size(tmp_path):
    frame = np.zeros((121, 161, 3), np.uint8)
    with VideoWriter(tmp_path / 'drawn', frame) as writer:
        writer.write_frame(0, frame)
        writer.write_frame(0.08, np.full((60, 60, 3), 255, np.uint8))
    assert (writer.size, writer.num_resized, writer.num_frames) == ((162, 122), 1, 2)
    frames = list(VideoReader(writer.file))
    assert [f.image.shape for f in frames] == [(122, 162, 3)] * 2
    assert [int(f.image[61, 81].mean()) > 200 for f in frames] == [False, True]


def test_a_drawn_video_larger_than_h264_allows_is_reduced(tmp_path):
    wide = np.zeros((16, 20_000, 3), np.uint8)
    with VideoWriter(tmp_path / 'wide', wide) as writer:
        writer.write_frame(0, wide)
    assert (writer.size, writer.num_resized) == ((8192, 8), 1)


def test_a_drawn_video_is_what_browsers_play(tmp_path):
    """H.264 with a color sample for 2 x 2 pixels, in an MP4 file whose index is before the frames."""
    colors = np.zeros((48, 64, 3), np.uint8)
    colors[:, :32], colors[:, 32:] = (200, 30, 20), (20, 60, 220)
    with VideoWriter(tmp_path / 'drawn', colors) as writer:
        for index in range(30):
            writer.write_frame(index / 25, colors)
    assert writer.encoder == 'libx264'
    data = writer.file.read_bytes()
    assert 0 < data.index(b'moov') < data.index(b'mdat')
    with av.open(str(writer.file)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ('h264', 'yuv420p')
        assert stream.average_rate == 25
    image = next(iter(VideoReader(writer.file))).image.astype(int)
    assert np.abs(image[4:-4, 4:28] - colors[4:-4, 4:28]).max() < 12
    assert np.abs(image[4:-4, 36:-4] - colors[4:-4, 36:-4]).max() < 12


def test_without_an_encoder_of_h264_the_video_is_mpeg4_and_a_warning_says_so(tmp_path, monkeypatch, caplog):
    create = av.CodecContext.create

    def create_other(name, mode):
        if 'h264' in name or '264' in name:
            raise av.codec.codec.UnknownCodecError(name)
        return create(name, mode)

    monkeypatch.setattr(av, 'CodecContext', SimpleNamespace(create=create_other))
    frame = np.zeros((20, 20, 3), np.uint8)
    with VideoWriter(tmp_path / 'drawn', frame) as writer:
        writer.write_frame(0, frame)
    assert writer.encoder == 'mpeg4'
    assert 'PyAV has no H.264 encoder here; the video is MPEG-4 (mpeg4), which browsers do not play' in caplog.text
    assert len(list(VideoReader(writer.file))) == 1


# --- times and sound --------------------------------------------------------------------------------------------------


def write_clip_with_sound(path, encoder, rate=44_100, start=0.0, num_channels=2):
    """A video of 2 s whose sound is silent but for the second from 0.5 to 1.5 s."""
    with av.open(str(path), 'w') as container:
        video = container.add_stream('libvpx' if path.suffix == '.webm' else 'mpeg4', rate=25)
        video.width, video.height, video.pix_fmt = videos.WIDTH, videos.HEIGHT, 'yuv420p'
        sound = container.add_stream(encoder, rate=rate, layout='stereo' if num_channels == 2 else 'mono')
        wave = 8000 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
        wave[: rate // 2], wave[3 * rate // 2 :] = 0, 0
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(videos.draw_numbered_frame(number), format='bgr24')
            frame.pts = number + round(25 * start)
            container.mux(video.encode(frame))
            samples = wave[number * rate // 25 : (number + 1) * rate // 25].astype(np.int16)
            packed = np.repeat(samples, num_channels)[None]
            audio = av.AudioFrame.from_ndarray(packed, format='s16', layout=sound.layout.name)
            audio.sample_rate, audio.pts = rate, number * rate // 25 + round(rate * start)
            container.mux(sound.encode(audio))
        for stream in (video, sound):
            container.mux(stream.encode(None))
    return path


def find_loud_times(path):
    """From when to when the sound of a file is loud, in s."""
    with av.open(str(path)) as container:
        loud = []
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().astype(float)
            samples = samples.reshape(-1, frame.layout.nb_channels) if samples.shape[0] == 1 else samples.T
            is_loud = np.abs(samples[:, 0]) > 0.05 * (32768 if np.abs(samples).max() > 2 else 1)
            loud += (frame.time + np.flatnonzero(is_loud) / frame.sample_rate).tolist()
    return min(loud), max(loud)


@pytest.mark.parametrize(('name', 'encoder', 'rate', 'sound'), [
    ('clip.mp4', 'aac', 44_100, 'aac'), ('clip.avi', 'libmp3lame', 44_100, 'mp3'),
    ('clip.mkv', 'libopus', 48_000, 'opus'), ('clip.webm', 'libopus', 48_000, 'opus'),
    ('clip.ts', 'aac', 48_000, 'aac'), ('clip.mkv', 'flac', 44_100, 'flac'), ('clip.mov', 'pcm_s16le', 44_100, 'aac'),
    ('clip.avi', 'pcm_s16le', 11_000, 'aac'), ('clip.mkv', 'ac3', 48_000, 'aac'),
])  # fmt: skip
def test_a_drawn_video_keeps_the_sound_at_its_time(tmp_path, name, encoder, rate, sound):
    write_clip_with_sound(tmp_path / name, encoder, rate, start=2.0 if name.endswith('mkv') else 0.0)
    summary = predict_video(FakePredictor(), tmp_path / name, tmp_path / 'drawn')
    assert (summary['video']['sound'], summary['video']['num_frames']) == (sound, 50)
    drawn, seconds = read_drawn_frames(tmp_path / 'drawn_pose.mp4')
    assert drawn == [*range(50)]
    source = [frame.seconds for frame in VideoReader(tmp_path / name)]
    assert np.array(seconds) - seconds[0] == pytest.approx(np.array(source) - source[0], abs=1e-4)
    first, last = find_loud_times(tmp_path / 'drawn_pose.mp4')
    assert first - seconds[0] == pytest.approx(0.5, abs=0.06)
    assert last - seconds[0] == pytest.approx(1.5, abs=0.06)


def test_one_of_n_frames_keeps_the_whole_sound(tmp_path):
    write_clip_with_sound(tmp_path / 'clip.mp4', 'aac', num_channels=1)
    predict_video(FakePredictor(), tmp_path / 'clip.mp4', tmp_path / 'drawn', options=PredictionOptions(10))
    assert read_drawn_frames(tmp_path / 'drawn_pose.mp4')[0] == [0, 10, 20, 30, 40]
    assert find_loud_times(tmp_path / 'drawn_pose.mp4') == pytest.approx((0.5, 1.5), abs=0.06)


def test_sound_that_cannot_be_copied_is_left_out_with_a_warning(tmp_path, monkeypatch, caplog):
    write_clip_with_sound(tmp_path / 'clip.mp4', 'aac')

    def fail(*_):
        raise ValueError('broken')

    monkeypatch.setattr('poseplug.predict.video_sound.SoundCopier.write_until', fail)
    summary = predict_video(FakePredictor(), tmp_path / 'clip.mp4', tmp_path / 'drawn')
    assert summary['video']['sound'] is None
    assert 'drawn_pose.mp4: the sound cannot be copied (broken)' in caplog.text
    assert read_drawn_frames(tmp_path / 'drawn_pose.mp4')[0] == [*range(50)]


def test_a_drawn_video_of_a_variable_rate_shows_every_frame_at_its_time(tmp_path):
    times = np.cumsum(np.random.default_rng(1).integers(5, 200, 50)) / 1000
    videos.mux_video(tmp_path / 'clip.mkv', 'mpeg4', times, ticks_per_second=1000)
    predict_video(FakePredictor(), tmp_path / 'clip.mkv', tmp_path / 'clip')
    assert [frame['seconds'] for frame in read_lines(tmp_path)[1]] == pytest.approx(list(times))
    drawn, seconds = read_drawn_frames(tmp_path / 'clip_pose.mp4')
    assert drawn == [*range(50)]
    assert np.array(seconds) - seconds[0] == pytest.approx(times - times[0], abs=1e-4)


def test_an_animated_image_is_predicted_as_a_clip(tmp_path):
    images = [Image.fromarray(videos.draw_numbered_frame(n)[..., ::-1].copy()) for n in range(6)]
    images[0].save(
        tmp_path / 'clip.webp', save_all=True, append_images=images[1:], duration=[50, 250] * 3, lossless=True
    )
    assert is_video(tmp_path / 'clip.webp')
    summary = predict_video(FakePredictor(), tmp_path / 'clip.webp', tmp_path / 'clip')
    assert [frame['seconds'] for frame in read_lines(tmp_path)[1]] == pytest.approx([0, 0.05, 0.3, 0.35, 0.6, 0.65])
    assert read_drawn_frames(tmp_path / 'clip_pose.mp4') == (
        [*range(6)],
        pytest.approx([0, 0.05, 0.3, 0.35, 0.6, 0.65]),
    )
    assert (summary['num_frames'], summary['video']['sound']) == (6, None)
