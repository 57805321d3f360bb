import { expect, test } from "vitest";
import { ago, bytes, clock, count, duration, group, micros, parseDuration, percent, plain, visible } from "./format";
import { code, shell } from "./ui/copy";

test("numbers have at most three digits and their unit", () => {
  expect([0, 999, 1000, 1234, 12_340, 999_600, 5e9].map((v) => plain(bytes(v)))).toEqual([
    "0 B",
    "999 B",
    "1 kB",
    "1.2 kB",
    "12.3 kB",
    "1 MB",
    "5 GB",
  ]);
  expect([0, 5310, 12_345, 1.2e6].map((v) => plain(count(v)))).toEqual(["0", "5,310", "12.3 k", "1.2 M"]);
  expect([45.4, 400, 1234, 2.5e6].map((v) => plain(micros(v)))).toEqual(["45.4 µs", "400 µs", "1.2 ms", "2.5 s"]);
  expect([1234567, 0.5, 1234.567].map(group)).toEqual(["1,234,567", "0.5", "1,234.57"]);
});

test("a share is never rounded to none or all", () => {
  expect([0, 0.0001, 0.031, 0.12, 0.9999, 1].map(percent)).toEqual([
    "0 %",
    "<0.1 %",
    "3.1 %",
    "12 %",
    ">99.9 %",
    "100 %",
  ]);
});

test("durations are read as they are written", () => {
  for (const s of ["500ms", "90s", "15m", "6h", "2d"]) expect(duration(parseDuration(s))).toBe(s);
  expect(parseDuration("soon")).toBeNaN();
  expect(ago(240_000)).toBe("4 min");
  expect(clock(Date.UTC(2026, 2, 14, 3, 12, 7), true)).toBe("03:12:07");
});

test("hostile names stay text", () => {
  expect(visible("a\u202eb\u0000c\u200bd")).toBe("a\\u202eb\\u0000c\\u200bd");
  expect(visible("<b>x</b> żółw 漢字")).toBe("<b>x</b> żółw 漢字");
});

test("a pile of marks is told, the marks of a script stay", () => {
  expect(visible(`z${"\u0335".repeat(5)}a`)).toBe("z\u0335\u0335\u0335\\u0335\\u0335a");
  expect(visible("e\u0301\u0323")).toBe("e\u0301\u0323");
  expect(visible("\u05e9\u05c1\u05b8")).toBe("\u05e9\u05c1\u05b8");
});

test("what is copied as a command or as code is just that", () => {
  expect(shell("a'; reboot #")).toBe("'a'\\''; reboot #'");
  expect([code("a"), code("a`b"), code("``")]).toEqual(["`a`", "`` a`b ``", "``` `` ```"]);
});
