import { expect, test } from "vitest";
import { chosen } from "./columns";
import { fitting, template } from "./fit";

const list = chosen([]);
const ids = (room: number, why: boolean, all = false) =>
  fitting(list, room, { why, outcome: 11, port: 6, ends: 26 }, all).map((c) => c.id);

test.each([
  [1024, true, ["time", "ends", "port", "outcome", "why", "bytes", "rtt"]],
  [1024, false, ["time", "ends", "port", "outcome", "bytes", "rtt"]],
  [740, true, ["time", "ends", "port", "outcome", "why", "rtt"]],
  [640, true, ["time", "ends", "port", "outcome", "why"]],
  [300, true, ["time", "ends", "port", "outcome", "why"]],
  [0, false, ["time", "ends", "port", "outcome", "why", "bytes", "rtt"]],
])("in %d with reasons %s", (room, why, want) => {
  expect(ids(room, why)).toEqual(want);
});

test("where there is little room the ends are cut, then the reasons", () => {
  const at = (room: number) =>
    fitting(list, room, { why: true, outcome: 11, port: 6, ends: 26 }, false)
      .filter((c) => !c.width)
      .map((c) => c.least);
  expect(at(660)).toEqual([250, undefined]);
  expect(at(600)).toEqual([190, undefined]);
  expect(at(540)).toEqual([150, 100]);
});

test("columns that somebody chose all stay", () => {
  expect(ids(300, false, true)).toEqual(list.map((c) => c.id));
});

test("an outcome gets what its words need, and the ends what is left", () => {
  const short = fitting(list, 0, { why: true, outcome: 4, port: 0, ends: 0 }, false).find((c) => c.id === "outcome");
  const long = fitting(list, 0, { why: true, outcome: 14, port: 8, ends: 99 }, false).find((c) => c.id === "outcome");
  expect(short?.width).toBe(84);
  expect(long?.width).toBe(162);
  expect(template(chosen(["time", "ends"]))).toBe("7.6rem minmax(12rem, 5fr)");
});
