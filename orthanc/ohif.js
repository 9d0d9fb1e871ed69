// OHIF for the demonstration: one origin, served beside /dicom-web by the demonstration's proxy.
// The hanging protocol "lumbar" shows the measured lines on the left, the segments on the right.
const lumbarProtocol = {
  id: 'lumbar',
  name: 'L4/5 corridor',
  protocolMatchingRules: [],
  toolGroupIds: ['default'],
  numberOfPriorsReferenced: 0,
  displaySetSelectors: {
    sr: {
      seriesMatchingRules: [
        { attribute: 'Modality', constraint: { equals: 'SR' }, required: true },
        { attribute: 'SeriesDescription', constraint: { containsI: 'measurements' }, required: true },
      ],
    },
    seg: {
      seriesMatchingRules: [{ attribute: 'Modality', constraint: { equals: 'SEG' }, required: true }],
    },
  },
  stages: [
    {
      name: 'lines and segments',
      viewportStructure: { layoutType: 'grid', properties: { rows: 1, columns: 2 } },
      viewports: [
        {
          viewportOptions: { viewportId: 'lines', toolGroupId: 'default', allowUnmatchedView: true },
          displaySets: [{ id: 'sr' }],
        },
        {
          viewportOptions: { viewportId: 'segments', toolGroupId: 'default', allowUnmatchedView: true },
          displaySets: [{ id: 'seg' }],
        },
      ],
    },
  ],
};

window.config = {
  routerBasename: null,
  modes: [],
  extensions: [
    {
      id: 'lumbar-hp',
      getHangingProtocolModule() {
        return [{ name: 'lumbar', protocol: lumbarProtocol }];
      },
    },
  ],
  customizationService: [
    {
      // The tour overlay swallows every click.
      'ohif.tours': { $set: [] },
      // A group without a coordinate, as older results have for a refused value, would leave the viewport black.
      onBeforeSRAddMeasurement: {
        $set: ({ measurement }) => {
          if (!measurement.coords.length) measurement.coords = [{}];
          return measurement;
        },
      },
    },
  ],
  // Every object says "research use only" itself; the bar would lie over the page's foot.
  investigationalUseDialog: { option: 'never' },
  // SEG and SR open without a question.
  disableConfirmationPrompts: true,
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
