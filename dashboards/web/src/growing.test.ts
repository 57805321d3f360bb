import { expect, test } from "vitest";
import { halves, joined, lengths, slices } from "./growing";
import type { Result } from "./types";

const min = 60_000;
const h = 60 * min;

test("a long range is asked in parts that grow, a short one at once", () => {
  expect(lengths(h)).toEqual([h]);
  expect(lengths(24 * h)).toEqual([5 * min, 20 * min, 80 * min, 320 * min, 24 * h]);
  expect(lengths(3 * h, min)).toEqual([min, 4 * min, 16 * min, 64 * min, 3 * h]);
  expect(lengths(7 * 24 * h).at(-1)).toBe(7 * 24 * h);
});

test("slices touch, begin at whole steps, and are the range", () => {
  const to = 1_790_000_123_456;
  const step = 15 * min;
  const from = Math.floor((to - 24 * h) / step) * step;
  const list = slices(from, to, step);
  expect(list[0]?.to).toBe(to);
  expect(list.at(-1)?.from).toBe(from);
  for (const [i, s] of list.entries()) {
    expect(s.from % step).toBe(0);
    expect(s.to).toBeGreaterThan(s.from);
    if (i > 0) expect(s.to).toBe(list[i - 1]?.from);
  }
  expect((list[0] as { from: number }).from).toBeGreaterThan(to - h);
});

test("halves touch at a whole step, and a step is not parted", () => {
  expect(halves({ from: 1000, to: 5000 }, 1000)).toEqual([
    { from: 3000, to: 5000 },
    { from: 1000, to: 3000 },
  ]);
  expect(halves({ from: 1000, to: 2500 }, 1000)).toEqual([
    { from: 2000, to: 2500 },
    { from: 1000, to: 2000 },
  ]);
  expect(halves({ from: 1000, to: 2000 }, 1000)).toEqual([{ from: 1000, to: 2000 }]);
});

test("answers of slices that touch are one", () => {
  const one = (n: number, bytes?: number): Result => ({
    columns: [{ name: "time", type: "time" }],
    rows: [{ values: [n] }],
    notes: ["the same"],
    scanned: { rows: n, segments: 1, ...(bytes ? { bytes } : {}) },
    took_ns: n,
  });
  const sum = joined(one(1), one(2, 7));
  expect(sum.rows.map((r) => r.values[0])).toEqual([1, 2]);
  expect(sum.scanned).toEqual({ rows: 3, segments: 2, bytes: 7 });
  expect([sum.took_ns, sum.notes]).toEqual([3, ["the same"]]);
});
