"""The web page for trying models: images and videos go to a server on this machine, instances come back.

    GET  /                        the page (a query is ignored by the server and read by the page)
    GET  /files/NAME              its styles and scripts
    GET  /model?model=N           JSON: model N with its skeleton, and what the page offers (`describe_page_model`)
    GET  /samples/N?model=M       PNG: sample N, from 0
    POST /predict?model=N         the bytes of an image file; JSON (`build_response`). boxes=x,y,x,y,... are corners of
                                  boxes in px of the image; heatmaps=0 leaves out all but the keypoints
    POST /download?formats=A,B    JSON of results; a file, or a ZIP file of several (`pack_image_results`)
    POST /labels?name=NAME        the bytes of a label file; JSON (`read_label_file`)
    POST /compare?model=N         JSON of instances and labels; JSON (`compare_with_labels`)
    POST /videos?model=N&name=    the bytes of a video; JSON: the token of its job
    GET  /videos/TOKEN?offset=N   JSON: the state of the job and frames (`VideoJob.read_frames`)
    POST /videos/TOKEN/stop       cancels it
    GET  /videos/TOKEN/download   its files, as formats=A,B says

A refused request gets the JSON body {"error": MESSAGE}. Images are not stored; videos are, in a folder for temporary
files that ends with the server.
"""

from __future__ import annotations

__all__ = ['PredictionServer', 'serve_predictors']

import logging
import re
from collections.abc import Sequence
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.deploy.page_files import CONTENT_TYPES, read_page_file
from poseplug.deploy.web_content import build_response, describe_page_model, draw_sample_images
from poseplug.deploy.web_downloads import DOWNLOAD_FORMATS, Download, pack_image_results, select_available_formats
from poseplug.deploy.web_labels import LABEL_SUFFIXES, compare_with_labels, read_label_file
from poseplug.deploy.web_requests import LOCAL_HOSTS, CheckedRequestHandler, Reply, RequestError, reply_json
from poseplug.deploy.web_videos import VIDEO_FORMATS, VideoJob, VideoJobs
from poseplug.files.video_reader import VIDEO_SUFFIXES
from poseplug.predict.pose_predictor import PosePredictor
from poseplug.predict.prediction_options import PredictionOptions

_LOGGER = logging.getLogger('poseplug')

_DEFAULT_PORT = 8000
_MAX_UPLOAD_BYTES = 32 << 20
_MAX_VIDEO_BYTES = 1 << 30
_PAGE_FILES = ('page.css', 'web.js', 'controls.js', 'drawing.js')
_FRAMES_PER_BATCH = 8  # of a video: images are served between two batches
_VIDEO_SMOOTHER = 'OneEuroSmoother'


class PredictionServer(ThreadingHTTPServer):
    """Serves predictors, the page and the samples.

    On an address of this machine alone a request must name such an address in its Host header, so that no other site
    can point its own name here (DNS rebinding).

    Args:
        predictors: of the models that the page offers; one image or batch of frames is predicted at a time.
        host: address to listen on.
        port: 0 lets the system choose one; see `server_port`.
        max_bytes: larger image and label files are refused.
        max_video_bytes: larger videos are refused.

    Raises:
        ConfigError: there is no predictor, a file of the page is missing, or the address is not available.
    """

    def __init__(
        self,
        predictors: Sequence[PosePredictor],
        host: str = LOCAL_HOSTS[0],
        port: int = _DEFAULT_PORT,
        max_bytes: int = _MAX_UPLOAD_BYTES,
        max_video_bytes: int = _MAX_VIDEO_BYTES,
    ):
        if not predictors:
            raise ConfigError('the page needs at least one model')
        self.predictors, self.max_bytes, self.max_video_bytes = list(predictors), max_bytes, max_video_bytes
        self.is_local, self.host = host in LOCAL_HOSTS, host
        self.predict_lock = Lock()  # one image, or batch of frames, is decoded and predicted at a time
        self.jobs = VideoJobs(self.predict_lock)
        # read once: requests touch no file of the package, and a missing one is an error at the start
        self.page, self.page_files = read_page_file('web.html'), {name: read_page_file(name) for name in _PAGE_FILES}
        # models of crops get images of one person, others images of several
        kinds = {predictor.finds_instances for predictor in predictors}
        self.sample_images = {kind: draw_sample_images(kind) for kind in kinds}
        try:
            super().__init__((host, port), _RequestHandler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f'{host}, port {port}: {error}; name another --port or --host') from error

    def describe_page(self, index: int) -> dict[str, Any]:
        """Describe a model and what the page offers.

        Args:
            index: of the model.
        """
        predictor = self.predictors[index]
        return describe_page_model(predictor) | {
            'models': [each.name for each in self.predictors],
            'samples': [name for name, _ in self.sample_images[predictor.finds_instances]],
            'max_bytes': self.max_bytes,
            'max_video_bytes': self.max_video_bytes,
            'formats': select_available_formats(DOWNLOAD_FORMATS),
            'video_formats': select_available_formats(VIDEO_FORMATS),
            'video_suffixes': VIDEO_SUFFIXES,
            'label_suffixes': LABEL_SUFFIXES,
            'host': self.host,
            'local': self.is_local,
        }

    def server_close(self) -> None:
        """Close the server, and remove the videos."""
        super().server_close()
        self.jobs.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a broken connection at debug level: a client that leaves is no error."""
        _LOGGER.debug('%s: the connection broke', client_address, exc_info=True)


def _reply_download(download: Download) -> Reply:
    return Reply('application/octet-stream', download.data, download.name)


class _RequestHandler(CheckedRequestHandler):
    """Handles one request of the page."""

    server: PredictionServer

    # --- GET ----------------------------------------------------------------------------------------------------------

    def reply_page(self) -> Reply:
        return Reply(CONTENT_TYPES['.html'], self.server.page.encode())

    def reply_page_file(self, name: str) -> Reply:
        # a table and no path: nothing outside of it can be asked for
        if name not in self.server.page_files:
            raise RequestError(HTTPStatus.NOT_FOUND, 'there is nothing here; the page is at /')
        return Reply(CONTENT_TYPES[Path(name).suffix], self.server.page_files[name].encode())

    def reply_model(self) -> Reply:
        return reply_json(self.server.describe_page(self._read_model_index()))

    def reply_sample(self, number: str) -> Reply:
        samples = self.server.sample_images[self._find_predictor().finds_instances]
        if int(number) >= len(samples):
            raise RequestError(HTTPStatus.NOT_FOUND, 'there is nothing here; the page is at /')
        return Reply('image/png', samples[int(number)][1])

    def reply_video_frames(self, token: str) -> Reply:
        offset = self.query.get('offset', '0')
        if not re.fullmatch('[0-9]{1,15}', offset):
            raise RequestError(HTTPStatus.BAD_REQUEST, 'offset is not a number of bytes')
        return reply_json(self._find_job(token).read_frames(int(offset)))

    def reply_video_download(self, token: str) -> Reply:
        return _reply_download(self._find_job(token).pack_results(self.read_formats()))

    # --- POST ---------------------------------------------------------------------------------------------------------

    def reply_prediction(self) -> Reply:
        # everything is read before the lock, so that a slow upload does not delay other predictions
        predictor, boxes, image_bytes = self._find_predictor(), self._read_boxes(), self.read_body('image')
        draws_heatmaps = self.query.get('heatmaps') != '0'
        with self.server.predict_lock:
            return reply_json(build_response(predictor, image_bytes, boxes, draws_heatmaps))

    def reply_image_download(self) -> Reply:
        skeleton, content = self._find_predictor().skeleton, self.read_json()
        return _reply_download(pack_image_results(content, skeleton, self.read_formats(), self.read_threshold()))

    def reply_labels(self) -> Reply:
        return reply_json(read_label_file(self.query.get('name', ''), self.read_body('file')))

    def reply_comparison(self) -> Reply:
        names, content = self._find_predictor().skeleton.keypoints, self.read_json()
        try:
            return reply_json(compare_with_labels(content['instances'], content['labels'], names))
        except (KeyError, TypeError, ValueError, IndexError):
            raise RequestError(HTTPStatus.BAD_REQUEST, 'these are no instances and labels of this model') from None

    def reply_new_video(self) -> Reply:
        predictor, threshold = self._find_predictor(), self.read_threshold()
        smoother = {'type': _VIDEO_SMOOTHER} if self.query.get('smooth') == '1' else None
        settings: dict[str, Any] = {'smoother': smoother, 'save_csv': True, 'threshold': threshold}
        options = PredictionOptions(batch_size=_FRAMES_PER_BATCH, **settings)
        job = VideoJob(predictor, self.query.get('name', ''), options)
        jobs = self.server.jobs
        # before the video arrives, so that a second large upload is refused at once
        jobs.reserve_job(job)
        try:
            with open(job.upload, 'wb') as file:
                self.receive_body(file, self.server.max_video_bytes, 'video')
        # also when the connection breaks: the place would stay taken
        except BaseException:
            jobs.discard_job(job)
            raise
        jobs.start_job(job)
        return reply_json({'token': job.token, 'name': job.title})

    def reply_video_stop(self, token: str) -> Reply:
        self._find_job(token).cancelled.set()
        return reply_json({})

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read_model_index(self) -> int:
        text, count = self.query.get('model', '0'), len(self.server.predictors)
        if not re.fullmatch('[0-9]{1,4}', text) or int(text) >= count:
            raise RequestError(HTTPStatus.BAD_REQUEST, f'model is the number of a model, from 0 to {count - 1}')
        return int(text)

    def _find_predictor(self) -> PosePredictor:
        return self.server.predictors[self._read_model_index()]

    def _find_job(self, token: str) -> VideoJob:
        job = self.server.jobs.find_job(token)
        if job is None:
            raise RequestError(HTTPStatus.NOT_FOUND, 'there is no such video any more; send it again')
        return job

    def _read_boxes(self) -> np.ndarray | None:
        """The boxes (N, 4) of the query; None without any."""
        text = self.query.get('boxes')
        if text is None:
            return None
        try:
            return np.array([float(number) for number in text.split(',')]).reshape(-1, 4)
        except ValueError:
            raise RequestError(HTTPStatus.BAD_REQUEST, 'boxes are four numbers each: x,y,x,y') from None

    get_routes = {
        '/': reply_page,
        r'/files/([\w.]+)': reply_page_file,
        '/model': reply_model,
        r'/samples/([0-9]{1,3})': reply_sample,
        r'/videos/([\w-]+)': reply_video_frames,
        r'/videos/([\w-]+)/download': reply_video_download,
    }
    post_routes = {
        '/predict': reply_prediction,
        '/download': reply_image_download,
        '/labels': reply_labels,
        '/compare': reply_comparison,
        '/videos': reply_new_video,
        r'/videos/([\w-]+)/stop': reply_video_stop,
    }


def serve_predictors(
    predictors: Sequence[PosePredictor], host: str = LOCAL_HOSTS[0], port: int = _DEFAULT_PORT
) -> None:
    """Serve the page until Ctrl-C; on an address that other machines can reach with a warning.

    Args:
        predictors: of the models that the page offers.
        host: address to listen on.
        port: 0 lets the system choose one.

    Raises:
        ConfigError: a file of the page is missing, or the address is not available.
    """
    with PredictionServer(predictors, host, port) as server:
        if not server.is_local:
            _LOGGER.warning('--host %s: anyone who reaches this machine can use the page, without encryption', host)
        names = '; '.join(predictor.name for predictor in predictors)
        print(f'{names} at http://{host}:{server.server_port}/ (Ctrl-C ends it)', flush=True)
        server.serve_forever()
