// The timeline's numbers out of two answers: one value a step, null where the history does not reach.

import { tone } from "./columns";
import type { Span } from "./state";
import type { Cell, Result } from "./types";

export interface Series extends Span {
  x: number[];
  now: (number | null)[]; // per second
  before: (number | null)[];
  failed: (number | null)[]; // sums to be drawn over each other: failed, with unanswered, with denied
  unanswered: (number | null)[];
  denied: (number | null)[];
  words: (Map<string, number> | undefined)[]; // connections by outcome, ok left out
}

/** When the history begins, as an answer's notes say; 0 where they do not. */
export function beginOf(notes: string[] | undefined): number {
  for (const n of notes ?? []) {
    const m = /history begins at (\S+)/.exec(n);
    if (m) return Date.parse(m[1] as string) || 0;
  }
  return 0;
}

/** from and ghostFrom are where answers begin that are not whole yet. */
export function series(
  r: Result,
  ghost: Result | undefined,
  s: Span,
  metric: "conns" | "bytes",
  from = 0,
  ghostFrom = 0,
): Series {
  const first = Math.floor(s.from / s.step) * s.step;
  const n = Math.max(1, Math.ceil((s.to - first) / s.step));
  const x = Array.from({ length: n }, (_, i) => first + i * s.step);
  const out: Series = {
    ...s,
    x,
    now: zeros(n),
    before: zeros(n),
    failed: zeros(n),
    unanswered: zeros(n),
    denied: zeros(n),
    words: new Array(n).fill(undefined),
  };
  fill(r, x, s.step, 0, (i, get) => {
    add(out.now, i, amount(get, metric));
    const o = get("outcome");
    const conns = Number(get("conns") ?? 0);
    if (typeof o !== "string" || o === "ok" || o === "unknown" || conns === 0) return;
    const t = tone(o);
    if (t === "failed") add(out.failed, i, conns);
    if (t === "failed" || t === "unanswered") add(out.unanswered, i, conns);
    add(out.denied, i, conns);
    const w = out.words[i] ?? new Map<string, number>();
    w.set(o, (w.get(o) ?? 0) + conns);
    out.words[i] = w;
  });
  if (ghost) fill(ghost, x, s.step, s.to - s.from, (i, get) => add(out.before, i, amount(get, metric)));
  else out.before.fill(null);
  const begin = Math.max(beginOf(r.notes), from);
  const beginBefore = beginOf(ghost?.notes);
  for (let i = 0; i < n; i++) {
    const at = x[i] as number;
    const end = at + s.step;
    if (end <= begin) for (const k of [out.now, out.failed, out.unanswered, out.denied]) k[i] = null;
    if (end - (s.to - s.from) <= Math.max(beginOf(r.notes), beginBefore) || end <= ghostFrom) out.before[i] = null;
    // The steps at the ends of the range are shorter.
    const secs = (Math.min(end, s.to) - Math.max(at, s.from, begin < end ? begin : 0)) / 1000;
    for (const k of [out.now, out.failed, out.unanswered, out.denied, out.before])
      if (typeof k[i] === "number") k[i] = (k[i] as number) / Math.max(secs, s.step / 2000);
  }
  return out;
}

const zeros = (n: number): (number | null)[] => new Array(n).fill(0);

function add(list: (number | null)[], i: number, v: number): void {
  list[i] = (list[i] ?? 0) + v;
}

function amount(get: (name: string) => Cell, metric: "conns" | "bytes"): number {
  return metric === "conns"
    ? Number(get("conns") ?? 0)
    : Number(get("sum(bytes)") ?? 0) + Number(get("sum(reverse.bytes)") ?? 0);
}

function fill(
  r: Result,
  x: number[],
  step: number,
  shift: number,
  each: (i: number, get: (name: string) => Cell) => void,
): void {
  const at = new Map(r.columns.map((c, i) => [c.name, i]));
  for (const row of r.rows) {
    const get = (name: string): Cell => row.values[at.get(name) ?? -1] ?? null;
    const i = Math.floor((Date.parse(String(get("time"))) + shift - (x[0] as number)) / step);
    if (i >= 0 && i < x.length) each(i, get);
  }
}
