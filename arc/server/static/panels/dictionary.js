// What messages say about concepts: the information of each position, and a dictionary of symbols.

import { get } from "../api.js";
import { tableHeading } from "../csv.js";
import { h, note, scrollBox, setText } from "../dom.js";
import { figure, integer, percent } from "../format.js";
import { COLORS, NAMES, gridView } from "../grid.js";
import { heatTable } from "../heat.js";
import { label, words } from "../labels.js";
import { messageView } from "../message.js";

const FIRST = 20;
const COLOR_CONCEPTS = ["background", "foreground", "largest_color"];
const YES_NO = ["left_right", "up_down", "diagonal", "antidiagonal", "rotation"];

/** Returns {element, load()}; `open(example)` shows an example in another tab. */
export function conceptTables(app, open) {
  const [information, dictionary] = [scrollBox("Positions and concepts"), scrollBox("Dictionary")];
  const [readout, score] = [h("p.hint.readout"), h("p.hint")];
  const more = h("button.quiet", { type: "button", hidden: true, onclick: () => ((all = !all), showDictionary()) });
  const element = h(
    "section",
    {},
    tableHeading(app, "Positions and concepts", information),
    h("p.hint", {}, "Mutual information of the symbol at a position and a concept of the grid, in bits, less that of shuffled messages."),
    information,
    readout,
    tableHeading(app, "Dictionary", dictionary),
    score,
    dictionary,
    more,
  );
  let [latest, shown, all] = [null, null, false];

  async function load() {
    if (app.sendsVector) {
      clear("Continuous bottleneck: no symbols to match with concepts.");
      return;
    }
    if (!latest) clear("Waiting for the messages …");
    const answer = await get("/concepts").catch((error) => {
      if (!latest) clear(error.message, "bad");
      throw error;
    });
    const stamp = `${answer.run_id} ${answer.step}`;
    if (stamp === shown && latest) return;
    if (!answer.information) {
      clear("No messages yet.");
      return;
    }
    [latest, shown] = [answer, stamp];
    showInformation();
    showDictionary();
  }

  function clear(text, kind) {
    [latest, shown, more.hidden] = [null, null, true];
    information.replaceChildren(note(text, kind));
    dictionary.replaceChildren();
    setText(readout, "");
    setText(score, "");
  }

  function showInformation() {
    const { concepts, entropy, bits, shuffled } = latest.information;
    const corrected = bits.map((row, p) => row.map((value, c) => Math.max(0, value - shuffled[p][c])));
    const most = Math.max(...corrected.flat(), 1e-9);
    const cell = (value, p, c) => ({
      text: value < 0.005 ? "·" : value.toFixed(2),
      csv: value,
      share: value / most,
      title: `position ${p + 1}, ${words(concepts[c])}: ${figure(bits[p][c], 3)} bits, shuffled messages ${figure(shuffled[p][c], 3)}; entropy of the concept ${figure(entropy[c], 3)}`,
    });
    const caption = "Information of each position about each concept, in bits";
    information.replaceChildren(heatTable({ caption, columns: concepts.map(words), rows: corrected.map((row, p) => row.map((value, c) => cell(value, p, c))), readout, turned: true }));
  }

  function showDictionary() {
    const { dictionary: entries, entries: total, examples, step, score: best } = latest;
    setText(score, `Best one-to-one match of symbols and values of concepts, for ${integer(examples)} validation grids at step ${integer(step)}. Score ${figure(best.value, 3)}; shuffled messages ${figure(best.shuffled, 3)}, random messages ${figure(best.random, 3)}. Of ${integer(total)} entries, those with the most matches above chance come first.`);
    const titles = ["Symbol", "Position", "Concept", "Value", "Matches", "Precision (%)", "Chance (%)", "Recall (%)", "Grids"];
    const head = titles.map((title, i) => h(`th${i === 1 || (i > 3 && i < 8) ? ".number" : ""}`, { scope: "col" }, title));
    const rows = (all ? entries : entries.slice(0, FIRST)).map((each) => row(each));
    dictionary.replaceChildren(h("table.rows", {}, h("caption.vh", {}, "Dictionary of symbols and values of concepts"), h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
    more.hidden = entries.length <= FIRST;
    setText(more, all ? `Show the first ${FIRST}` : `Show ${integer(entries.length)} entries`);
  }

  function row({ symbol, position, concept, value, count, precision, chance, recall, examples }) {
    const share = (part) => h("td.number", { "data-csv": 100 * part }, percent(100 * part));
    return h(
      "tr",
      {},
      h("td", {}, messageView([symbol])),
      h("td.number", {}, position),
      h("td", { "data-csv": concept }, label(concept)),
      h("td", { "data-csv": value }, valueView(concept, value)),
      h("td.number", { "data-csv": count }, integer(count)),
      [precision, chance, recall].map(share),
      thumbs(examples, open),
    );
  }

  return { element, load };
}

/** A cell with grids; each opens its example. */
export function thumbs(examples, open) {
  const grids = examples.map(({ example, grid }) =>
    h("button.thumb", { type: "button", title: `${example}: open in Examples`, onclick: () => open(example) }, gridView(grid, { size: 44, role: example })),
  );
  return h("td.thumbs", { "data-csv": examples.map(({ example }) => example).join("; ") }, grids);
}

/** A value in words, colours with their swatches. */
function valueView(concept, value) {
  if (COLOR_CONCEPTS.includes(concept)) return value < COLORS.length ? colorView(value) : "none";
  if (concept === "colors") return COLORS.flatMap((_, color) => ((value >> color) & 1 ? [colorView(color), " "] : []));
  if (concept === "output") return value ? "output" : "input";
  if (YES_NO.includes(concept)) return value ? "yes" : "no";
  return integer(value);
}

function colorView(color) {
  const swatch = h("span.swatch", { "aria-hidden": "true" });
  swatch.style.background = COLORS[color];
  return h("span.color", {}, swatch, NAMES[color]);
}
