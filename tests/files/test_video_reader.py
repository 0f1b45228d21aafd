"""Video reading: every frame has its number and its true time, and what cannot be read is reported."""

import contextlib
import logging
import os
import struct
import sys

import av
import cv2
import numpy as np
import pytest

from poseplug.core.errors import VideoError
from poseplug.files.video_decoding import rotate_upright
from poseplug.files.video_reader import VIDEO_SUFFIXES, VideoReader, format_ranges
from tests.reliability import videos

JITTER = np.cumsum(np.random.default_rng(0).integers(20, 80, 50)) / 1000  # of a variable frame rate, in s


def read_numbers(path):
    """The frames' indices, the numbers drawn into them, and their seconds."""
    frames = list(VideoReader(path))
    assert [f.index for f in frames] == sorted({f.index for f in frames})
    return (
        [f.index for f in frames],
        [videos.decode_frame_number(f.image) for f in frames],
        [f.seconds for f in frames],
    )


def assert_whole(path, seconds=None):
    indices, numbers, times = read_numbers(path)
    assert indices == numbers == [*range(50)]
    assert times == pytest.approx([n / 25 for n in range(50)] if seconds is None else list(seconds), abs=0.0006)


@pytest.mark.parametrize('name', videos.CASES)
def test_every_frame_of_a_spoiled_video_keeps_its_number(tmp_path, name):
    assert videos.find_fault(videos.CASES[name], tmp_path) == ''


def test_lost_frames_are_reported_in_one_warning(tmp_path, caplog):
    case = videos.CASES['3,000 zeros over the head of a frame']
    (tmp_path / 'video.avi').write_bytes(case.damage(videos.write_video(tmp_path / 'whole.avi', 'MJPG')))
    with caplog.at_level(logging.WARNING, 'poseplug'):
        frames = list(VideoReader(tmp_path / 'video.avi'))
    assert [f'{tmp_path}/video.avi: 2 of 50 frames cannot be read: 24-25'] == caplog.messages
    assert [frame.seconds for frame in frames[23:25]] == pytest.approx([23 / 25, 26 / 25])


def test_frames_that_are_decoded_in_spite_of_damage_are_reported(tmp_path, caplog):
    case = videos.CASES['MPEG-4 with 3,000 zeros']
    (tmp_path / 'a.mp4').write_bytes(case.damage(videos.write_video(tmp_path / 'whole.mp4', 'mp4v')))
    video = VideoReader(tmp_path / 'a.mp4')
    with caplog.at_level(logging.WARNING, 'poseplug'):
        assert [frame.index for frame in video] == [n for n in range(50) if n != 23]
    assert (video.num_frames, video.missing_frames, video.damaged_frames) == (50, [23], [22])
    assert '1 of 50 frames are damaged, and their content may be wrong: 22' in caplog.text


def test_a_video_can_be_read_twice(tmp_path):
    videos.write_video(tmp_path / 'a.mp4', 'mp4v')
    video = VideoReader(tmp_path / 'a.mp4')
    first, again = ([frame.index for frame in video] for _ in range(2))
    assert first == again == [*range(50)]


def test_a_missing_video_is_an_error_that_names_it(tmp_path):
    with pytest.raises(VideoError, match=r'a.mp4: no such video'):
        VideoReader(tmp_path / 'a.mp4')


# --- numbers and times ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('encoder', 'options'), [
    ('libx264', {'bf': 3}), ('libx264', {'bf': 0}), ('mpeg4', {'bf': 2}), ('mpeg4', {}), ('mjpeg', {}),
    ('msmpeg4v3', {}),
])  # fmt: skip
def test_an_avi_file_with_frames_stored_out_of_order_is_numbered_as_it_is_shown(tmp_path, encoder, options):
    pix_fmt = 'yuvj420p' if encoder == 'mjpeg' else 'yuv420p'
    videos.mux_video(tmp_path / 'a.avi', encoder, pix_fmt=pix_fmt, **options)
    assert_whole(tmp_path / 'a.avi')


@pytest.mark.parametrize(('name', 'encoder'), [
    ('a.mp4', 'libx264'), ('a.mkv', 'libx264'), ('a.mov', 'mpeg4'), ('a.webm', 'libvpx'), ('b.webm', 'libvpx-vp9'),
    ('a.ts', 'libx264'), ('a.wmv', 'wmv2'), ('a.flv', 'flv'),
])  # fmt: skip
def test_frames_of_a_variable_rate_have_their_own_times(tmp_path, name, encoder):
    videos.mux_video(tmp_path / name, encoder, JITTER, ticks_per_second=1000)
    start = VideoReader(tmp_path / name).start_seconds
    assert_whole(tmp_path / name, JITTER - JITTER[0] + read_numbers(tmp_path / name)[2][0])
    assert 0 <= start < 3


@pytest.mark.parametrize(
    ('name', 'encoder'), [('a.mpg', 'mpeg2video'), ('b.mpg', 'mpeg1video'), ('a.m2ts', 'mpeg2video')]
)
def test_mpeg_streams_with_frames_out_of_order_are_read_as_shown(tmp_path, name, encoder):
    videos.mux_video(tmp_path / name, encoder, bf=2)
    indices, numbers, times = read_numbers(tmp_path / name)
    assert indices == numbers == [*range(50)]
    # FFmpeg's writer stamps two frames of a group of pictures a little early, and they must rise all the same.
    assert np.array(times) - times[0] == pytest.approx(np.arange(50) / 25, abs=0.06)


@pytest.mark.parametrize(('name', 'encoder'), [
    ('a.3gp', 'mpeg4'), ('a.mts', 'libx264'), ('a.m2ts', 'libx264'), ('a.vob', 'mpeg2video'), ('a.ogv', 'libvpx'),
    ('a.asf', 'wmv2'), ('a.mxf', 'mpeg2video'), ('a.h264', 'libx264'),
])  # fmt: skip
def test_files_of_phones_and_cameras_are_videos(tmp_path, name, encoder):
    videos.mux_video(tmp_path / name, encoder)
    assert (tmp_path / name).suffix in VIDEO_SUFFIXES
    indices, numbers, _ = read_numbers(tmp_path / name)
    assert indices == numbers == [*range(50)]


@pytest.mark.parametrize(('name', 'encoder'), [('a.h264', 'libx264'), ('a.m4v', 'mpeg4'), ('a.mjpg', 'mjpeg')])
def test_a_stream_without_a_container_has_the_times_of_its_rate(tmp_path, name, encoder):
    pix_fmt = 'yuvj420p' if encoder == 'mjpeg' else 'yuv420p'
    videos.mux_video(tmp_path / name, encoder, pix_fmt=pix_fmt)
    assert_whole(tmp_path / name)


def test_a_recording_without_rate_and_duration_has_times_and_no_rate(tmp_path):
    """As browsers write them: a live WebM has neither a duration nor cues."""
    with av.open(str(tmp_path / 'a.webm'), 'w', options={'live': '1'}) as container:
        stream = container.add_stream('libvpx', rate=1000)
        stream.width, stream.height, stream.pix_fmt = videos.WIDTH, videos.HEIGHT, 'yuv420p'
        for number, time in enumerate(JITTER):
            frame = av.VideoFrame.from_ndarray(videos.draw_numbered_frame(number), format='bgr24')
            frame.pts = round(1000 * time)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = VideoReader(tmp_path / 'a.webm')
    assert (video.fps, video.declared_frames) == (None, 0)
    assert_whole(tmp_path / 'a.webm', JITTER)


def test_of_several_video_streams_the_first_one_is_read(tmp_path):
    with av.open(str(tmp_path / 'a.mkv'), 'w') as container:
        streams = [container.add_stream('mpeg4', rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = videos.WIDTH, videos.HEIGHT, 'yuv420p'
        for number in range(100):
            image = videos.draw_numbered_frame(number // 2 if number % 2 == 0 else 200)
            container.mux(streams[number % 2].encode(av.VideoFrame.from_ndarray(image, format='bgr24')))
        for stream in streams:
            container.mux(stream.encode(None))
    assert_whole(tmp_path / 'a.mkv')


def remux(source, target, change=lambda packet, number: packet, **options):
    """Copy the packets of a video, each as `change` returns it; None leaves one out."""
    with av.open(str(source)) as container, av.open(str(target), 'w', **options) as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            packet = change(packet, number)
            if packet is not None:
                packet.stream = stream
                output.mux(packet)
    return target


def shift_times(seconds):
    def change(packet, _):
        ticks = round(seconds / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return packet

    return change


@pytest.mark.parametrize('seconds', [-0.4, 0.8])
def test_an_edit_list_hides_frames_or_starts_later(tmp_path, seconds, caplog):
    """A cut or shifted MP4 file whose packets are all there; players show what the list says."""
    whole = videos.mux_video(tmp_path / 'whole.mp4', bf=2)
    remux(whole, tmp_path / 'a.mp4', shift_times(seconds), container_options={'avoid_negative_ts': 'disabled'})
    indices, numbers, times = read_numbers(tmp_path / 'a.mp4')
    first = 10 if seconds < 0 else 0
    assert indices == [*range(50 - first)]
    assert numbers == [*range(first, 50)]
    assert times == pytest.approx([n / 25 + seconds for n in range(first, 50)])
    assert not caplog.messages


def test_recordings_joined_without_new_times_go_on_in_time(tmp_path, caplog):
    """Chapters of a camcorder, one copied behind the other: the time stamps start anew in the middle."""
    part = videos.mux_video(tmp_path / 'part.ts').read_bytes()
    (tmp_path / 'a.ts').write_bytes(part + part)
    frames = list(VideoReader(tmp_path / 'a.ts'))
    assert len(frames) == 100
    assert np.diff([f.seconds for f in frames]) == pytest.approx(np.full(99, 0.04), abs=0.002)
    assert '1 frames are not later than the frame before by their time stamps' in caplog.text


def test_equal_time_stamps_become_times_that_rise(tmp_path, caplog):
    def repeat_time(packet, number):
        if number == 20:
            packet.pts, packet.dts = packet.pts - 40, packet.dts - 40
        return packet

    whole = videos.mux_video(tmp_path / 'whole.mkv', 'mjpeg', pix_fmt='yuvj420p', ticks_per_second=1000)
    remux(whole, tmp_path / 'a.mkv', repeat_time)
    indices, _, times = read_numbers(tmp_path / 'a.mkv')
    assert indices == [*range(50)]
    assert times[19:22] == pytest.approx([0.76, 0.78, 0.84])


def test_a_chunk_without_content_is_no_missing_frame(tmp_path, caplog):
    """In AVI, an empty chunk shows the frame before once more; a camera writes it for a frame that it dropped."""
    videos.mux_video(tmp_path / 'a.avi', 'mjpeg', [n / 25 for n in range(60) if n % 6 < 5], 'yuvj420p')
    indices, numbers, times = read_numbers(tmp_path / 'a.avi')
    assert indices == numbers == [*range(50)]
    assert times == pytest.approx([n / 25 for n in range(60) if n % 6 < 5])
    assert not caplog.messages


def test_an_interlaced_frame_is_one_image_of_full_height(tmp_path):
    videos.mux_video(tmp_path / 'a.avi', 'mpeg2video', flags='+ilme+ildct')
    assert next(iter(VideoReader(tmp_path / 'a.avi'))).image.shape == (videos.HEIGHT, videos.WIDTH, 3)
    assert_whole(tmp_path / 'a.avi')


def test_two_frames_packed_into_the_last_chunk_are_both_read(tmp_path):
    """As DivX and Xvid write AVI: a B-frame shares the chunk of the frame before, and an empty one fills its place."""
    videos.mux_video(tmp_path / 'plain.avi', 'mpeg4', [n / 25 for n in range(49)], bf=1, b_strategy=0)
    with av.open(str(tmp_path / 'plain.avi')) as container, av.open(str(tmp_path / 'a.avi'), 'w') as output:
        source = container.streams.video[0]
        chunks = [bytes(packet) for packet in container.demux(source) if packet.size]
        start = b'\x00\x00\x01\xb6'
        chunks[0] = chunks[0].replace(start, b'\x00\x00\x01\xb2DivX503b1393p' + start, 1)
        is_b_frame = [chunk[chunk.index(start) + 4] >> 6 == 2 for chunk in chunks]
        packed = [chunks[0]]
        for chunk, follows in zip(chunks[1:], is_b_frame[1:], strict=True):
            if follows:
                packed[-1] += chunk
                packed.append(start + b'\x51\x4f')
            else:
                packed.append(chunk)
        assert packed[-1] == start + b'\x51\x4f'
        stream = output.add_stream_from_template(source)
        for number, data in enumerate(packed[:-1]):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = source.time_base, stream
            output.mux(packet)
    indices, numbers, _ = read_numbers(tmp_path / 'a.avi')
    assert indices == numbers == [*range(49)]


# --- the image --------------------------------------------------------------------------------------------------------

UPRIGHT = {
    (1, 0, 0, 1): lambda image: image,
    (0, 1, -1, 0): lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    (-1, 0, 0, -1): lambda image: cv2.rotate(image, cv2.ROTATE_180),
    (0, -1, 1, 0): lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
}


@pytest.mark.parametrize('matrix', UPRIGHT)
def test_a_rotated_or_flipped_video_is_turned_upright(tmp_path, matrix):
    """By each point: x' = a x + c y, y' = b x + d y."""
    data = bytearray(videos.write_video(tmp_path / 'a.mp4', 'mp4v'))
    stored = next(iter(VideoReader(tmp_path / 'a.mp4'))).image
    offset = data.find(b'tkhd') + 44  # of the track's head (ISO/IEC 14496-12, 8.3.2)
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into('>9i', data, offset, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / 'b.mp4').write_bytes(data)
    upright = next(iter(VideoReader(tmp_path / 'b.mp4'))).image
    assert np.array_equal(upright, UPRIGHT[matrix](stored))
    assert upright.flags.c_contiguous
    y, x = np.mgrid[:2, :3]
    points = np.stack([matrix[0] * x + matrix[2] * y, matrix[1] * x + matrix[3] * y], -1)
    points -= points.min(axis=(0, 1))
    small = np.random.default_rng(0).integers(0, 255, (2, 3, 3), dtype=np.uint8)
    rotated = rotate_upright(small, (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    assert all((rotated[points[v, u, 1], points[v, u, 0]] == small[v, u]).all() for v in range(2) for u in range(3))


@pytest.mark.parametrize('pix_fmt', ['yuv420p', 'yuv422p', 'yuv444p', 'yuv420p10le'])
def test_any_pixel_format_becomes_bgr_bytes(tmp_path, pix_fmt):
    videos.mux_video(tmp_path / 'a.mp4', pix_fmt=pix_fmt)
    assert_whole(tmp_path / 'a.mp4')


@pytest.mark.parametrize('width', [162, 334])  # rows that FFmpeg pads
def test_rows_of_any_width_are_whole(tmp_path, width):
    image = np.random.default_rng(0).integers(0, 255, (50, width, 3), dtype=np.uint8)
    with av.open(str(tmp_path / 'a.avi'), 'w') as container:
        stream = container.add_stream('ffv1', rate=25)
        stream.width, stream.height, stream.pix_fmt = width, 50, 'bgr0'
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='bgr24')))
        container.mux(stream.encode(None))
    frame = next(iter(VideoReader(tmp_path / 'a.avi')))
    assert np.array_equal(frame.image, image)
    assert frame.image.flags.c_contiguous
    assert frame.image.flags.writeable


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['vid\udce9o.mp4', 'http:x.mp4', 'a%03d.mp4', 'видео 1.mp4', 'concat:a|b.mp4'])
def test_a_video_of_any_name_is_read(tmp_path, monkeypatch, name):
    if sys.platform == 'win32' or os.fsencode(name).decode('utf-8', 'surrogateescape') != name:
        pytest.skip('this file system does not have such names')
    data = videos.mux_video(tmp_path / 'a.mp4').read_bytes()
    monkeypatch.chdir(tmp_path)
    with open(name, 'wb') as file:
        file.write(data)
    assert_whole(name)


def test_a_playlist_that_calls_itself_a_video_is_refused(tmp_path):
    """It could name any file or address."""
    videos.mux_video(tmp_path / 'part.ts')
    playlist = '#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\npart.ts\n#EXT-X-ENDLIST\n'
    (tmp_path / 'a.mp4').write_text(playlist)
    (tmp_path / 'b.mp4').write_text('ffconcat version 1.0\nfile part.ts\n')
    for name in ('a.mp4', 'b.mp4'):
        with pytest.raises(VideoError, match=rf'{name} is no video that can be read'):
            VideoReader(tmp_path / name)


def test_a_file_of_sound_alone_is_refused(tmp_path):
    with av.open(str(tmp_path / 'a.m4a'), 'w') as container:
        stream = container.add_stream('aac', rate=44100, layout='mono')
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format='fltp', layout='mono')
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r'a\.m4a has no video stream that can be decoded'):
        VideoReader(tmp_path / 'a.m4a')


@pytest.mark.parametrize('threads', [1, 2])  # x264 writes other files with one thread, cut in frames of other kinds
def test_a_file_that_ends_early_is_reported(tmp_path, caplog, threads):
    """Of MP4 the index tells the lost frames; of Matroska only the stated duration is known."""
    whole = videos.mux_video(tmp_path / 'whole.mp4', threads=threads)
    data = remux(whole, tmp_path / 'a.mp4', container_options={'movflags': 'faststart'}).read_bytes()
    (tmp_path / 'a.mp4').write_bytes(data[: len(data) // 2])
    video = VideoReader(tmp_path / 'a.mp4')
    indices = [frame.index for frame in video]
    assert 10 < len(indices) < 40
    assert video.num_frames == 50
    assert indices == [*range(len(indices))]
    assert video.missing_frames == [*range(len(indices), 50)]
    data = videos.mux_video(tmp_path / 'a.mkv').read_bytes()
    for fraction in (0.33, 0.9):  # the last 5 of 50 frames, 0.2 s, are enough
        (tmp_path / 'a.mkv').write_bytes(data[: int(len(data) * fraction)])
        caplog.clear()
        list(VideoReader(tmp_path / 'a.mkv'))
        assert 'but the file states 2.00 s; is it complete?' in caplog.text


@pytest.mark.parametrize(('encoder', 'suffix', 'options'), [
    ('libx264', '.mp4', {'threads': 1}), ('libx264', '.mkv', {}), ('libx264', '.ts', {}), ('libx264', '.flv', {}),
    ('mpeg4', '.avi', {'bf': 2}), ('mpeg2video', '.ts', {'bf': 2}), ('libvpx-vp9', '.mp4', {}),
])  # fmt: skip
def test_wherever_a_file_is_cut_no_frame_has_the_number_of_another(tmp_path, encoder, suffix, options):
    """A frame that refers to later ones is stored behind them: a cut between the two leaves a gap before the later."""
    whole = videos.mux_video(tmp_path / f'whole{suffix}', encoder, **options)
    if suffix == '.mp4':
        whole = remux(whole, tmp_path / 'a.mp4', container_options={'movflags': 'faststart'})
    data = whole.read_bytes()
    (tmp_path / f'a{suffix}').write_bytes(data)
    numbers_by_index = {f.index: videos.decode_frame_number(f.image) for f in VideoReader(tmp_path / f'a{suffix}')}
    assert numbers_by_index == {n: n for n in range(50)}
    num_read = []
    for size in np.linspace(0.5 * len(data), 0.999 * len(data), 14).astype(int):
        (tmp_path / f'b{suffix}').write_bytes(data[:size])
        video = VideoReader(tmp_path / f'b{suffix}')
        frames = {frame.index: videos.decode_frame_number(frame.image) for frame in video}
        num_read.append(len(frames))
        wrong = {index for index, number in frames.items() if number != index}
        assert wrong <= {*video.damaged_frames}, (size, frames)
    # What is left out at a cut is a few frames, not the file.
    assert num_read == sorted(num_read)
    assert num_read[0] < 40 < 44 <= num_read[-1]


def test_a_pause_before_the_last_frames_loses_none(tmp_path):
    """The index of MP4 tells a pause from a loss."""
    seconds = [n / 25 for n in range(48)] + [3.0, 5.0]
    frames = list(VideoReader(videos.mux_video(tmp_path / 'a.mp4', seconds=seconds)))
    assert [videos.decode_frame_number(frame.image) for frame in frames] == [*range(50)]
    assert [frame.seconds for frame in frames] == pytest.approx(seconds)


def test_a_stream_of_another_codec_that_lost_a_frame_reports_it(tmp_path):
    data = bytearray(videos.write_video(tmp_path / 'a.avi', 'mp4v'))
    headers = [i for i in range(data.find(b'movi'), len(data)) if data[i : i + 4] == b'00dc']
    data[headers[20] : headers[20] + 8] = bytes(8)
    (tmp_path / 'a.avi').write_bytes(data)
    video = VideoReader(tmp_path / 'a.avi')
    assert [frame.index for frame in video] == [n for n in range(50) if n != 20]
    assert video.missing_frames == [20]


def test_spoiled_containers_are_read_or_refused(tmp_path):
    """60 files with up to 20 bytes changed in header and index."""
    rng = np.random.default_rng(0)
    for suffix, codec in videos.CODECS.items():
        data = videos.write_video(tmp_path / f'a{suffix}', codec)
        for _ in range(30):
            spoiled = bytearray(data)
            for offset in rng.integers(0, 5000, rng.integers(1, 20)):
                spoiled[offset if rng.random() < 0.5 else -offset - 1] = rng.integers(256)
            (tmp_path / f'b{suffix}').write_bytes(spoiled)
            with contextlib.suppress(VideoError):
                video = VideoReader(tmp_path / f'b{suffix}')
                indices = [frame.index for frame in video]
                assert indices == sorted(set(indices))
                assert video.num_frames == len(indices) + len(video.missing_frames)


def test_reading_holds_one_frame_however_long_the_video_is(tmp_path):
    frames = iter(VideoReader(videos.mux_video(tmp_path / 'a.mp4')))
    first = next(frames)
    second = next(frames)
    assert not np.shares_memory(first.image, second.image)
    assert videos.decode_frame_number(first.image) == 0
    frames.close()


@pytest.mark.parametrize(('numbers', 'text'), [
    ([3], '3'), ([3, 7, 8, 9], '3, 7-9'), ([*range(0, 40, 2)], '0, 2, 4, 6, 8, 10, 12, 14, ... and 12 more'),
])  # fmt: skip
def test_consecutive_numbers_are_formatted_as_a_range(numbers, text):
    assert format_ranges(numbers) == text
