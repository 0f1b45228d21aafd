"""No name of a picture leads out of the folder of pictures (goal S7)."""

import json

import cv2
import numpy as np
import pytest

from poseplug.datasets.sources.aic import AICSource
from poseplug.datasets.sources.coco import CocoSource
from poseplug.datasets.sources.mpii import MPIISource
from poseplug.errors import AnnotationError
from poseplug.skeletons.coco import COCO
from tests.reliability.fuzz_annotations import aic_content, coco_content, mpii_content
from tests.reliability.unsafe import outside_names

READERS = {
    'coco': (lambda f: CocoSource(f, annotations='a.json', images='images').load(), lambda name: named_in_coco(name)),
    'mpii': (lambda f: MPIISource(f, annotations='a.json').load(), lambda name: named(mpii_content(), 'image', name)),
    'aic': (lambda f: AICSource(f, annotations='a.json', images='images').load(),
            lambda name: named(aic_content(), 'image_id', name)),
}  # fmt: skip


def named(rows, key, name):
    rows[0][key] = name
    return rows


def named_in_coco(name):
    content = coco_content(COCO.joints)
    named(content['images'], 'file_name', name)
    return content


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('place', range(12))
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, reader, place):
    name, prepare = outside_names(tmp_path)[place]
    read, content = READERS[reader]
    for file in ('images/1.jpg', 'images/2.jpg', 'images/3.jpg', 'outside/a.jpg'):
        cv2.imwrite(str(tmp_path / file), np.zeros((80, 100, 3), np.uint8))
    prepare()
    (tmp_path / 'a.json').write_text(json.dumps(content(name)))
    with pytest.raises(AnnotationError, match='inside the folder of the pictures|a link that leads out of') as error:
        read(tmp_path)
    assert str(tmp_path / 'a.json') in str(error.value)
