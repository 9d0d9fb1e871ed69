// The panel "Result": our card, OHIF's list of measurements and OHIF's list of segments, one below the other.
window.lumbar = window.lumbar || {};
(lumbar => {
  'use strict';

  const NOTE = 'Research use only';
  const AMBER = '#ffd24d';
  const DIM = '#b8c7e6';
  let card = null; // the element while the panel is open

  function add(parent, tag, text, style) {
    const element = document.createElement(tag);
    element.textContent = text;
    Object.assign(element.style, style);
    parent.appendChild(element);
    return element;
  }

  const when = ({ key: k }) =>
    `${k.slice(0, 4)}-${k.slice(4, 6)}-${k.slice(6, 8)} ${k.slice(8, 10)}:${k.slice(10, 12)}:${k.slice(12, 14)}`;

  function addValue(table, value) {
    const row = add(table, 'tr', '', {});
    add(row, 'td', value.name, {
      color: lumbar.colourOf({ ...value, refusal: '' }), fontWeight: '600', verticalAlign: 'top', paddingRight: '10px',
    });
    const cell = add(row, 'td', '', { paddingBottom: '5px' });
    const colour = value.text ? '#fff' : lumbar.colourOf(value);
    add(cell, 'div', value.text || 'not measured', { color: colour, fontWeight: '600' });
    add(cell, 'div', value.refusal || value.where, { fontSize: '12px', color: DIM });
    if (!value.grade) return;
    add(cell, 'div', `${value.grade}${value.isBorderline ? ' (borderline)' : ''}`, { fontSize: '12px', color: DIM });
  }

  function addDoubts(parent, doubts) {
    if (!doubts.length) return;
    add(parent, 'div', 'Check', { marginTop: '4px', fontWeight: '600', color: AMBER });
    const entries = add(parent, 'ul', '', {
      margin: '0', paddingLeft: '16px', listStyle: 'disc', fontSize: '12px', color: '#ffe3a0',
    });
    doubts.forEach(text => add(entries, 'li', text, {}));
  }

  /** Every result of a study that has several: the shown one, and a link for each other. */
  function addResults(parent, all, result) {
    if (all.length < 2) return;
    add(parent, 'div', `${all.length} results in this study`, { marginTop: '2px', fontWeight: '600', fontSize: '12px' });
    for (const one of all) {
      const words = `${when(one)}, ${one.model}${one === all[0] ? ' (newest)' : ''}`;
      const line = add(parent, one === result ? 'div' : 'a', one === result ? `${words}: shown` : words, {
        display: 'block', fontSize: '12px', color: one === result ? '#fff' : '#5acce6',
      });
      if (one !== result) line.href = lumbar.linkTo(one);
    }
  }

  /** Fill the card with the result that is shown; called again whenever more of it is known. */
  function fillCard() {
    if (!card) return;
    card.replaceChildren();
    const all = lumbar.results();
    const result = lumbar.shown(all);
    if (!result) {
      add(card, 'div', 'No L4/5 result in this study', { color: DIM });
      return;
    }
    add(card, 'div', 'L4/5 corridor', { fontWeight: '600', fontSize: '15px' });
    add(card, 'div', `${NOTE}. Not verified by a physician.`, { color: AMBER });
    if (all.length < 2) add(card, 'div', `${when(result)}, ${result.model}`, { fontSize: '12px', color: DIM });
    addResults(card, all, result);
    const table = add(card, 'table', '', { width: '100%', marginTop: '6px' });
    lumbar.values(result).forEach(value => addValue(table, value));
    addDoubts(card, lumbar.doubts(result));
  }

  // ---- the panel ---------------------------------------------------------------------------------
  const LISTS = [
    '@ohif/extension-measurement-tracking.panelModule.trackedMeasurements',
    '@ohif/extension-cornerstone.panelModule.panelSegmentation',
  ];

  /** A React 18 element, which is a plain object: nothing here needs React itself. */
  const h = (type, { key = null, ref = null, ...props }, ...children) => ({
    $$typeof: Symbol.for('react.element'), type, key, ref, props: { ...props, children }, _owner: null,
  });

  const keep = element => {
    card = element;
    fillCard();
  };

  function Panel() {
    const box = { overflow: 'auto', flex: '1 1 0', minHeight: '0', borderTop: '1px solid #24345c' };
    const top = {
      padding: '8px 10px', color: '#fff', fontSize: '13px', maxHeight: '60%', overflow: 'auto', flex: '0 0 auto',
    };
    const lists = LISTS.map(name => [name, lumbar.app.extensionManager.getModuleEntry(name)]).filter(([, entry]) => entry);
    return h('div', { style: { display: 'flex', flexDirection: 'column', height: '100%' } },
      h('div', { key: 'card', ref: keep, 'data-cy': 'lumbar-card', style: top }),
      ...lists.map(([name, entry]) => h('div', { key: name, style: box }, h(entry.component, { key: name }))));
  }

  const panels = () => [{ name: 'result', iconName: 'tab-linear', iconLabel: 'Result', label: 'Result', component: Panel }];

  Object.assign(lumbar, { NOTE, AMBER, LISTS, fillCard, panels });
})(window.lumbar);
