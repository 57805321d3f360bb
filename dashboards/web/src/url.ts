// What the page shows, and its form in the URL. Pure.

import { parseDuration, rfc3339 } from "./format";

/** The range: the last `last` milliseconds, or from `since` to `until`. */
export type Range = { last: number } | { since: number; until: number };

export type Level = "" | "namespace" | "workload" | "pod";

/** What the drawer is open for. */
export type Selection =
  | { kind: "conn"; id: string; at: number }
  | { kind: "edge"; src: string; dst: string; port?: number }
  | { kind: "entity"; name: string }
  | { kind: "differences"; region: string }
  | { kind: "changes"; at?: number };

export type Sheet = "" | "coverage" | "ledger" | "help";

export interface State {
  q: string;
  range: Range;
  level: Level; // of the map; "" lets the page choose
  compare: boolean;
  unfolded: boolean; // the map shows all ends
  select: Selection | null;
  sheet: Sheet;
  columns: string[]; // [] for the default ones
  sort: string; // "" newest first; "-bytes" descending
  group: string; // "" one row a connection
  metric: "conns" | "bytes";
  live: boolean;
  utc: boolean;
  pane: "map" | "table"; // which one a narrow window shows
}

export const initial: State = {
  q: "",
  range: { last: 15 * 60_000 },
  level: "",
  compare: false,
  unfolded: false,
  select: null,
  sheet: "",
  columns: [],
  sort: "",
  group: "",
  metric: "conns",
  live: false,
  utc: false,
  pane: "table",
};

const maxText = 8192;

/** Reads a URL's search; what is not understood is as if it were not there. */
export function parse(search: string): State {
  const p = new URLSearchParams(search);
  const one = <T extends string>(key: string, of: readonly T[], or: T): T => {
    const v = p.get(key) as T;
    return of.includes(v) ? v : or;
  };
  return {
    q: (p.get("q") ?? "").slice(0, maxText),
    range: parseRange(p.get("since"), p.get("until")) ?? initial.range,
    level: one("level", ["", "namespace", "workload", "pod"], ""),
    compare: p.get("compare") === "1",
    unfolded: p.get("unfolded") === "1",
    select: parseSelection(p.get("select") ?? ""),
    sheet: one("sheet", ["", "coverage", "ledger", "help"], ""),
    columns: (p.get("columns") ?? "").split(",").filter((c) => /^[a-z_.]+$/.test(c)),
    sort: /^-?[a-z_.()0-9 ]+$/.test(p.get("sort") ?? "") ? (p.get("sort") as string) : "",
    group: (p.get("group") ?? "").slice(0, 200),
    metric: one("metric", ["conns", "bytes"], "conns"),
    live: p.get("live") === "1",
    utc: p.get("utc") === "1",
    pane: one("pane", ["map", "table"], "table"),
  };
}

export function parseRange(since: string | null, until: string | null): Range | null {
  if (since && !until) {
    const last = parseDuration(since);
    return last > 0 ? { last } : null;
  }
  const a = Date.parse(since ?? "");
  const b = Date.parse(until ?? "");
  return a < b ? { since: a, until: b } : null;
}

/** Writes what is otherwise than initially; parse(format(s)) is s. */
export function format(s: State): string {
  const p = new URLSearchParams();
  const put = (key: string, v: string, or = "") => v !== or && p.set(key, v);
  put("q", s.q);
  if ("last" in s.range)
    put("since", durationText(s.range.last), durationText((initial.range as { last: number }).last));
  else {
    p.set("since", rfc3339(s.range.since));
    p.set("until", rfc3339(s.range.until));
  }
  put("level", s.level);
  put("compare", s.compare ? "1" : "");
  put("unfolded", s.unfolded ? "1" : "");
  put("select", formatSelection(s.select));
  put("sheet", s.sheet);
  put("columns", s.columns.join(","));
  put("sort", s.sort);
  put("group", s.group);
  put("metric", s.metric, initial.metric);
  put("live", s.live ? "1" : "");
  put("utc", s.utc ? "1" : "");
  put("pane", s.pane, initial.pane);
  const text = p.toString();
  return text ? `?${text}` : "";
}

function durationText(ms: number): string {
  for (const [n, u] of [
    [86_400_000, "d"],
    [3_600_000, "h"],
    [60_000, "m"],
    [1000, "s"],
  ] as const)
    if (ms % n === 0) return `${ms / n}${u}`;
  return `${ms}ms`;
}

const sep = "~";
const esc = (s: string) => s.replace(/[%~]/g, (c) => (c === "%" ? "%25" : "%7E"));
const unesc = (s: string) => s.replace(/%7E/g, "~").replace(/%25/g, "%");

function formatSelection(s: Selection | null): string {
  if (!s) return "";
  const join = (...list: string[]) => list.map(esc).join(sep);
  switch (s.kind) {
    case "conn":
      return join("conn", s.id, String(s.at));
    case "edge":
      return join("edge", s.src, s.dst, ...(s.port ? [String(s.port)] : []));
    case "entity":
      return join("entity", s.name);
    case "differences":
      return join("differences", s.region);
    case "changes":
      return join("changes", ...(s.at ? [String(s.at)] : []));
  }
}

function parseSelection(text: string): Selection | null {
  const [kind, a = "", b = "", c] = text.slice(0, maxText).split(sep).map(unesc);
  switch (kind) {
    case "conn":
      return /^[0-9a-f]{16}$/.test(a) && Number(b) > 0 ? { kind, id: a, at: Number(b) } : null;
    case "edge": {
      const port = Number(c);
      return port > 0 && port < 65536 ? { kind, src: a, dst: b, port } : { kind, src: a, dst: b };
    }
    case "entity":
      return a ? { kind, name: a } : null;
    case "differences":
      return a ? { kind, region: a } : null;
    case "changes":
      return Number(a) > 0 ? { kind, at: Number(a) } : { kind };
    default:
      return null;
  }
}
