import { expect, test } from "vitest";
import { series } from "./series";
import type { Result, Row } from "./types";

const answer = (names: string[], rows: Row["values"][], notes: string[] = []): Result => ({
  columns: names.map((name) => ({ name, type: "text" })),
  rows: rows.map((values) => ({ values })),
  scanned: { rows: 0, segments: 0 },
  took_ns: 0,
  notes,
});
const at = (s: number) => new Date(s * 1000).toISOString();

test("steps hold rates, sums of failures, and nothing where the history does not reach", () => {
  const now = answer(
    ["time", "outcome", "conns", "sum(bytes)", "sum(reverse.bytes)"],
    [
      [at(120), "ok", 10, 1000, 500],
      [at(120), "refused", 5, null, null],
      [at(120), "denied", 5, null, null],
      [at(130), null, 20, null, null],
    ],
    [`the history begins at ${at(110)}`],
  );
  const before = answer(["time", "conns"], [[at(80), 30]]);
  const s = series(now, before, { from: 100_000, to: 140_000, step: 10_000 }, "conns");
  expect(s.x).toEqual([100_000, 110_000, 120_000, 130_000]);
  expect(s.now).toEqual([null, 0, 2, 2]);
  expect(s.failed).toEqual([null, 0, 0.5, 0]);
  expect(s.denied).toEqual([null, 0, 1, 0]);
  expect(s.words[2]).toEqual(
    new Map([
      ["refused", 5],
      ["denied", 5],
    ]),
  );
  expect(s.before).toEqual([null, null, null, null]);
  expect(series(now, before, { from: 100_000, to: 140_000, step: 10_000 }, "bytes").now[2]).toBe(150);
});
