// What is told to those who do not see it: one polite line for each thing, and only when it is another than before.

import { computed } from "@preact/signals";
import { findings, table, tableQuery } from "../data";
import { group, visible } from "../format";
import { readable } from "../panes/findings";
import { paused, state } from "../state";
import { said } from "./copy";

const found = computed(() => {
  const v = findings.value.value;
  if (!v) return "";
  const first = v.findings[0];
  if (!first) return v.calm ? "No findings: all is calm." : "";
  return `${v.findings.length === 1 ? "One finding" : `${v.findings.length} findings, the first`}: ${visible(readable(first.text).split(": ")[0] ?? "")}.`;
});

let told = { query: "", text: "" };

/** How many rows a question has; a refresh of the same question tells nothing. */
const rows = computed(() => {
  if (state.value.live) return "Live tail.";
  const h = table.value;
  const q = tableQuery.value;
  if (h.value && h.key.endsWith(` ${q}`) && told.query !== h.key)
    told = { query: h.key, text: `${group(h.value.rows.length)} ${h.value.rows.length === 1 ? "row" : "rows"}.` };
  return told.text;
});

export function Announce() {
  return (
    <>
      <p class="sr" role="status">
        {found.value}
      </p>
      <p class="sr" role="status">
        {rows.value}
      </p>
      <p class="sr" role="status">
        {paused.value ? "Held still: p goes on." : ""}
      </p>
      <div class="said" role="status">
        {said.value}
      </div>
    </>
  );
}
