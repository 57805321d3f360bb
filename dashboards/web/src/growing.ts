// A long range is asked in parts that grow, the newest first: what is looked at first is there at
// once, and nothing waits for the whole. Pure.

import type { Result } from "./types";

const minute = 60_000;
/** Ranges up to this are asked at once. */
export const long = 2 * 60 * minute;
const factor = 4;

/** The lengths that a range is asked in: 5 min, 20 min, 80 min, ... and the whole. */
export function lengths(whole: number, first = 5 * minute): number[] {
  if (whole <= long) return [whole];
  const out: number[] = [];
  for (let l = first; l < whole / 2; l *= factor) out.push(l);
  return [...out, whole];
}

export interface Slice {
  from: number;
  to: number;
}

/** The same as slices that touch, the newest first; they begin at whole steps. */
export function slices(from: number, to: number, step: number): Slice[] {
  const out: Slice[] = [];
  let end = to;
  for (const l of lengths(to - from)) {
    const begin = l >= to - from ? from : Math.max(from, Math.floor((to - l) / step) * step);
    if (begin < end) out.push({ from: begin, to: end });
    end = begin;
  }
  return out;
}

/** The newer and the older half of a slice, parted at a whole step; itself where it has one step. */
export function halves(s: Slice, step: number): Slice[] {
  const at = Math.floor((s.from + s.to) / 2 / step) * step;
  const cut = at > s.from ? at : at + step;
  return cut > s.from && cut < s.to
    ? [
        { from: cut, to: s.to },
        { from: s.from, to: cut },
      ]
    : [s];
}

/** Sums by time of two slices that touch are those of both; the newer one's rows come first. */
export function joined(newer: Result, older: Result): Result {
  const { bytes: b1, ...s1 } = newer.scanned;
  const { bytes: b2, ...s2 } = older.scanned;
  const bytes = (b1 ?? 0) + (b2 ?? 0);
  return {
    ...newer,
    rows: [...newer.rows, ...older.rows],
    notes: [...new Set([...(newer.notes ?? []), ...(older.notes ?? [])])],
    scanned: { ...s1, rows: s1.rows + s2.rows, segments: s1.segments + s2.segments, ...(bytes ? { bytes } : {}) },
    took_ns: newer.took_ns + older.took_ns,
  };
}
