"""No image name leads out of the folder of images (goal S7)."""

import json

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.sources.aic import AICSource
from poseplug.data.sources.coco import CocoSource
from poseplug.data.sources.mpii import MPIISource
from poseplug.skeletons.coco import COCO
from tests.reliability.fuzz_annotations import build_aic_content, build_coco_content, build_mpii_content
from tests.reliability.unsafe import build_outside_names


def build_coco_with_name(name):
    content = build_coco_content(COCO.keypoints)
    content['images'][0]['file_name'] = name
    return content


def build_mpii_with_name(name):
    content = build_mpii_content()
    content[0]['image'] = name
    return content


def build_aic_with_name(name):
    content = build_aic_content()
    content[0]['image_id'] = name
    return content


# A function from a folder to its source, and one from the first image's name to the content of a.json
READERS = {
    'coco': (lambda folder: CocoSource(folder, ann_file='a.json', image_folder='images'), build_coco_with_name),
    'mpii': (lambda folder: MPIISource(folder, ann_file='a.json'), build_mpii_with_name),
    'aic': (lambda folder: AICSource(folder, ann_file='a.json', image_folder='images'), build_aic_with_name),
}


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('case', range(12))
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, reader, case):
    name, prepare = build_outside_names(tmp_path)[case]
    create_source, build_content = READERS[reader]
    for file in ('images/1.jpg', 'images/2.jpg', 'images/3.jpg', 'outside/a.jpg'):
        cv2.imwrite(str(tmp_path / file), np.zeros((80, 100, 3), np.uint8))
    prepare()
    (tmp_path / 'a.json').write_text(json.dumps(build_content(name)))
    with pytest.raises(AnnotationError, match='inside the folder of the images|a link that leads out of') as error:
        create_source(tmp_path).load()
    assert str(tmp_path / 'a.json') in str(error.value)
