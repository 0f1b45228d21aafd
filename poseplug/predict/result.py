"""What a predictor returns for an image: its instances, what they are of, and the forms that other tools read."""

from __future__ import annotations

__all__ = ['Result']

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.poses import POSE_ARRAYS, Poses
from poseplug.core.skeleton import Skeleton
from poseplug.files import parquet_table
from poseplug.files.jsonable import to_json_text
from poseplug.files.output_guard import check_outputs
from poseplug.predict import result_formats
from poseplug.report.draw import MIN_SIDE_PX, draw_poses
from poseplug.report.drawing_style import DrawingStyle

_DEFAULT_THRESHOLD = 0.05  # of keypoints that are drawn or exported as visible, as of `poseplug predict`


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Result(Poses):
    """The instances of one image, with the image and the skeleton that they belong to.

    It is `Poses`: every array and method of these is there, and selected or transformed instances are results again.

    Attributes:
        skeleton: names, order and limbs of the keypoints.
        path: the image file; `image INDEX` for images that are no files.
        image_size: (width, height) in px, upright.
        index: position among the images, or number of the frame of a video.
        seconds: time of the frame in its video; None for an image.
        speed: milliseconds by phase: 'read', 'prepare' and 'predict', which are shares of those of a batch.
        model_name: names of the config and the weights.
        read_pixels: reads the image again; see `image`.

    Example:
        >>> from poseplug import Predictor
        >>> (result,) = Predictor(device='cpu')(np.zeros((120, 90, 3), np.uint8))
        >>> result
        Result('image 0', 90x120 px, instances: 1, skeleton: lsp)
        >>> result[result.instance_scores > 2].to_dict()['instances']
        []
        >>> result.plot().shape[2]
        3
    """

    skeleton: Skeleton
    path: Path
    image_size: tuple[int, int]
    read_pixels: Callable[[], np.ndarray]
    index: int = 0
    seconds: float | None = None
    speed: Mapping[str, float] = field(default_factory=dict)
    model_name: str = ''

    def __repr__(self) -> str:
        width, height = self.image_size
        return (
            f'Result({str(self.path)!r}, {width}x{height} px, instances: {len(self)}, skeleton: {self.skeleton.name})'
        )

    @property
    def poses(self) -> Poses:
        """The arrays alone."""
        return Poses(**{name: getattr(self, name) for name in POSE_ARRAYS})

    @property
    def image(self) -> np.ndarray:
        """The pixels (H, W, 3) uint8, BGR, upright; those of a file are read again, so that results stay small."""
        return self.read_pixels()

    def plot(
        self,
        threshold: float = _DEFAULT_THRESHOLD,
        min_side_px: int = MIN_SIDE_PX,
        style: DrawingStyle | None = None,
    ) -> np.ndarray:
        """Draw the instances on a copy of the image.

        Args:
            threshold: minimum score of a keypoint that is drawn.
            min_side_px: as for `draw_poses`.
            style: colors, widths, boxes and labels, as in `DrawingStyle(coloring='keypoints', labels=('score',))`;
                None for the default.

        Returns:
            (H', W', 3) uint8, BGR.
        """
        return draw_poses(self.image, self.poses, self.skeleton, threshold, min_side_px, style)

    def show(self, threshold: float = _DEFAULT_THRESHOLD, style: DrawingStyle | None = None) -> None:
        """Show the drawing in the image viewer of this machine.

        Args:
            threshold: as for `plot`.
            style: as for `plot`.

        Raises:
            ConfigError: there is no viewer.
        """
        from PIL import Image, ImageShow

        drawn = self.plot(threshold, style=style)
        # Pillow has RGB
        if not ImageShow.show(Image.fromarray(drawn[..., ::-1]), title=self.path.name):
            raise ConfigError("no image viewer can be started; write the drawing to a file: result.save('drawn.jpg')")

    def save(self, file: str | Path, threshold: float = _DEFAULT_THRESHOLD) -> Path:
        """Write the result in the form that the suffix of a file names.

        Args:
            file: the drawing as .jpg or .png, `to_dict` as .json, `to_csv` as .csv, or `to_yolo` as .txt.
            threshold: minimum score of a keypoint that is drawn or visible.

        Returns:
            Path of the file.

        Raises:
            ConfigError: the suffix is another one, the file would overwrite the image, or cannot be written.
        """
        file = Path(file)
        check_outputs([self.path], [file], 'save')
        suffix = file.suffix.lower()
        if suffix in ('.jpg', '.jpeg', '.png'):
            data = cv2.imencode(suffix, self.plot(threshold))[1].tobytes()
        elif suffix == '.json':
            data = to_json_text(self.to_dict(), indent=1).encode()
        elif suffix == '.csv':
            # a file name may have bytes that are no text, which UTF-8 cannot write
            data = self.to_csv().encode(errors='backslashreplace')
        elif suffix == '.txt':
            data = self.to_yolo(threshold=threshold).encode()
        else:
            raise ConfigError(f'{file}: results are saved as .jpg, .png, .json, .csv or .txt (YOLO)')
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f'{file}: {reason}; name another file') from error
        return file

    def to_dict(self) -> dict[str, Any]:
        """Convert to what result files hold of an image, with the skeleton and the speed.

        Returns:
            `file`, `width`, `height`, `index`, `seconds` (None for an image), `model`, `skeleton`, `centric`,
            `keypoint_names`, `speed_ms` and `instances` (`Poses.to_dicts`).
        """
        width, height = self.image_size
        return {
            'file': str(self.path),
            'width': width,
            'height': height,
            'index': self.index,
            'seconds': self.seconds,
            'model': self.model_name,
            'skeleton': self.skeleton.name,
            'centric': self.skeleton.centric,
            'keypoint_names': list(self.skeleton.keypoints),
            'speed_ms': {phase: round(milliseconds, 3) for phase, milliseconds in self.speed.items()},
            'instances': self.to_dicts(),
        }

    def to_coco(
        self, image_id: int | str | None = None, category_id: int = 1, digits: int | None = 4
    ) -> list[dict[str, Any]]:
        """Convert to COCO's result format.

        Args:
            image_id: of the image; None for the number that is the file's name, or the name itself.
            category_id: of the instances.
            digits: as for `Poses.to_coco`.

        Returns:
            A dict for each instance: `image_id`, `category_id`, `keypoints`, `score`, and `bbox` (x, y, width, height)
            where there are boxes.
        """
        if image_id is None:
            # as COCO numbers its images: 000000000139.jpg is image 139
            image_id = int(self.path.stem) if self.path.stem.isdecimal() else self.path.stem
        return result_formats.add_coco_boxes(super().to_coco(image_id, category_id, digits), self.poses)

    def to_csv(self) -> str:
        """Convert to a table with a header and a row per keypoint, as `results.csv` has."""
        return result_formats.format_csv(self.to_rows(str(self.path), self.skeleton))

    def to_dataframe(self) -> Any:
        """Convert to a data frame with a row per keypoint, of pandas, or of polars where that alone is installed.

        Its columns are those of `to_csv`, and `sigma_px` where the model predicts `keypoint_sigmas_px`.

        Raises:
            ConfigError: neither is installed.
        """
        sigmas = self.numpy().keypoint_sigmas_px
        rows = list(self.to_rows(str(self.path), self.skeleton))
        return result_formats.build_dataframe(rows, None if sigmas is None else np.asarray(sigmas).flatten())

    def to_parquet(self, file: str | Path) -> Path:
        """Write a table with a row per keypoint, as `to_csv` has, to a Parquet file.

        Args:
            file: path of the file.

        Raises:
            ConfigError: neither pyarrow nor polars is installed, the file would overwrite the image, or cannot be
                written.
        """
        file = Path(file)
        check_outputs([self.path], [file], 'to_parquet')
        with parquet_table.ParquetTable(file, parquet_table.IMAGE_COLUMNS) as table:
            table.add_rows(self.to_rows(str(self.path), self.skeleton))
        return file

    def to_openpose(self, skeleton: Skeleton | None = None) -> dict[str, Any]:
        """Convert to the content of an OpenPose JSON file.

        Args:
            skeleton: whose keypoints and order are written, such as `get_skeleton('body25')`; a keypoint that this
                result lacks is 0, 0, 0. None for the result's own.
        """
        return result_formats.build_openpose(self.poses, self.skeleton, skeleton)

    def to_yolo(self, class_id: int = 0, threshold: float = _DEFAULT_THRESHOLD) -> str:
        """Convert to the lines of a YOLO-pose label file: class, box and keypoints in fractions of the image.

        Args:
            class_id: of the instances.
            threshold: keypoints that score less are written as not labeled: 0 0 0.
        """
        return result_formats.format_yolo(self.poses, self.image_size, class_id, threshold)

    def to_labelme(self, threshold: float = _DEFAULT_THRESHOLD) -> dict[str, Any]:
        """Convert to the content of a LabelMe file: points and boxes to be corrected by hand.

        Args:
            threshold: keypoints that score less are left out.
        """
        return result_formats.build_labelme(self.poses, self.skeleton, self.path.name, self.image_size, threshold)

    def to_cvat(self, threshold: float = _DEFAULT_THRESHOLD) -> str:
        """Convert to the content of a CVAT file (XML for images 1.1): skeletons to be corrected by hand.

        Args:
            threshold: keypoints that score less are written as `outside`.
        """
        elements = result_formats.format_cvat_image(
            self.poses, self.skeleton, self.path.name, self.image_size, threshold
        )
        return result_formats.wrap_cvat_images([elements], self.skeleton)

    def to_supervision(self) -> Any:
        """Convert to the `KeyPoints` of supervision.

        Raises:
            ConfigError: supervision is not installed.
        """
        return result_formats.build_supervision(self.poses)
