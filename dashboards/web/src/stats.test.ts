import { expect, test } from "vitest";
import { amount, rowQuery, templateOf, termOf, titleOf } from "./stats";
import type { Column } from "./types";

const column = (name: string, type: Column["type"], unit = ""): Column => ({ name, type, ...(unit ? { unit } : {}) });

test.each([
  [column("dst.port", "number"), 8443, "dst.port = 8443"],
  [column("dst.workload", "text"), "Deployment/payments", "dst.workload = Deployment/payments"],
  [column("outcome", "text"), null, "not has outcome"],
  [column("sum(bytes)", "number", "bytes"), 5, null],
  [column("active", "number"), 5, null],
  [column("time", "time"), "2026-01-02T03:04:05.000Z", null],
])("termOf %s %s", (c, v, want) => {
  expect(termOf(c, v)).toBe(want);
});

test.each([
  [column("sum(bytes)", "number", "bytes"), 1_250_000, "1.3 MB"],
  [column("p95(rtt)", "number", "us"), 420, "420 µs"],
  [column("dst.port", "number"), 8443, "8443"],
  [column("conns", "number"), 12_345, "12.3 k"],
  [column("avg(x)", "number", "s"), 1.234, "1.23 s"],
  [column("time", "time"), "2026-01-02T03:04:05.000Z", "2026-01-02 03:04:05"],
  [column("dst.name", "text"), "a\u202eb", "a\\u202eb"],
  [column("rtt", "number", "us"), null, "–"],
])("amount %s %s", (c, v, want) => {
  expect(amount(c, v)).toBe(want);
});

test("a row of a group becomes the query of what it stands for, once", () => {
  const cols = [column("src.ns", "text"), column("outcome", "text"), column("conns", "number")];
  const row = { values: ["shop", "refused", 7] };
  const q = rowQuery("dst.port = 8443", cols, row);
  expect(q).toBe("dst.port = 8443 src.ns = shop outcome = refused");
  expect(rowQuery(q, cols, row)).toBe(q);
});

test("each column has a width, and the sums their words", () => {
  expect(templateOf([column("a", "text"), column("b", "number"), column("c", "time")])).toBe(
    "minmax(10rem, 1fr) minmax(7.6rem, 10.4rem) 16rem",
  );
  expect(titleOf("sum(bytes)")).toBe("bytes →");
  expect(titleOf("dst.node")).toBe("dst.node");
});
