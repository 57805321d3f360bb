import { expect, test } from "vitest";
import { format, initial, parse, type State } from "./url";

const full: State = {
  q: 'outcome != ok name = "a~b%&c" | top 3 by conns',
  range: { since: Date.UTC(2026, 2, 14, 3), until: Date.UTC(2026, 2, 14, 3, 30, 0, 500) },
  level: "pod",
  compare: true,
  unfolded: true,
  select: { kind: "edge", src: "shop/Deployment/a~%7E", dst: "<b>", port: 8443 },
  sheet: "coverage",
  columns: ["start", "src.node"],
  sort: "-bytes",
  group: "src.node, dst.node",
  metric: "bytes",
  live: true,
  utc: true,
  pane: "map",
};

test("a state comes back from its URL", () => {
  expect(parse(format(full))).toEqual(full);
  expect(format(initial)).toBe("");
  expect(parse("")).toEqual(initial);
  for (const select of [
    { kind: "conn", id: "0123456789abcdef", at: 5 },
    { kind: "entity", name: "shop/cart" },
    { kind: "edge", src: "", dst: "x" },
    { kind: "differences", region: "outcome != ok" },
    { kind: "changes" },
    { kind: "changes", at: 7 },
  ] as const)
    expect(parse(format({ ...initial, select })).select).toEqual(select);
});

test("a URL that somebody made up does no harm", () => {
  const odd = `?since=yesterday&level=planet&select=conn~x~y&columns=a;b,src.node&sort=<x>&sheet=root&q=${"x".repeat(9000)}`;
  expect(parse(odd)).toEqual({ ...initial, q: "x".repeat(8192), columns: ["src.node"] });
  expect(parse("?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z").range).toEqual(initial.range);
});
