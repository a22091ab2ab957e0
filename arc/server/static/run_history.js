// The steps and validations of the current run from /metrics_history, in bounded memory.

import { get } from "./api.js";
import { Columns } from "./series.js";

const COLUMNS = [["batch_num", "epoch", "batch", "seconds", "learning_rate", "grad_norm"], ["loss", "accuracy"]];
const MOST_VALIDATIONS = 20000;

/** Shared by the panels that show it; each calls `fetch` while it is in view. */
export class RunHistory {
  steps = new Columns(...COLUMNS);
  validations = [];
  run = null; // its run_id

  /** Request what is new; after another run has begun, everything. */
  async fetch() {
    // Start one step back: a validation may arrive after the row of its step.
    const last = Math.max(this.steps.last("batch_num") || 0, 0);
    const answer = await get(last > 1 ? `/metrics_history?since=${last - 1}` : "/metrics_history");
    if (answer.run_id !== this.run) {
      const restart = this.run !== null && last > 1;
      this.run = answer.run_id;
      this.steps.clear();
      this.validations = [];
      if (restart) return this.fetch(); // that answer started in the middle of another run
    }
    let newest = this.steps.length ? this.steps.last("batch_num") : -Infinity;
    for (const row of answer.history ?? []) {
      if (row.batch_num <= newest) continue;
      newest = row.batch_num;
      this.steps.push(row);
    }
    const known = this.validations.at(-1)?.batch_num ?? -Infinity;
    this.validations.push(...(answer.validations ?? []).filter((each) => each.batch_num > known));
    if (this.validations.length > MOST_VALIDATIONS) this.validations = this.validations.filter((_, i) => i % 2);
  }
}
