"""Contract tests: laws that every part of a kind keeps. The tests of a plugin inherit them and run on a CPU.

    from poseplug.testing import CodecContract

    class TestDiskOffset(CodecContract):
        def build_part(self, skeleton):
            return DiskOffset(skeleton, (64, 48))

Each contract needs one factory, `build_part`; everything else that may be set is a class attribute.
"""

from poseplug.testing.backbone import BackboneContract
from poseplug.testing.base import Contract
from poseplug.testing.codec import CodecContract
from poseplug.testing.detector_family import DetectorFamilyContract
from poseplug.testing.export import DecodeModule, ExportContract
from poseplug.testing.head import HeadContract
from poseplug.testing.logger import LoggerContract
from poseplug.testing.loss import LossContract
from poseplug.testing.metric import MetricContract
from poseplug.testing.neck import NeckContract
from poseplug.testing.network import NetworkContract
from poseplug.testing.samples import (
    SINGLE_KEYPOINT_SKELETON,
    SMALL_SKELETON,
    change_record,
    create_annotated_record,
    create_random_features,
    create_random_maps,
    create_test_keypoints,
    create_test_record,
    create_test_sample,
    flip_input_keypoints,
    list_target_tensors,
)
from poseplug.testing.source import SourceContract
from poseplug.testing.transform import TransformContract
from poseplug.testing.video_parts import SmootherContract, TrackerContract

__all__ = [
    'SINGLE_KEYPOINT_SKELETON',
    'SMALL_SKELETON',
    'BackboneContract',
    'CodecContract',
    'Contract',
    'DecodeModule',
    'DetectorFamilyContract',
    'ExportContract',
    'HeadContract',
    'LoggerContract',
    'LossContract',
    'MetricContract',
    'NeckContract',
    'NetworkContract',
    'SmootherContract',
    'SourceContract',
    'TrackerContract',
    'TransformContract',
    'change_record',
    'create_annotated_record',
    'create_random_features',
    'create_random_maps',
    'create_test_keypoints',
    'create_test_record',
    'create_test_sample',
    'flip_input_keypoints',
    'list_target_tensors',
]
