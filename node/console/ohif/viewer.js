// OHIF 3.13 beside the PACS: how a result opens (ADR 0033). Configuration only; OHIF's own files are untouched.
// Every file of this folder, one after the other, is OHIF's app-config.js.
window.lumbar = window.lumbar || {};
(lumbar => {
  'use strict';

  const WAIT_MS = 60000;
  const pause = ms => new Promise(done => setTimeout(done, ms));
  let turn = 0; // of the layout that is shown; a new one ends what still waits for the one before
  let resized = null;

  /**
   * Load the measurements when the mid-disc image has been drawn. Before that OHIF sometimes empties the statistics
   * of the last line while they are computed, and its row stays without a value.
   */
  async function showMeasurements(isCurrent) {
    const { cornerstoneViewportService: viewports, viewportGridService: grid } = lumbar.app.services;
    for (const until = Date.now() + WAIT_MS; Date.now() < until && isCurrent(); await pause(50)) {
      const viewport = viewports.getCornerstoneViewport(lumbar.LINES);
      if (!viewport || !viewport.getImageData || !viewport.getImageData()) continue;
      lumbar.fillCard();
      const report = (lumbar.shown() || {}).measurements;
      if (report) await hydrate(report, isCurrent);
      if (!isCurrent()) return;
      lumbar.drawTexts();
      followSize(viewport.element);
      grid.setActiveViewportId(lumbar.SLICES); // OHIF lists the segments of the active viewport
      return;
    }
  }

  async function hydrate(report, isCurrent) {
    if (!report.isLoaded) await report.load();
    if (!isCurrent() || !report.isRehydratable || report.isHydrated) return;
    const { displaySetInstanceUID, SeriesInstanceUID } = report;
    lumbar.app.commandsManager.run('loadTrackedSRMeasurements', {
      displaySetInstanceUID, SeriesInstanceUID, viewportId: lumbar.LINES,
    });
    for (let n = 0; n < 100 && !report.isHydrated; n += 1) await pause(20);
  }

  function followSize(element) {
    if (resized) resized.disconnect();
    let due;
    resized = new ResizeObserver(() => {
      clearTimeout(due);
      due = setTimeout(lumbar.drawTexts, 200);
    });
    resized.observe(element);
  }

  /** OHIF announces a layout twice while it loads, and before the viewports exist. */
  function onLayout({ protocol }) {
    if (!protocol || !protocol.id.startsWith('lumbar')) return;
    const mine = ++turn;
    const isCurrent = () => mine === turn;
    const report = error => console.error('lumbar:', error);
    showMeasurements(isCurrent).catch(report);
    if (protocol.id === 'lumbar-space') lumbar.drawSurfaces(isCurrent).catch(report);
  }

  const extension = {
    id: 'lumbar',
    preRegistration({ servicesManager, commandsManager, extensionManager }) {
      lumbar.app = { services: servicesManager.services, commandsManager, extensionManager };
      const { hangingProtocolService } = lumbar.app.services;
      lumbar.registerAttributes(hangingProtocolService);
      lumbar.roundEnds();
      hangingProtocolService.subscribe(hangingProtocolService.EVENTS.PROTOCOL_CHANGED, onLayout);
    },
    onModeEnter() {
      const { toolGroupService, measurementService } = lumbar.app.services;
      window.cornerstone.eventTarget.addEventListener('CORNERSTONE_ELEMENT_ENABLED', lumbar.onElementEnabled);
      const { RAW_MEASUREMENT_ADDED, MEASUREMENT_ADDED, MEASUREMENT_UPDATED } = measurementService.EVENTS;
      for (const event of [RAW_MEASUREMENT_ADDED, MEASUREMENT_ADDED, MEASUREMENT_UPDATED]) {
        measurementService.subscribe(event, lumbar.completeRow);
      }
      toolGroupService.subscribe(toolGroupService.EVENTS.VIEWPORT_ADDED, ({ toolGroupId }) =>
        lumbar.prepareTools(toolGroupService.getToolGroup(toolGroupId)),
      );
    },
    onModeExit() {
      turn += 1;
    },
    getPanelModule: () => lumbar.panels(),
    getHangingProtocolModule: () => lumbar.LAYOUTS.map(protocol => ({ name: protocol.id, protocol })),
  };

  const overlay = {
    id: 'LumbarNote',
    inheritsFrom: 'ohif.overlayItem',
    title: 'Status of our objects',
    color: lumbar.AMBER,
    condition: ({ displaySets }) => lumbar.list(displaySets).some(lumbar.roleOf),
    contentF: () => lumbar.NOTE,
  };

  const customizations = {
    'ohif.tours': { $set: [] }, // the tour overlay swallows every click
    'viewportOverlay.topLeft': { $push: [overlay] },
    'layoutSelector.advancedPresetGenerator': { $apply: theirs => given => lumbar.menu(theirs(given)) },
    'panelMeasurement.disableEditing': { $set: true }, // a drag would change a clinical number without a trace
    autoCineModalities: { $set: [] }, // else the page, of modality OT, puts a cine bar over every viewport
    onBeforeSRHydration: { $set: { value: given => lumbar.recognise(given) } },
    // A group without a coordinate, as older results have for a refused value, would leave the viewport black.
    onBeforeSRAddMeasurement: {
      $set: ({ measurement }) => {
        if (!measurement.coords.length) measurement.coords = [{}];
        return measurement;
      },
    },
  };

  window.config = {
    routerBasename: null,
    modes: [],
    extensions: [extension],
    modesConfiguration: {
      '@ohif/mode-longitudinal': {
        hangingProtocol: { $set: ['lumbar', 'lumbar-page', 'default'] },
        routes: {
          0: {
            layoutInstance: {
              props: {
                rightPanelClosed: { $set: false },
                rightPanels: { $set: ['lumbar.panelModule.result'] },
              },
            },
          },
        },
      },
    },
    customizationService: [customizations],
    investigationalUseDialog: { option: 'never' }, // the overlay says it; the bar would lie over the page's foot
    disableConfirmationPrompts: true, // SEG and SR open without a question
    measurementTrackingMode: 'simplified',
    showWarningMessageForCrossOrigin: false,
    maxNumberOfWebWorkers: 2,
    showStudyList: true,
    maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
    defaultDataSourceName: 'orthanc',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'orthanc',
        configuration: {
          friendlyName: 'Orthanc',
          name: 'orthanc',
          qidoRoot: '/dicom-web',
          wadoRoot: '/dicom-web',
          wadoUriRoot: '/dicom-web',
          qidoSupportsIncludeField: false,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          enableStudyLazyLoad: true,
          supportsFuzzyMatching: false,
          supportsWildcard: true,
          omitQuotationForMultipartRequest: true,
          bulkDataURI: { enabled: true },
        },
      },
    ],
  };
})(window.lumbar);
