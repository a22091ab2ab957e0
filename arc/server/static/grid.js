// ARC grids on canvas, in ARC's ten colours, optionally with digits; wrong cells are crossed out.

import { h, memory } from "./dom.js";

export const COLORS = [
  "#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00",
  "#aaaaaa", "#f012be", "#ff851b", "#7fdbff", "#870c25",
]; // prettier-ignore
export const NAMES = ["black", "blue", "red", "green", "yellow", "grey", "magenta", "orange", "azure", "maroon"];
const LIGHT = new Set([3, 4, 5, 7, 8]); // colours that need dark digits
const DIGIT_CELL = 11; // px; the smallest cell that fits a digit
const painters = new WeakMap();

let digits = memory.get("digits", false);

export const showsDigits = () => digits;

/** Show or hide the digits in every grid on the page. */
export function setDigits(on) {
  digits = on;
  memory.set("digits", on);
  for (const canvas of document.querySelectorAll("canvas.grid")) painters.get(canvas)?.();
}

/**
 * A canvas of `grid`, at most about `size` px wide and high. Cells that differ from `target` are
 * crossed out; `role` names the grid for screen readers.
 */
export function gridView(grid, { size = 120, target = null, role = "Grid" } = {}) {
  const [rows, columns] = [grid?.length ?? 0, grid?.[0]?.length ?? 0];
  if (!rows || !columns) return h("span.grid.missing", {}, "no grid");
  const canvas = h("canvas.grid", { role: "img", "aria-label": describe(grid, target, role) });
  const paint = () => {
    const fit = Math.floor(size / Math.max(rows, columns));
    const cell = Math.max(digits ? DIGIT_CELL : 2, Math.min(fit, 22));
    draw(canvas, grid, target, cell);
  };
  painters.set(canvas, paint);
  paint();
  return canvas;
}

/** The number of cells of `grid` that differ from `target`; all if the sizes differ. */
export function wrongCells(grid, target) {
  if (!target) return 0;
  let wrong = 0;
  grid.forEach((row, r) => row.forEach((value, c) => (wrong += value !== target[r]?.[c])));
  return wrong;
}

function describe(grid, target, role) {
  const counts = new Array(10).fill(0);
  for (const row of grid) for (const value of row) counts[value] += 1;
  const colors = counts.flatMap((count, color) => (count ? [`${color} ${NAMES[color]} ×${count}`] : []));
  const wrong = target ? `; ${wrongCells(grid, target)} cells wrong` : "";
  return `${role}, ${grid.length} by ${grid[0].length}: ${colors.join(", ")}${wrong}`;
}

function draw(canvas, grid, target, cell) {
  const [rows, columns] = [grid.length, grid[0].length];
  const gap = cell >= 5 ? 1 : 0;
  const [width, height] = [columns * cell + gap, rows * cell + gap];
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const ink = canvas.getContext("2d");
  ink.scale(ratio, ratio);
  ink.fillStyle = "#4a4a4a";
  ink.fillRect(0, 0, width, height);
  ink.textAlign = "center";
  ink.textBaseline = "middle";
  ink.font = `${Math.max(8, Math.round(cell * 0.62))}px system-ui, sans-serif`;
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      const value = grid[r][c];
      const [x, y] = [c * cell + gap, r * cell + gap];
      ink.fillStyle = COLORS[value] ?? "#ffffff";
      ink.fillRect(x, y, cell - gap, cell - gap);
      if (digits) {
        ink.fillStyle = LIGHT.has(value) ? "#000000" : "#ffffff";
        ink.fillText(value, x + (cell - gap) / 2, y + (cell - gap) / 2 + 0.5);
      }
      if (target && value !== target[r]?.[c]) cross(ink, x, y, cell - gap, digits);
    }
  }
}

/** A black cross on a white one, visible on all ten colours; an outline where digits are shown. */
function cross(ink, x, y, side, outline) {
  const inset = Math.max(1, side * 0.18);
  ink.beginPath();
  if (outline) ink.rect(x + 1, y + 1, side - 2, side - 2);
  else {
    ink.moveTo(x + inset, y + inset);
    ink.lineTo(x + side - inset, y + side - inset);
    ink.moveTo(x + side - inset, y + inset);
    ink.lineTo(x + inset, y + side - inset);
  }
  for (const [color, width] of [["#ffffff", 3], ["#000000", 1.3]]) {
    ink.strokeStyle = color;
    ink.lineWidth = side < 7 ? width * 0.7 : width;
    ink.stroke();
  }
}
