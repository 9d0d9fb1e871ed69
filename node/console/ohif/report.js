// What the reports of a result say: values by name, refusals, doubts about the level, warnings (TID 1500).
window.lumbar = window.lumbar || {};
(lumbar => {
  'use strict';

  /** Codes by which items are found. */
  const CODE = {
    measurements: '126010',
    group: '125007',
    trackingIdentifier: '112039',
    trackingUid: '112040',
    finding: '121071',
    site: '363698007',
    laterality: '272741003',
    comment: '121106',
    uncertainty: 'UNCERTAINTY',
    least: 'RANGELEAST',
    most: 'RANGEMOST',
    grade: 'CORRIDORGRADE',
    refusal: 'NOTREPORTED',
  };
  const LEVEL_SITE = '243923001';

  const concept = sequence => lumbar.list(sequence)[0] || {};
  const items = (node, code) =>
    lumbar.list(node && node.ContentSequence).filter(i => concept(i.ConceptNameCodeSequence).CodeValue === code);
  const item = (node, code) => items(node, code)[0];
  const meaning = node => (node ? concept(node.ConceptCodeSequence).CodeMeaning || '' : '');
  const number = node => {
    const measured = node && concept(node.MeasuredValueSequence).NumericValue;
    return measured === undefined || measured === null || measured === '' ? null : Number(measured);
  };
  const comments = group => items(group, CODE.comment).map(i => String(i.TextValue || '')).filter(Boolean);
  const nameOf = group => String((item(group, CODE.trackingIdentifier) || {}).TextValue || '').split(':').pop();
  const groups = sr => (sr ? items(lumbar.header(sr), CODE.measurements).flatMap(part => items(part, CODE.group)) : []);

  /** A vessel or muscle with its side: "left common iliac artery"; the level, which every value has, is left out. */
  function siteOf(group) {
    const site = items(group, CODE.site).find(i => concept(i.ConceptCodeSequence).CodeValue !== LEVEL_SITE);
    if (!site) return '';
    return [meaning(item(site, CODE.laterality)), meaning(site)].join(' ').trim().toLowerCase();
  }

  /** A number with so many decimals, 0 or 1; a tie becomes even, as in the encoder. */
  function fixed(value, digits) {
    const isTie = digits ? Number.isInteger(value * 4) && (value * 20) % 2 === 1 : (value * 2) % 2 === 1;
    const low = Math.floor(value * 10 ** digits);
    return (isTie ? (low + (low % 2)) / 10 ** digits : value).toFixed(digits);
  }

  /**
   * A value as text. The encoder rounds once, to what the value is known to, and writes it into the group's first
   * comment; every row, picture and page repeats this text. Reports without it are rounded here.
   */
  function valueText(group, name, main) {
    const written = /^(\S+) (\d.* mm)(?:,|$)/.exec(comments(group)[0] || '');
    if (written && written[1] === name) return written[2].replace('+/-', '\u00b1');
    if (main === null) return '';
    const [sd, least, most] = [CODE.uncertainty, CODE.least, CODE.most].map(code => number(item(group, code)));
    const isRange = least !== null && most !== null;
    const half = isRange ? (most - least) / 2 : sd || 0;
    const digits = half >= 1 ? 0 : 1;
    const step = 10 ** -digits;
    const value = fixed(main, digits);
    if (isRange) {
      const [low, high] = [Math.floor(least / step) * step, Math.ceil(most / step) * step];
      return `${value} (${low.toFixed(digits)} to ${high.toFixed(digits)}) mm`;
    }
    return sd === null ? `${value} mm` : `${value} \u00b1 ${fixed(Math.max(sd, 0.1), digits)} mm`;
  }

  function valueOf(group) {
    const name = nameOf(group);
    const said = comments(group);
    const notMain = [CODE.uncertainty, CODE.least, CODE.most];
    const main = lumbar
      .list(group.ContentSequence)
      .find(i => i.ValueType === 'NUM' && !notMain.includes(concept(i.ConceptNameCodeSequence).CodeValue));
    const isRefused = Boolean(item(group, CODE.refusal)) || number(main) === null;
    const site = siteOf(group);
    const title = meaning(item(group, CODE.finding));
    // A distance has its two ends in its second comment, a diameter its vessel as a finding site.
    const between = said.find(text => / to /.test(text) && text === said[1]);
    return {
      name,
      uid: (item(group, CODE.trackingUid) || {}).UID,
      text: isRefused ? '' : valueText(group, name, number(main)),
      vessel: site,
      where: site || between || title,
      grade: meaning(item(group, CODE.grade)),
      isBorderline: said.some(text => /^grade \d .*borderline/.test(text)),
      refusal: isRefused ? said[said.length - 1] || meaning(item(group, CODE.refusal)) : '',
      short: isRefused ? said[0] || `${name} not measured` : '',
    };
  }

  /** The values of a result in the order of the report. */
  const values = result => groups(result && result.measurements).map(valueOf);

  /** Everything that puts a result in doubt, as sentences: the level first. */
  function doubts(result) {
    const all = groups(result && result.volumes);
    const of = name => comments(all.find(group => nameOf(group) === name));
    // The first comment of the level says how it was determined; a warning begins with its code.
    return [...of('level').slice(1), ...of('warnings').map(text => text.replace(/^[a-z0-9_.-]+: /, ''))];
  }

  Object.assign(lumbar, { values, doubts });
})(window.lumbar);
