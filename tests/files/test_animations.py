"""Animated images as clips: every frame whole, with its number and time."""

import numpy as np
import pytest
from PIL import Image

from poseplug.core.errors import VideoError
from poseplug.files.animations import AnimationReader, is_animation, open_clip
from poseplug.files.video_reader import VideoReader
from tests.reliability import videos

DELAYS_MS = [40, 120, 80, 200, 40, 60, 100, 40]


def write_animation(path, delays=DELAYS_MS):
    frames = [Image.fromarray(videos.draw_numbered_frame(n)[..., ::-1].copy()) for n in range(len(delays))]
    settings = {'format': 'PNG'} if path.suffix == '.apng' else {}
    if path.suffix == '.webp':
        settings = {'lossless': True}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=list(delays), loop=0, **settings)
    return path


@pytest.mark.parametrize('suffix', ['.gif', '.webp', '.apng'])
def test_an_animated_image_has_its_frames_at_their_times(tmp_path, suffix):
    file = write_animation(tmp_path / f'a{suffix}')
    assert is_animation(file)
    clip = open_clip(file)
    frames = list(clip)
    assert [f.index for f in frames] == [videos.decode_frame_number(f.image) for f in frames] == [*range(8)]
    assert [f.seconds for f in frames] == pytest.approx(np.cumsum([0, *DELAYS_MS[:-1]]) / 1000)
    assert (clip.num_frames, clip.missing_frames, clip.has_sound) == (8, [], False)
    if suffix != '.gif':  # which has 256 colors
        assert np.array_equal(frames[3].image, videos.draw_numbered_frame(3))


def test_a_delay_of_zero_is_a_tenth_of_a_second_as_in_browsers(tmp_path):
    file = write_animation(tmp_path / 'a.gif', [0, 0, 50, 10])
    assert [f.seconds for f in AnimationReader(file)] == pytest.approx([0, 0.1, 0.2, 0.25])


def test_still_images_and_other_files_are_no_clips(tmp_path):
    for name in ('a.gif', 'a.webp', 'a.png'):
        Image.new('RGB', (20, 20)).save(tmp_path / name)
        assert not is_animation(tmp_path / name)
    (tmp_path / 'b.gif').write_bytes(b'GIF89a, it says')
    assert not is_animation(tmp_path / 'b.gif')
    assert not is_animation(tmp_path / 'absent.webp')
    videos.write_video(tmp_path / 'a.mp4', 'mp4v')
    assert isinstance(open_clip(tmp_path / 'a.mp4'), VideoReader)


def test_transparent_parts_are_black_and_frames_that_change_a_part_are_whole(tmp_path):
    frames = [Image.new('RGBA', (40, 30), (200, 0, 0, 255)) for _ in range(3)]
    frames[1].paste((0, 0, 250, 255), (5, 5, 15, 15))
    frames[2].paste((0, 0, 0, 0), (20, 0, 40, 30))
    frames[0].save(tmp_path / 'a.webp', save_all=True, append_images=frames[1:], duration=100, lossless=True)
    _, second, third = (frame.image for frame in AnimationReader(tmp_path / 'a.webp'))
    assert second[10, 10].tolist() == [250, 0, 0]
    assert second[20, 30].tolist() == [0, 0, 200]
    assert third[20, 30].tolist() == [0, 0, 0]


@pytest.mark.parametrize('suffix', ['.gif', '.apng'])
def test_frames_behind_damage_are_reported(tmp_path, caplog, suffix):
    file = write_animation(tmp_path / f'a{suffix}')
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    clip = AnimationReader(file)
    count = len(list(clip))
    assert 0 < count < 8
    assert clip.num_frames == count + len(clip.missing_frames)


def test_a_damaged_animation_is_an_error_that_names_it(tmp_path):
    (tmp_path / 'b.gif').write_bytes(b'GIF89a, it says')
    with pytest.raises(VideoError, match=r'b\.gif is no animated image that can be read'):
        AnimationReader(tmp_path / 'b.gif')
