import { expect, test } from "vitest";
import type { Layout } from "./layout";
import { fitted, reach, uncovered, zoomed } from "./view";

const node = (id: string, x: number) => ({
  id,
  label: id,
  layer: 0,
  x,
  y: 16,
  w: 100,
  bad: "ok",
  conns: 1,
  external: false,
});
const a = node("a", 16);
const b = node("b", 400);
const layout = {
  nodes: [a, b],
  edges: [{ from: a, to: b, edges: [{ src: "a", dst: "b" }] }],
  top: 16,
  width: 516,
  height: 60,
  folded: 0,
} as unknown as Layout;

test("a layout that fits stands in the middle, at its own size", () => {
  const v = fitted(layout, 800, 600);
  expect(v.scale).toBe(1);
  expect(v.x).toBe(142);
  expect(v.y + v.scale * 16).toBeGreaterThan(250);
});

test("one that does not fit is not made smaller than can be read, unless every end is to be seen", () => {
  const wide = { ...layout, width: 5000 };
  expect(fitted(wide, 500, 500).scale).toBe(0.75);
  expect(fitted(wide, 500, 500, true).scale).toBeCloseTo(0.1);
});

test("what is under the pointer stays there while zooming, between two bounds", () => {
  const v = zoomed({ x: 10, y: 20, scale: 1 }, 1.5, 110, 220);
  expect((110 - v.x) / v.scale).toBeCloseTo(100);
  expect((220 - v.y) / v.scale).toBeCloseTo(200);
  expect(zoomed(v, 100, 0, 0).scale).toBe(2);
  expect(zoomed(v, 0.001, 0, 0).scale).toBe(0.05);
});

test("what is selected comes out from under the drawer, and no further left than the window's edge", () => {
  const at = reach(layout, { kind: "edge", src: "a", dst: "b" });
  expect(at).toEqual({ left: 16, right: 500 });
  expect(reach(layout, { kind: "entity", name: "b" })).toEqual({ left: 400, right: 500 });
  expect(reach(layout, { kind: "edge", src: "b", dst: "a" })).toBeNull();
  const v = { x: 100, y: 0, scale: 1 };
  expect(uncovered(v, { left: 16, right: 500 }, 700)).toBe(v);
  expect(uncovered(v, { left: 16, right: 500 }, 550).x).toBe(34);
  expect(uncovered(v, { left: 16, right: 900 }, 300).x).toBe(0);
});
