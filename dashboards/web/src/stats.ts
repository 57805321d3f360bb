// Rows that the stages of a query make: what their columns are called, how their values read, what they filter by. Pure.

import { bytes, count, group, micros, plain, visible } from "./format";
import { equals, toggle } from "./query";
import type { Cell, Column, Row } from "./types";

/** What the table can be grouped by: the fields, and what people call it. */
export const groups: [string, string][] = [
  ["", "connections"],
  ["src.workload, dst.workload, dst.port, outcome", "edges"],
  ["src.ns, dst.ns, outcome", "namespaces"],
  ["outcome, dst.listen", "outcomes"],
  ["src.node, dst.node, outcome", "node pairs"],
  ["service, dst.port, outcome", "Services"],
  ["dst.name, dst.ip", "external ends"],
  ["policy.eval, policy.eval_why", "policies"],
];

const titles: Record<string, string> = {
  "sum(bytes)": "bytes →",
  "sum(reverse.bytes)": "bytes ←",
  "p95(rtt)": "RTT p95",
  "src.workload": "from",
  "dst.workload": "to",
  "dst.port": "port",
};
export const titleOf = (name: string): string => titles[name] ?? name;

/** The condition that a value of a group stands for; null for sums and times. */
export function termOf(c: Column, v: Cell): string | null {
  if (/[(]/.test(c.name) || c.name === "conns" || c.name === "active" || c.type === "time") return null;
  return equals(c.name, v);
}

/** The query with all that a group's row stands for. */
export function rowQuery(expr: string, columns: Column[], row: Row): string {
  let q = expr;
  columns.forEach((c, k) => {
    const t = termOf(c, row.values[k] ?? null);
    if (t && !q.includes(t)) q = toggle(q, t);
  });
  return q;
}

/** A value with its unit. */
export function amount(c: Column, v: Cell): string {
  if (v === null) return "–";
  if (typeof v !== "number") return visible(c.type === "time" ? moment(String(v)) : String(v));
  if (c.unit === "bytes") return plain(bytes(v));
  if (c.unit === "us") return plain(micros(v));
  if (/port$/.test(c.name)) return String(v);
  return c.unit && c.unit !== "packets" && c.unit !== "segments"
    ? `${group(Math.round(v * 100) / 100)} ${c.unit}`
    : plain(count(v));
}

const moment = (v: string): string => v.replace("T", " ").replace(/\.000Z$/, "");

/** The widths of the columns. */
export const templateOf = (list: Column[]): string =>
  list
    .map((c) => (c.type === "number" ? "minmax(7.6rem, 10.4rem)" : c.type === "time" ? "16rem" : "minmax(10rem, 1fr)"))
    .join(" ");
