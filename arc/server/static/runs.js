// The page of runs alone, which scripts/compare.py --serve shows.

import { onTokenWanted } from "./api.js";
import { App } from "./app.js";
import { prompt } from "./dialog.js";
import { mountRuns } from "./panels/runs.js";
import { mountTheme } from "./theme_button.js";

onTokenWanted((wrong) =>
  prompt("A token is required", wrong ? "That token was not accepted." : "Enter the value of ARC_TOKEN.", { label: "Token", type: "password", ok: "Continue" }),
);
const tab = { active: true, shown: [] };
mountTheme();
mountRuns(new App(), tab);
for (const act of tab.shown) act();
