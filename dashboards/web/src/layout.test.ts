import { expect, test } from "vitest";
import { badness, lay, layers, type Options } from "./layout";
import type { MapEdge } from "./types";

const edge = (src: string, dst: string, more: Partial<MapEdge> = {}): MapEdge => ({
  src,
  dst,
  conns: 10,
  active: 10,
  failed: {},
  bytes: 1000,
  reverse_bytes: 1000,
  rtt_p95_us: null,
  ...more,
});
const options: Options = {
  level: "workload",
  open: false,
  fold: true,
  label: (id) => id,
  measure: (t) => t.length * 7,
  box: { width: 800, height: 500 },
};

test("who calls stands left of who is called, loops or not", () => {
  const l = layers(
    ["a", "b", "c", "d"],
    [
      { src: "a", dst: "b" },
      { src: "b", dst: "c" },
      { src: "c", dst: "b" },
      { src: "c", dst: "d" },
      { src: "d", dst: "d" },
    ],
  );
  expect([l.get("a"), l.get("b"), l.get("c"), l.get("d")]).toEqual([0, 1, 2, 3]);
});

test("the same edges give the same map, and a refresh moves nothing", () => {
  const list = [edge("s/a", "s/b"), edge("s/b", "s/c"), edge("s/a", "s/d"), edge("s/d", "s/c")];
  const one = lay(list, options);
  expect(lay(list.toReversed(), options).nodes).toEqual(one.nodes);
  const at = (l: typeof one) => new Map(l.nodes.map((n) => [n.id, [n.layer, n.x, Math.round(n.y)]]));
  const again = lay([...list, edge("s/d", "s/b")], { ...options, before: one });
  for (const [id, where] of at(one)) expect(at(again).get(id)).toEqual(where);
});

test("what does not fit is one heap, but never what fails", () => {
  const list = Array.from({ length: 60 }, (_, i) =>
    edge("s/front", `s/app-${i}`, { active: i, failed: i === 0 ? { refused: 10 } : {} }),
  );
  const l = lay(list, options);
  const heap = l.nodes.find((n) => n.bundle);
  expect(heap?.label).toMatch(/^other \(\d+\)$/);
  expect(heap?.bundle).not.toContain("s/app-0");
  expect(l.nodes.find((n) => n.id === "s/app-0")?.bad).toBe("failed");
  expect(l.folded + l.nodes.filter((n) => !n.bundle).length).toBe(61);
  expect(lay(list, { ...options, open: true }).nodes.length).toBe(61);
});

test("noise stands apart and shapes nothing", () => {
  const list = [
    edge("s/a", "s/b"),
    edge("ops/prometheus", "s/a"),
    edge("ops/metrics", "s/b"),
    edge("s/a", "data/dns"),
    edge("s/b", "data/dns"),
  ];
  const l = lay(list, options);
  expect(l.nodes.find((n) => n.id === "+noise calling")?.label).toBe("noise (2)");
  expect(l.nodes.find((n) => n.id === "s/a")?.layer).toBe(0);
  expect(l.nodes.find((n) => n.id === "data/dns")?.layer).toBe(2);
});

test("an edge is bad from one failure in a hundred, and says which", () => {
  expect(badness({ refused: 12, denied: 1 }, 100)).toEqual({ bad: "failed", label: "13 % refused" });
  expect(badness({ denied: 5 }, 100)).toEqual({ bad: "denied", label: "5 % denied" });
  expect(badness({ refused: 1 }, 1000)).toEqual({ bad: "ok", label: "" });
  expect(badness({}, 0)).toEqual({ bad: "ok", label: "" });
});
