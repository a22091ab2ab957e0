// The receiver's output: candidates with probabilities, a reconstructed grid, or puzzles.

import { h, note } from "./dom.js";
import { integer, percent } from "./format.js";
import { gridView, wrongCells } from "./grid.js";

const FIRST = 12;

/** "correct" or "wrong" as a sign and a word, never by colour alone. */
export function verdict(correct) {
  if (correct === null || correct === undefined) return null;
  return h(`span.verdict.${correct ? "correct" : "wrong"}`, {}, correct ? "✓ correct" : "✗ wrong");
}

/** The outcome in one line, for cards. */
export function outcome(sample) {
  if (sample.candidates?.length) {
    const target = sample.candidates.find((each) => each.is_target);
    return `target ${percent(100 * target?.probability)} % of ${sample.candidates.length}`;
  }
  if (sample.built) {
    const wanted = sample.target ?? sample.grid;
    const cells = wanted.length * wanted[0].length;
    return otherSize(sample.built, wanted) ?? `${integer(wrongCells(sample.built, wanted))} of ${integer(cells)} cells wrong`;
  }
  if (sample.top?.length) return `${sample.top[0].puzzle} ${sample.top[0].side}, ${percent(100 * sample.top[0].probability)} %`;
  return "";
}

/**
 * The receiver's output in full. `state.all`: whether all candidates are shown; `state.distractors`:
 * the task's number of distractors.
 */
export function answer(sample, state) {
  if (sample.candidates?.length) return candidates(sample, state);
  if (sample.built) return built(sample);
  if (sample.top?.length) return puzzles(sample);
  return note("No receiver output.");
}

/** The sizes of `built` and `wanted` in words, or null if they are equal. */
function otherSize(built, wanted) {
  const [made, right] = [built, wanted].map((grid) => `${grid.length} by ${grid[0].length}`);
  return made === right ? null : `${made} built, target ${right}`;
}

function bar(probability) {
  const fill = h("span.fill");
  fill.style.width = `${Math.max(0.5, 100 * (probability ?? 0))}%`;
  return h("span.meter", { "aria-hidden": "true" }, fill);
}

function candidates(sample, state) {
  const ranked = [...sample.candidates].sort((a, b) => (b.probability ?? 0) - (a.probability ?? 0));
  const rank = ranked.findIndex((each) => each.is_target);
  const few = ranked.slice(0, FIRST);
  if (rank >= FIRST) few[FIRST - 1] = ranked[rank];
  const shown = state.all ? ranked : few;
  const items = shown.map((each) => {
    const place = ranked.indexOf(each) + 1;
    const marks = [place === 1 && "predicted", each.is_target && "target"].filter(Boolean);
    const style = `${each.is_target ? ".target" : ""}${place === 1 ? ".picked" : ""}`;
    return h(
      `li.candidate${style}`,
      {},
      gridView(each.grid, { size: 72, role: `Candidate ${place}${marks.length ? `, ${marks.join(" and ")}` : ""}` }),
      h("span.caption", {}, h("span.place", {}, `${place}.`), ` ${percent(100 * each.probability)} %`),
      bar(each.probability),
      h("span.marks", {}, marks.length ? `${each.is_target ? "◎" : "▸"} ${marks.join(", ")}` : ""),
    );
  });
  const text = `Target ranked ${rank + 1} of ${ranked.length}, probability ${percent(100 * ranked[rank]?.probability)} %.`;
  const fewer = (state.distractors ?? 0) >= ranked.length && ` Shown with ${ranked.length - 1} of the task's ${integer(state.distractors)} distractors.`;
  const more =
    ranked.length > FIRST &&
    h("button.quiet", { type: "button", onclick: () => state.toggle() }, state.all ? `Show the first ${FIRST}` : `Show all ${ranked.length}`);
  return h("div.answer", {}, h("p", {}, text, fewer && h("span.hint", {}, fewer)), h("ol.candidates", {}, items), more);
}

function built(sample) {
  const wanted = sample.target ?? sample.grid;
  const wrong = wrongCells(sample.built, wanted);
  const cells = wanted.length * wanted[0].length;
  const counted = wrong ? `${integer(wrong)} of ${integer(cells)} cells wrong (crossed out).` : `All ${integer(cells)} cells correct.`;
  const text = otherSize(sample.built, wanted) ?? counted;
  return h(
    "div.answer",
    {},
    h("p", {}, text),
    h(
      "div.pair",
      {},
      h("figure", {}, h("figcaption", {}, "Built grid"), gridView(sample.built, { size: 260, target: wanted, role: "Built grid" })),
      h("figure", {}, h("figcaption", {}, "Target"), gridView(wanted, { size: 260, role: "Target grid" })),
    ),
  );
}

function puzzles(sample) {
  const rows = sample.top.map((each, i) =>
    h(
      `li.puzzle${each.is_target ? ".target" : ""}`,
      {},
      h("span.place", {}, `${i + 1}.`),
      h("code", {}, each.puzzle),
      h("span", {}, each.side),
      bar(each.probability),
      h("span.value", {}, `${percent(100 * each.probability)} %`),
      h("span.marks", {}, each.is_target ? "◎ correct" : ""),
    ),
  );
  const rank = sample.top.findIndex((each) => each.is_target);
  const text = rank < 0 ? `Correct class not among the top ${rows.length}.` : `Correct class ranked ${rank + 1}.`;
  return h("div.answer", {}, h("p", {}, text), h("ol.puzzles", {}, rows));
}
