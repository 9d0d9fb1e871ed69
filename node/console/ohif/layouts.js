// How a result opens: four layouts, the slice and the window they begin with.
window.lumbar = window.lumbar || {};
(lumbar => {
  'use strict';

  const LINES = 'lumbar-lines';
  const SLICES = 'lumbar-slices';
  const SPACE = 'lumbar-space';

  // ---- geometry ----------------------------------------------------------------------------------
  const numbers = value => lumbar.list(value).map(Number);
  const dot = (a, b) => a.reduce((sum, v, k) => sum + v * b[k], 0);
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

  /** Centre of an image in LPS mm. */
  function centreOf(image) {
    const [along, down] = [image.ImageOrientationPatient.slice(0, 3), image.ImageOrientationPatient.slice(3)].map(numbers);
    const [rowStep, columnStep] = numbers(image.PixelSpacing);
    const reach = [((image.Columns - 1) / 2) * columnStep, ((image.Rows - 1) / 2) * rowStep];
    return numbers(image.ImagePositionPatient).map((v, k) => v + along[k] * reach[0] + down[k] * reach[1]);
  }

  /** Distance in mm of a point from the plane of a slice. */
  function distance(slice, point) {
    const axes = numbers(slice.ImageOrientationPatient);
    const origin = numbers(slice.ImagePositionPatient);
    return Math.abs(dot(cross(axes.slice(0, 3), axes.slice(3)), point.map((v, k) => v - origin[k])));
  }

  /** The source slice nearest to the middle of the disc; instances are in the order of the stack. */
  function discSlice(displaySets) {
    const result = lumbar.shown();
    const slices = lumbar.list(displaySets)[0] && displaySets[0].instances;
    if (!result || !result.plane || !slices || !slices.length) return { preset: 'middle' };
    const centre = centreOf(lumbar.header(result.plane));
    const off = slices.map(slice => (slice.ImagePositionPatient ? distance(slice, centre) : Infinity));
    return { index: off.indexOf(Math.min(...off)) };
  }

  /** The first window of the mid-disc image, which is also right for the slices: fat near the coil is far brighter. */
  function discWindow() {
    const result = lumbar.shown();
    const plane = result && result.plane && lumbar.header(result.plane);
    const [windowCenter, windowWidth] = plane ? [plane.WindowCenter, plane.WindowWidth].map(v => numbers(v)[0]) : [];
    return windowWidth > 0 ? { windowCenter, windowWidth } : undefined;
  }

  // ---- viewports ---------------------------------------------------------------------------------
  const ROLES = ['plane', 'segments', 'source', 'page', 'report'];
  const selectors = Object.fromEntries(
    ROLES.map(role => [
      role,
      { seriesMatchingRules: [{ attribute: 'lumbarRole', constraint: { equals: { value: role } }, required: true }] },
    ]),
  );
  const viewport = (viewportId, displaySets, options) => ({
    viewportOptions: {
      viewportId,
      viewportType: 'stack',
      toolGroupId: 'default',
      allowUnmatchedView: true,
      ...options,
    },
    displaySets,
  });
  // The image, not its report: a report that cannot be read then never leaves the viewport black.
  const lines = () => viewport(LINES, [{ id: 'plane' }]);
  const slices = () =>
    viewport(SLICES, [{ id: 'source', options: { voi: { custom: 'lumbarWindow' } } }, { id: 'segments' }], {
      initialImageOptions: { custom: 'lumbarDiscSlice', defaultValue: { preset: 'middle' } },
    });
  // The page names itself; OHIF's texts would lie over its heading.
  const page = () => viewport('lumbar-page', [{ id: 'page' }], { customViewportProps: { hideOverlays: true } });
  const report = () => viewport('lumbar-report', [{ id: 'report' }], { viewportType: undefined });
  const space = () =>
    viewport(SPACE, [{ id: 'source', options: { displayPreset: { MR: 'MR-Default', default: 'MR-Default' } } }], {
      viewportType: 'volume3d',
      toolGroupId: 'volume3d',
      orientation: 'coronal',
      customViewportProps: { hideOverlays: true },
    });

  const beside = { rows: 1, columns: 2 };
  const places = layoutOptions => ({ rows: 2, columns: 2, layoutOptions });
  const half = (x, y, height = 0.5) => ({ x, y, width: 0.5, height });
  const leftThenTwo = places([half(0, 0, 1), half(0.5, 0), half(0.5, 0.5)]);
  const twoThenRight = places([half(0, 0), half(0, 0.5), half(0.5, 0, 1)]);

  // OHIF's "greaterThan" means "at least".
  const opensFor = (attribute, weight) => [{ attribute, constraint: { greaterThan: { value: 1 } }, required: true, weight }];
  const layout = (id, title, icon, properties, viewports, protocolMatchingRules = []) => ({
    id,
    name: title,
    icon,
    protocolMatchingRules,
    toolGroupIds: ['default'],
    numberOfPriorsReferenced: 0,
    displaySetSelectors: selectors,
    stages: [{ id, name: title, viewportStructure: { layoutType: 'grid', properties }, viewports }],
    defaultViewport: viewport(undefined, [{ id: 'source', matchedDisplaySetsIndex: -1 }]),
  });

  const LAYOUTS = [
    layout(
      'lumbar', 'L4/5: lines and segments', 'layout-common-1x2', beside,
      [lines(), slices()], opensFor('lumbarPlanes', 1000),
    ),
    layout(
      'lumbar-page', 'L4/5: page, lines and segments', 'layout-advanced-3d-primary', leftThenTwo,
      [page(), lines(), slices()], opensFor('lumbarPages', 10),
    ),
    layout(
      'lumbar-report', 'L4/5: report, lines and segments', 'layout-advanced-mpr', leftThenTwo,
      [report(), lines(), slices()],
    ),
    layout(
      'lumbar-space', 'L4/5: lines, segments and surfaces', 'layout-advanced-3d-four-up', twoThenRight,
      [lines(), slices(), space()],
    ),
  ];

  /** OHIF's layout menu with ours first; a layout whose object is missing in the result is not offered. */
  function menu(theirs) {
    const result = lumbar.shown();
    const needs = { 'lumbar-page': 'page', 'lumbar-report': 'report', 'lumbar-space': 'segments' };
    const ours = result ? LAYOUTS.filter(one => !needs[one.id] || result[needs[one.id]]) : [];
    const entry = one => ({ icon: one.icon, title: one.name, commandOptions: { protocolId: one.id }, disabled: false });
    return [...ours.map(entry), ...theirs];
  }

  /** Make roles, slice and window known to OHIF's hanging protocols. */
  function registerAttributes(service) {
    const count = role => () => lumbar.results().filter(result => result[role]).length;
    service.addCustomAttribute('lumbarRole', 'role in the result to show', displaySet => lumbar.shownRole(displaySet));
    service.addCustomAttribute('lumbarPlanes', 'number of results with a mid-disc image', count('plane'));
    service.addCustomAttribute('lumbarPages', 'number of results with a planning page', count('page'));
    service.addCustomAttribute('lumbarDiscSlice', 'slice through the disc', discSlice);
    service.addCustomAttribute('lumbarWindow', 'window of the mid-disc plane', discWindow);
    // OHIF warns about a protocol without rules when it has to choose: its own now always matches, with least weight.
    const plain = service.protocols.get('default');
    if (plain && !plain.protocolMatchingRules.length) {
      plain.protocolMatchingRules = [{ attribute: 'lumbarPlanes', constraint: { greaterThan: { value: 0 } }, weight: 1 }];
    }
  }

  Object.assign(lumbar, { LINES, SLICES, SPACE, LAYOUTS, menu, registerAttributes });
})(window.lumbar);
