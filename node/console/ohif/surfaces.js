// The segments as surfaces in a 3D view, made in the browser from the labels.
window.lumbar = window.lumbar || {};
(lumbar => {
  'use strict';

  const WAIT_MS = 120000;
  // From the patient's left and front, as the surgeon looks at an oblique approach.
  const FROM = [0.64, -0.75, 0.17];
  const HEAD = [0, 0, 1];

  const pause = ms => new Promise(done => setTimeout(done, ms));
  const view = () => lumbar.app.services.cornerstoneViewportService.getCornerstoneViewport(lumbar.SPACE);

  /** The volume itself is never drawn: it hides the structures and takes half a minute without a graphics card. */
  function hideVolume() {
    const actors = (view() && view().getActors()) || [];
    actors.filter(one => one.actor.isA && one.actor.isA('vtkVolume')).forEach(one => one.actor.setVisibility(false));
  }

  function onElementEnabled({ detail }) {
    if (detail.viewportId !== lumbar.SPACE) return;
    detail.element.addEventListener('CORNERSTONE_VOLUME_VIEWPORT_NEW_VOLUME', hideVolume);
    hideVolume();
  }

  function turnCamera(viewport) {
    viewport.resetCamera();
    const { focalPoint, position } = viewport.getCamera();
    const reach = Math.hypot(...position.map((v, k) => v - focalPoint[k]));
    viewport.setCamera({ focalPoint, position: focalPoint.map((v, k) => v + FROM[k] * reach), viewUp: HEAD });
    viewport.setZoom(1.6);
    viewport.render();
  }

  /** Draw the surfaces once the segments are loaded. isCurrent: false as soon as another layout is shown. */
  async function drawSurfaces(isCurrent) {
    const { segmentationService } = lumbar.app.services;
    for (const until = Date.now() + WAIT_MS; Date.now() < until && isCurrent(); await pause(100)) {
      const { segments } = lumbar.shown() || {};
      const segmentationId = segments && segments.displaySetInstanceUID;
      const viewport = view();
      if (!viewport || !viewport.getActors().length || !segmentationService.getSegmentation(segmentationId)) continue;
      await segmentationService.addSegmentationRepresentation(lumbar.SPACE, { segmentationId, type: 'Surface' });
      for (let n = 0; n < 200 && viewport.getActors().length < 2; n += 1) await pause(50);
      hideVolume();
      turnCamera(viewport);
      return;
    }
  }

  Object.assign(lumbar, { onElementEnabled, drawSurfaces });
})(window.lumbar);
