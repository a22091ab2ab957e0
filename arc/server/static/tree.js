// A nested configuration as a collapsible outline.

import { h } from "./dom.js";
import { plain } from "./format.js";

const SHORT = 160;

/** Objects collapse; other values take one line, long ones shortened with the rest in the tooltip. */
export function treeView(tree, open = true) {
  const entries = Object.entries(tree ?? {});
  const leaves = entries.filter(([, value]) => !isBranch(value));
  const branches = entries.filter(([, value]) => isBranch(value));
  return h(
    "ul.tree",
    {},
    leaves.map(([key, value]) => {
      const text = plain(Array.isArray(value) && value.some(isBranch) ? JSON.stringify(value) : value);
      const cut = text.length > SHORT;
      return h("li", { title: cut ? text.slice(0, 2000) : null }, h("span.key", {}, `${key}: `), h("span", {}, cut ? `${text.slice(0, SHORT)} …` : text));
    }),
    branches.map(([key, value]) => {
      const size = Object.keys(value).length;
      return h("li", {}, h("details", { open: open && size <= 40 }, h("summary", {}, h("span.key", {}, key)), treeView(value, open)));
    }),
  );
}

const isBranch = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
