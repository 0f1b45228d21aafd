"""Files of SLEAP and HDF5 tables of DeepLabCut, written here as those programs write them."""

import json

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.convert import convert_labels, read_labels
from poseplug.files.pandas_table import parse_pickled_names
from tests.data.formats import label_files
from tests.data.formats.label_files import GECKOS, KEYPOINTS

h5py = pytest.importorskip('h5py', reason='reads HDF5: pip install poseplug[hdf5]')

_EDGE, _SYMMETRY = 1, 2


def write_sleap(path, format_id=1.1, embedded=True, channel_order=''):
    """Write the geckos as SLEAP does, with the frames in the file."""
    reduce = [{'py/type': 'sleap.skeleton.EdgeType'}]
    links = [
        dict(source=3, target=0, edge_insert_idx=0, type={'py/reduce': [*reduce, {'py/tuple': [_EDGE]}]}),
        dict(source=1, target=2, type={'py/reduce': [*reduce, {'py/tuple': [_SYMMETRY]}]}),
        dict(source=0, target=1, edge_insert_idx=1, type={'py/id': 1}),
    ]
    # The nodes of the file come in another order than those of the skeleton.
    nodes = [dict(name=KEYPOINTS[i]) for i in (0, 1, 2, 3)]
    skeleton = dict(graph=dict(name='gecko'), links=links, nodes=[dict(id=i) for i in (3, 2, 1, 0)])
    frames, instances, points = [], [], []
    for i, geckos in enumerate(GECKOS.values()):
        start = len(instances)
        for _, keypoints in geckos:
            rows = [keypoints[k] for k in (3, 2, 1, 0)]
            first = len(points)
            points += [(x, y, flag == 2, True) if flag else (np.nan, np.nan, False, False) for x, y, flag in rows]
            instances.append((len(instances), 0, i, 0, -1, -1, np.nan, first, len(points), 0))
        frames.append((i, 0, 10 * i, start, len(instances)))
    instances.append((len(instances), 1, 1, 0, -1, -1, 0.9, 0, 4, 0))
    frames[1] = (1, 0, 10, 2, len(instances))
    frame_type = [(n, 'u8') for n in ('frame_id', 'video', 'frame_idx', 'instance_id_start', 'instance_id_end')]
    instance_type = [
        ('instance_id', 'i8'), ('instance_type', 'u1'), ('frame_id', 'u8'), ('skeleton', 'u4'), ('track', 'i4'),
        ('from_predicted', 'i8'), ('score', 'f4'), ('point_id_start', 'u8'), ('point_id_end', 'u8'),
        ('tracking_score', 'f4'),
    ]  # fmt: skip
    point_type = [('x', 'f8'), ('y', 'f8'), ('visible', '?'), ('complete', '?')]
    with h5py.File(path, 'w') as file:
        metadata = file.create_group('metadata')
        metadata.attrs['format_id'] = format_id
        metadata.attrs['json'] = json.dumps(dict(version='2.0.0', nodes=nodes, skeletons=[skeleton]))
        file['videos_json'] = [json.dumps(dict(backend=dict(filename='clips/walk.mp4')))]
        file['frames'] = np.array(frames, frame_type)
        file['instances'] = np.array(instances, instance_type)
        file['points'] = np.array(points, point_type)
        if embedded:
            label_files.write_images(path.parent / 'frames')
            kind = h5py.vlen_dtype(np.int8)
            images = file.create_dataset('video0/video', (2,), kind)
            for i, name in enumerate(GECKOS):
                pixels = cv2.imread(str(path.parent / 'frames' / name))
                is_exchanged = 'BGR' in (channel_order, '' if format_id >= 1.4 else 'BGR')
                encoded = cv2.imencode('.png', pixels[..., ::-1] if is_exchanged else pixels)[1]
                images[i] = np.frombuffer(encoded.tobytes(), np.int8)
            if channel_order:
                images.attrs['channel_order'] = channel_order
            file['video0/frame_numbers'] = [0, 10]
    return path


def test_sleap_frames_are_extracted_and_read(tmp_path):
    labels, report = convert_labels(write_sleap(tmp_path / 'a.pkg.slp'), tmp_path / 'out', 'coco')
    assert report.num_instances == 3
    (category,) = labels.content['categories']
    assert category['keypoints'] == ['tail', 'right_paw', 'left_paw', 'snout']
    assert category['skeleton'] == [[1, 4], [4, 3]]
    assert category['flip_indices'] == [0, 2, 1, 3]
    expected = [points for geckos in GECKOS.values() for _, points in geckos]
    for annotation, points in zip(labels.content['annotations'], expected, strict=True):
        table = np.reshape(annotation['keypoints'], (-1, 3))
        np.testing.assert_allclose(table, np.array([points[k] for k in (3, 2, 1, 0)]))
    assert [label.cause for label in labels.dropped] == ['predicted, not labeled']
    assert sorted(p.name for p in (tmp_path / 'out' / 'images').rglob('*.png')) == ['000000.png', '000010.png']


@pytest.mark.parametrize(('format_id', 'channel_order'), [(1.1, ''), (1.4, 'BGR'), (1.4, 'RGB'), (1.4, '')])
def test_colors_of_embedded_frames_are_those_of_the_video(tmp_path, format_id, channel_order):
    path = write_sleap(tmp_path / 'a.pkg.slp', format_id, channel_order=channel_order)
    convert_labels(path, tmp_path / 'out', 'coco')
    for file, name in zip(sorted((tmp_path / 'out/images').rglob('*.png')), GECKOS, strict=True):
        np.testing.assert_array_equal(cv2.imread(str(file)), cv2.imread(str(tmp_path / 'frames' / name)))


def test_sleap_images_of_a_sequence_are_found_beside_the_labels(command, tmp_path):
    path = write_sleap(tmp_path / 'walk.slp', embedded=False)
    label_files.write_images(tmp_path / 'session' / 'frames')
    names = [f'C:\\me\\session\\frames\\{name}' for name in GECKOS]
    with h5py.File(path, 'a') as file:
        del file['videos_json']
        file['videos_json'] = [json.dumps(dict(backend=dict(type='ImageVideo', filename=names[0], filenames=names)))]
        frames = file['frames'][()]
        frames['frame_idx'] = [0, 1]
        file['frames'][...] = frames
    code, out, _ = command('dataset', 'convert', path, tmp_path / 'coco', '--to', 'coco')
    assert code == 0
    assert 'PROBLEM' not in out
    labels = read_labels(tmp_path / 'coco')
    assert labels.num_instances == 3
    images = {
        image['id']: cv2.imread(str(labels.image_folder / image['file_name'])) for image in labels.content['images']
    }
    for image, name in zip(images.values(), GECKOS, strict=True):
        np.testing.assert_array_equal(image, cv2.imread(str(tmp_path / 'session/frames' / name)))


def test_old_sleap_files_count_from_the_corner_of_the_first_pixel(tmp_path):
    labels, _ = convert_labels(write_sleap(tmp_path / 'a.slp', format_id=1.0), tmp_path / 'out', 'coco')
    x, y, _ = labels.content['annotations'][0]['keypoints'][:3]
    assert (x, y) == (44 - 0.5, 36 - 0.5)


def test_sleap_labels_without_their_video_are_counted(tmp_path):
    labels = read_labels(write_sleap(tmp_path / 'a.slp', embedded=False))
    assert labels.num_instances == 0
    causes = [label.cause for label in labels.dropped]
    assert causes.count('whose image is not in its folder') == 3
    assert labels.num_labels == 4
    assert labels.notes[0].startswith('no frames of walk.mp4: ')


def test_verify_counts_instances_on_frames_inside_the_file(command, tmp_path):
    write_sleap(tmp_path / 'a.pkg.slp')
    code, out, _ = command('dataset', 'verify', tmp_path / 'a.pkg.slp')
    assert code == 1  # of the predicted instance
    assert 'SLEAP labels, 2 images, 3 instances' in out
    assert 'ERROR' not in out


def pickle_columns(columns):
    """Pickle [(1, columns)] by hand, as protocol 0 does without memo."""
    body = ''.join('(' + ''.join(f'V{name}\n' for name in column) + 'ta' for column in columns)
    return f'(lp0\n(L1L\n(lp1\n{body}ta.'.encode()


def write_table_format(group, columns, rows, values):
    """Write as pandas' to_hdf(format='table')."""
    group.attrs['non_index_axes'] = np.bytes_(pickle_columns(columns))
    table = np.zeros(len(values), [('index', 'S40'), ('values_block_0', 'f8', (len(columns),))])
    table['index'] = ['/'.join(row) for row in rows]
    table['values_block_0'] = values
    group['table'] = table


def write_fixed_format(group, columns, rows, values):
    """Write as pandas' to_hdf() by default, with the x of all columns in a block stored the other way around."""
    blocks = [[c for c in columns if c[-1] == axis] for axis in 'xy']
    indices = [('axis0', columns), ('axis1', rows), *((f'block{i}_items', items) for i, items in enumerate(blocks))]
    for name, tuples in indices:
        group.attrs[f'{name}_nlevels'] = len(tuples[0])
        for level, names in enumerate(zip(*tuples, strict=True)):
            distinct = sorted(set(names))
            group[f'{name}_level{level}'] = np.array(distinct, 'S')
            group[f'{name}_label{level}'] = np.array([distinct.index(each) for each in names], np.int8)
    group.attrs['nblocks'] = len(blocks)
    for i, items in enumerate(blocks):
        numbers = values[:, [columns.index(column) for column in items]]
        group[f'block{i}_values'] = numbers if i else numbers.T
        group[f'block{i}_values'].attrs['transposed'] = i


@pytest.fixture
def table(tmp_path):
    """The CSV file of a DeepLabCut project, its columns, the names of its rows, and its values."""
    source = label_files.write_deeplabcut(tmp_path / 'data')
    file = next(source.rglob('*.csv'))
    rows = [line.split(',') for line in file.read_text().splitlines()]
    columns = list(zip(*(row[3:] for row in rows[:4]), strict=True))
    values = np.array([[float(cell or 'nan') for cell in row[3:]] for row in rows[4:]])
    return file, columns, [tuple(row[:3]) for row in rows[4:]], values


@pytest.mark.parametrize('write', [write_table_format, write_fixed_format])
def test_deeplabcut_tables_in_hdf5_equal_those_in_csv(table, tmp_path, write):
    file, columns, rows, values = table
    from_csv = read_labels(tmp_path / 'data').content
    file.unlink()
    with h5py.File(file.with_suffix('.h5'), 'w') as opened:
        write(opened.create_group('df_with_missing'), columns, rows, values)
    assert read_labels(tmp_path / 'data').content == from_csv


@pytest.mark.parametrize('damage', [
    lambda group: group.__delitem__('block1_values'),
    lambda group: group['axis0_label1'].write_direct(np.full(16, -1, np.int8)),
    lambda group: group.attrs.__setitem__('nblocks', 3),
])  # fmt: skip
def test_damaged_tables_of_pandas_are_refused(table, damage):
    file, columns, rows, values = table
    file.unlink()
    with h5py.File(file.with_suffix('.h5'), 'w') as opened:
        group = opened.create_group('df_with_missing')
        write_fixed_format(group, columns, rows, values)
        damage(group)
    with pytest.raises(AnnotationError, match='its table cannot be read'):
        read_labels(file.with_suffix('.h5'))


def test_a_pickle_that_would_run_code_is_refused():
    with pytest.raises(ValueError, match='GLOBAL'):
        parse_pickled_names(b"cos\nsystem\n(S'echo'\ntR.")


def test_damaged_files_are_refused(tmp_path):
    (tmp_path / 'a.slp').write_bytes(b'no hdf5')
    with pytest.raises(AnnotationError, match='no readable HDF5'):
        read_labels(tmp_path / 'a.slp')
    with h5py.File(tmp_path / 'b.slp', 'w') as file:
        file.create_group('metadata').attrs['json'] = '{}'
    with pytest.raises(AnnotationError, match='skeletons cannot be read'):
        read_labels(tmp_path / 'b.slp')
