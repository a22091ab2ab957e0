// What the charts of one panel share: the range that is shown, and the crosshair.

import { h } from "./dom.js";

/**
 * Returns {view, on, button, zoom(range or null), reset()}: `view` and `on` are arguments of each
 * Chart, `button` ends the zoom. `charts()` returns the charts, `draw()` draws them; `prefix()` and
 * `fail(error)` are for downloads.
 */
export function chartGroup({ charts, draw, prefix, fail, byTime = false, smoothing = 0 }) {
  const view = { byTime, smoothing, range: [0, 1], zoomed: null, hover: null };
  const button = h("button.quiet", { type: "button", hidden: true, onclick: () => zoom(null) }, "Show all and follow");

  function hover(x) {
    view.hover = x;
    for (const chart of charts()) chart.hover(x);
  }

  function reset() {
    view.zoomed = null;
    button.hidden = true;
  }

  function zoom(range) {
    view.zoomed = range;
    view.hover = null;
    button.hidden = range === null;
    draw();
  }

  return { view, on: { hover, zoom, prefix, fail }, button, zoom, reset };
}
