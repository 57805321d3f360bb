// The table for other places: a command, Markdown, a spreadsheet.

import { get } from "./api";
import { columns, fieldsOf } from "./columns";
import { table, tableQuery } from "./data";
import { group } from "./format";
import { join } from "./query";
import { chosenCols, lines, plainRows } from "./rows";
import { parts, rangeFlags, span, state } from "./state";
import { amount } from "./stats";
import type { Result } from "./types";
import { code, csv, download, md, say, shell } from "./ui/copy";

/** Rows that are copied as Markdown. */
const most = 30;

export function cliText(): string {
  return state.value.live
    ? `weirctl observe ${shell(parts.value.expr)}`
    : `weirctl query ${shell(plainRows.value ? parts.value.expr : tableQuery.value)} ${rangeFlags(state.value.range)}`;
}

const line = (cells: string[]): string => `| ${cells.join(" | ")} |`;

export function markdown(): string {
  const out = [code(cliText()), ""];
  const r = table.value.value;
  if (plainRows.value) {
    const list = chosenCols.value;
    out.push(line(list.map((c) => c.title)), `|${list.map((c) => (c.right ? "--:" : "---")).join("|")}|`);
    for (const l of lines.value.slice(0, most))
      out.push(line(list.map((c) => md(c.text(l.conn, true)) + (c.id === "outcome" && l.n > 1 ? ` ×${l.n}` : ""))));
  } else if (r) {
    out.push(line(r.columns.map((c) => md(c.name))), `|${r.columns.map(() => "---").join("|")}|`);
    for (const row of r.rows.slice(0, most))
      out.push(line(r.columns.map((c, k) => md(amount(c, row.values[k] ?? null)))));
  }
  return out.join("\n");
}

/** All rows of the answer, not only those that are shown: the API's own limit holds. */
export async function exportCSV(): Promise<void> {
  say("asking for all rows …");
  try {
    const fields = fieldsOf(columns.filter((c) => chosenCols.value.includes(c))).join(", ");
    const q = plainRows.value ? join(parts.value.expr, `| limit 10000 | fields ${fields}`) : tableQuery.value;
    const s = span.value;
    const r = await get<Result>(
      "query",
      { q, since: s.from, until: s.to, limit: "10000" },
      new AbortController().signal,
    );
    const name = `weir-${new Date(s.to).toISOString().replace(/[:.]/g, "-")}.csv`;
    download(name, "text/csv;charset=utf-8", csv(r.columns, r.rows));
    const cut = r.cut || r.rows.length === 10_000;
    say(`${group(r.rows.length)} rows${cut ? ", the newest: narrow the query for the rest" : ""}`);
  } catch (e) {
    say(e instanceof Error ? e.message : String(e));
  }
}
