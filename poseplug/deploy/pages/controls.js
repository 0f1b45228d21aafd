// What the pages do alike around their drawings: files and the camera are opened, messages, rates and counts are shown.

import {
  countNoun, drawInstances, fillTable, find, highlightKeypoint, isDrawn, renderDrawing, saveFile, stemOf,
} from './drawing.js';

const TABLE_MS = 300;    // between two updates of the table while frames change
const RATE_FRAMES = 10;  // whose mean is the rate that is shown

// --- messages -------------------------------------------------------------------------------------------------------

/** Show a message in an element; without a message the element is hidden. */
export function showError(id, message) {
  find(id).textContent = message;
  find(id).hidden = !message;
}

/** Show what happens, and what went wrong; `isBusy` shows that a request is under way. */
export function showStatus(status, error = '', isBusy = false) {
  find('status').textContent = status;
  showError('error', error);
  document.body.classList.toggle('busy', isBusy);
}

/** Return a function that takes the milliseconds of a frame, and returns frames/s over the last ones. */
export function createRateMeter() {
  const durations = [];
  return ms => {
    durations.push(ms);
    const recent = durations.slice(-RATE_FRAMES);
    return (1000 * recent.length) / recent.reduce((a, b) => a + b);
  };
}

// --- what the user opens --------------------------------------------------------------------------------------------

/** Call `open` with the files that are chosen in an input; the same file may be chosen again. */
export function listenToInput(id, open) {
  find(id).addEventListener('change', event => {
    if (event.target.files.length) open(event.target.files);
    event.target.value = '';
  });
}

/** Call `open` with the files that are chosen, dropped anywhere on the page, or pasted. */
export function listenToFiles(open) {
  listenToInput('file', open);
  for (const [kind, isOver] of [['dragover', true], ['dragleave', false], ['drop', false]])
    window.addEventListener(kind, event => {
      event.preventDefault();  // else the browser leaves the page and opens the file
      document.body.classList.toggle('over', isOver);
    });
  window.addEventListener('drop', event => open(event.dataTransfer.files));
  window.addEventListener('paste', event => {
    if (event.clipboardData.files.length) open(event.clipboardData.files);
  });
}

/** Return the first image or video of some files, else the first file, which is refused by its name later. */
export function chooseFile(files) {
  const file = [...files].find(each => /^(image|video)\//.test(each.type)) ?? files[0];
  if (!file) showStatus('', 'There is no file in it; save the image first, and drop the file.');
  return file;
}

/** The camera, shown in the video element, and the button that starts and stops it. */
export class Camera {
  #stream = null;

  get isOn() {
    return this.#stream !== null;
  }

  /** Ask for the camera; an Error says why it cannot be used. */
  async open() {
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 1280}}, audio: false});
    } catch (error) {
      throw new Error(`The camera cannot be used: ${error.message}.`);
    }
    Object.assign(find('video'), {srcObject: this.#stream, controls: false});
    find('camera').classList.add('active');
    find('camera').textContent = 'Stop the camera';
  }

  stop() {
    this.#stream?.getTracks().forEach(track => track.stop());
    this.#stream = null;
    find('camera').classList.remove('active');
    find('camera').textContent = 'Camera';
  }
}

/** Forget the video or the camera that the video element shows. */
export function clearVideo() {
  const video = find('video');
  video.pause();
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute('src');
  video.srcObject = null;
}

// --- what is shown --------------------------------------------------------------------------------------------------

export const readThreshold = () => Number(find('threshold').value);

let tableTime = 0;

/**
 * Draw what is shown ({width, height, instances}): skeletons, how many keypoints of them are drawn, and the table.
 *
 * `drawing` has the skeleton, as for `drawInstances`. `isMoving`: whether other frames follow, where the table is
 * filled less often than the skeletons are drawn. `comparison`: the content of `/compare`, or null.
 */
export function drawShown(shown, drawing, {isMoving, comparison = null, labels = []}) {
  const {instances} = shown, threshold = readThreshold();
  drawInstances(find('overlay'), instances, shown, drawing, {threshold, showBoxes: find('show-boxes').checked, labels});
  const keypoints = instances.flatMap(instance => instance.keypoints);
  const drawn = keypoints.filter(keypoint => isDrawn(keypoint, threshold)).length;
  find('count').textContent = `${drawn} of ${countNoun(keypoints.length, 'keypoint')}`;
  if (isMoving && performance.now() - tableTime < TABLE_MS) return;
  tableTime = performance.now();
  fillTable(find('table'), instances, drawing, threshold, comparison?.distances);
}

export function listenToPointer() {
  find('result').addEventListener('pointerover', event => highlightKeypoint(event, find('overlay')));
}

/** Save what is shown, from an image, a video or a canvas, with the skeletons over it. */
export async function saveDrawing(media, shown, name) {
  saveFile(await renderDrawing(media, find('overlay'), shown), `${stemOf(name)}_pose.png`);
}
