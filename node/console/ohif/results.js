// Which series of a study belong to which of our results, and which result is to be shown.
// The words of Series Descriptions and the codes below are those of dicomseg/encode; a test compares them.
window.lumbar = window.lumbar || {};
(lumbar => {
  'use strict';

  /** Modality and words of the Series Description → what the object is in its result. */
  const ROLES = {
    SEG: { segmentation: 'segments' },
    MR: { 'mid-disc plane': 'plane' },
    SR: { measurements: 'measurements', volumes: 'volumes' },
    OT: { 'planning page': 'page' },
    DOC: { 'page as PDF': 'report' },
    M3D: { surfaces: 'surfaces' },
  };
  // "L4/5 14:05:33 measurements of 4, lumbar-l45 0.10.0 (research)"
  const DESCRIPTION = /^L4\/5 (?:\d\d:\d\d:\d\d )?(.+?)(?: of \d+)?, (.*?)(?: \(research\))?$/;

  /** An attribute that holds a sequence or several values: OHIF gives one item as itself. */
  const list = value => (value === undefined || value === null ? [] : Array.isArray(value) ? value : [value]);
  const header = displaySet => displaySet.instance || list(displaySet.instances)[0] || {};
  const described = displaySet =>
    DESCRIPTION.exec(displaySet.SeriesDescription || header(displaySet).SeriesDescription || '');

  /** The display set's place in its result; 'other' for one of ours that is not shown, '' for a foreign one. */
  function roleOf(displaySet) {
    const words = described(displaySet);
    if (!words) return '';
    return (ROLES[displaySet.Modality] || {})[words[1]] || 'other';
  }

  /** Every object of one result has the same Series Date and Time. */
  const stamp = displaySet => `${header(displaySet).SeriesDate || ''}${header(displaySet).SeriesTime || ''}`;

  /** All results of the study, newest first: display sets by role, and every UID that names the result. */
  function results() {
    const found = new Map();
    for (const displaySet of lumbar.app.services.displaySetService.getActiveDisplaySets()) {
      const role = roleOf(displaySet);
      if (!role) continue;
      const key = stamp(displaySet);
      const result = found.get(key) || { key, model: described(displaySet)[2], uids: new Set() };
      found.set(key, result);
      result[role] = displaySet;
      result.uids.add(displaySet.SeriesInstanceUID).add(header(displaySet).SOPInstanceUID);
    }
    return [...found.values()].sort((a, b) => (a.key < b.key ? 1 : -1));
  }

  /** The result that the link asks for by the UID of any of its series or objects; else the newest. */
  function shown(all = results()) {
    const uid = new URLSearchParams(window.location.search).get('result');
    return all.find(result => result.uids.has(uid)) || all[0];
  }

  /** The address that opens another result of this study. */
  function linkTo(result) {
    const query = new URLSearchParams(window.location.search);
    query.set('result', (result.measurements || result.plane || result.segments).SeriesInstanceUID);
    return `${window.location.pathname}?${query}`;
  }

  /** The series that a result was made from: what the segmentation names, else an image of the reformatted plane. */
  function sourceOf(result) {
    const series = result.segments && list(header(result.segments).ReferencedSeriesSequence)[0];
    const image = result.plane && list(header(result.plane).SourceImageSequence)[0];
    const isSource = displaySet =>
      series
        ? displaySet.SeriesInstanceUID === series.SeriesInstanceUID
        : list(displaySet.images || displaySet.instances).some(
            one => image && one.SOPInstanceUID === image.ReferencedSOPInstanceUID,
          );
    return lumbar.app.services.displaySetService
      .getActiveDisplaySets()
      .find(displaySet => displaySet.numImageFrames > 0 && !roleOf(displaySet) && isSource(displaySet));
  }

  /** The role of a display set in the result to be shown, '' for every other one. */
  function shownRole(displaySet) {
    const result = shown();
    if (!result) return '';
    const role = roleOf(displaySet);
    if (role) return result[role] === displaySet ? role : '';
    return sourceOf(result) === displaySet ? 'source' : '';
  }

  Object.assign(lumbar, { list, header, roleOf, results, shown, linkTo, sourceOf, shownRole });
})(window.lumbar);
