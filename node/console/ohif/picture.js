// The measured lines on the mid-disc image: colours, texts, and where the texts are.
window.lumbar = window.lumbar || {};
(lumbar => {
  'use strict';

  const COLOURS = {
    OC: 'rgb(255, 214, 64)',
    DAA: 'rgb(255, 110, 110)',
    DIVC: 'rgb(120, 170, 255)',
    PI: 'rgb(255, 160, 90)',
  };
  const REFUSED = 'rgb(255, 176, 77)';
  const FONT = 'Helvetica Neue, Helvetica, Arial, sans-serif';
  const NARROW = 420;
  // The tool draws a text so many pixels right of and below the point that it is given.
  const TOOL_OFFSET = 25;
  const GAP = 4;
  // A line shorter than this, in pixels, as of psoas and vessel that touch, is drawn as a dot.
  const DOT = 5;

  const lengthOf = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
  const colourOf = value => (value.refusal ? REFUSED : COLOURS[value.name] || 'rgb(255, 255, 255)');
  const titleOf = value => (value.vessel ? `${value.name}, ${value.vessel}` : value.name);
  const textOf = value => [`${value.name} ${value.text}`, ...(value.vessel ? [value.vessel] : [])];

  /**
   * Give every annotation the value that it draws, before OHIF adds it: by tracking UID, never by a label, which a
   * reader may type too. The row's title becomes the name, since its value is in the line below.
   */
  function recognise({ storedMeasurementByAnnotationType: stored, displaySet }) {
    const result = lumbar.results().find(one => one.measurements === displaySet);
    const values = new Map((result ? lumbar.values(result) : []).map(value => [value.uid, value]));
    for (const { annotation, TrackingUniqueIdentifier } of Object.values(stored).flat()) {
      const value = values.get(TrackingUniqueIdentifier);
      if (!value) continue;
      annotation.data.lumbar = value;
      annotation.data.label = value.refusal ? value.short : titleOf(value);
    }
    return stored;
  }

  /** Lines of text of the Length tool: ours as the report gives them, those of a reader as the tool measures them. */
  const textLines = theirs => (data, target) => (data.lumbar ? textOf(data.lumbar) : theirs(data, target));

  /** A row of the list never lacks its value, and says the same as the picture. */
  function completeRow({ measurement, data }) {
    const annotation = window.cornerstoneTools.annotation.state.getAnnotation(measurement.uid) || (data && data.annotation);
    const value = annotation && annotation.data.lumbar;
    if (!value) return;
    measurement.displayText = { primary: [value.text || value.refusal], secondary: measurement.displayText?.secondary || [] };
  }

  /** Give a tool group our texts, and let it mark the mid-disc plane on the slices, whichever viewport is active. */
  function prepareTools(toolGroup) {
    const find = name => (toolGroup && toolGroup.hasTool(name) ? toolGroup.getToolInstance(name) : undefined);
    const ruler = find('Length');
    if (ruler && !ruler.lumbar) {
      ruler.lumbar = true;
      ruler.configuration.getTextLines = textLines(ruler.configuration.getTextLines);
    }
    const marks = find('ReferenceLines');
    if (!marks || marks.lumbar) return;
    marks.lumbar = true;
    // OHIF replaces the tool's configuration as a whole at every change of the active viewport.
    const before = marks.onSetToolConfiguration;
    marks.onSetToolConfiguration = () => {
      const { viewports } = lumbar.app.services.viewportGridService.getState();
      if (viewports.has(lumbar.LINES)) marks.configuration.sourceViewportId = lumbar.LINES;
      before();
    };
  }

  // ---- places of the texts -----------------------------------------------------------------------
  const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

  /** Whether a line passes a box, or passes it by less than a gap. */
  function crosses(box, [a, b]) {
    const steps = Math.max(2, Math.ceil(lengthOf(a, b) / GAP));
    for (let k = 0; k <= steps; k += 1) {
      const [x, y] = [0, 1].map(n => a[n] + ((b[n] - a[n]) * k) / steps);
      if (x > box[0] - GAP && x < box[2] + GAP && y > box[1] - GAP && y < box[3] + GAP) return true;
    }
    return false;
  }

  const pen = document.createElement('canvas').getContext('2d');
  function widthOf(texts, size) {
    pen.font = `${size}px ${FONT}`;
    return Math.max(...texts.map(text => pen.measureText(text).width)) + 10;
  }

  /** Return `text`, shortened to a width in pixels: the complete sentence is in the card and in the list. */
  function fitted(text, size, width) {
    let shown = text;
    while (shown.length > 8 && widthOf([shown], size) > width) shown = `${shown.slice(0, -2).trimEnd()}\u2026`;
    return shown;
  }

  /**
   * Place every text in the free column at the side of its line: on no line, no other text and none of OHIF's own.
   * lines: [{ends, size: [width, height]}] in pixels of the viewport; taken: boxes that are not free.
   * Returns the upper left corner of each.
   */
  function places(lines, [width, height], taken) {
    const middle = line => [0, 1].map(n => (line.ends[0][n] + line.ends[1][n]) / 2);
    const centre = lines.reduce((sum, line) => sum + middle(line)[0], 0) / (lines.length || 1);
    const used = [...taken];
    const found = new Map();
    for (const line of [...lines].sort((a, b) => middle(a)[1] - middle(b)[1])) {
      const [x0, y0] = middle(line);
      const [w, h] = line.size;
      const x = x0 < centre ? 8 : width - w - 8;
      let best = null;
      for (let y = 4; y < height - h; y += GAP) {
        const box = [x, y, x + w, y + h];
        if (used.some(other => overlap(box, other)) || lines.some(other => crosses(box, other.ends))) continue;
        const cost = Math.abs(y + h / 2 - (y0 - 45)); // a little in front of its line
        if (!best || cost < best.cost) best = { cost, box };
      }
      const box = best ? best.box : [x, y0, x + w, y0 + h];
      used.push([box[0], box[1], box[2], box[3] + 2]);
      found.set(line, [box[0], box[1]]);
    }
    return found;
  }

  /** Colour every line of the shown report and put its text where nothing is. */
  function drawTexts() {
    const viewport = lumbar.app.services.cornerstoneViewportService.getCornerstoneViewport(lumbar.LINES);
    if (!viewport || !viewport.element) return;
    const { state, config } = window.cornerstoneTools.annotation;
    const { clientWidth: width, clientHeight: height } = viewport.element;
    const size = width < NARROW ? 12 : 15;
    const row = Math.ceil(size * 1.5);
    const image = viewport.getCurrentImageId();
    const present = state
      .getAllAnnotations()
      .filter(one => one.data.lumbar && one.metadata.referencedImageId === image)
      .map(annotation => ({ annotation, value: annotation.data.lumbar }));
    const put = (annotation, [x, y]) => {
      const worldPosition = viewport.canvasToWorld([x - TOOL_OFFSET, y - TOOL_OFFSET]);
      annotation.data.handles.textBox = { ...annotation.data.handles.textBox, hasMoved: true, worldPosition };
    };
    // OHIF's own texts: upper left corner, its menus at the upper right, window and slice number at the foot.
    const taken = [[0, 0, 230, 92], [width - 96, 0, width, 34], [0, height - 64, width, height]];
    const refused = present.filter(one => one.value.refusal);
    refused.forEach(({ annotation, value }, n) => {
      const y = height - 68 - row * (refused.length - n);
      annotation.data.label = fitted(value.short, size, width - 32);
      put(annotation, [12, y]);
      taken.push([0, y, width, y + row]);
    });
    const lines = present
      .filter(one => !one.value.refusal)
      .map(({ annotation, value }) => ({
        annotation,
        ends: annotation.data.handles.points.map(point => viewport.worldToCanvas(point)),
        size: [widthOf(textOf(value), size), row * textOf(value).length],
      }));
    places(lines, [width, height], taken).forEach((corner, line) => put(line.annotation, corner));
    for (const { annotation, value } of present) {
      const [a, b] = annotation.data.handles.points.map(point => viewport.worldToCanvas(point));
      const width = value.refusal ? 0 : lengthOf(a, b) < DOT ? DOT + 2 : 2;
      config.style.setAnnotationStyles(annotation.annotationUID, styleOf(value, size, width));
    }
    viewport.render();
  }

  /**
   * Colours of a line and its text in every state that the tool knows. A refusal, of width 0, is a sentence at the
   * foot of the picture; its arrow would lie over the anatomy.
   */
  function styleOf(value, size, width) {
    const style = { textBoxFontSize: `${size}px`, textBoxBackground: 'rgba(0, 0, 0, 0.55)' };
    for (const mode of ['', 'Highlighted', 'Selected', 'Locked']) {
      style[`color${mode}`] = colourOf(value);
      style[`textBoxColor${mode}`] = colourOf(value);
      style[`lineWidth${mode}`] = String(width);
      if (!width) style[`textBoxLinkLineWidth${mode}`] = '0';
    }
    return style;
  }

  /** A line without length is seen only with round ends. */
  function roundEnds() {
    const sheet = document.createElement('style');
    sheet.textContent = 'svg.svg-layer line { stroke-linecap: round; }';
    document.head.appendChild(sheet);
  }

  Object.assign(lumbar, { colourOf, recognise, completeRow, prepareTools, places, drawTexts, roundEnds });
})(window.lumbar);
