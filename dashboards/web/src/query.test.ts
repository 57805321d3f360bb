import { expect, test } from "vitest";
import { both, byteOffset, charOffset, chips, equals, negate, split, terms, toggle, value, without } from "./query";

test("a query parts into its condition and its stages", () => {
  expect(split("a = b | stats conns by src.ns | top 3")).toEqual({
    expr: "a = b",
    stages: "| stats conns by src.ns | top 3",
  });
  expect(split('name = "x|y"')).toEqual({ expr: 'name = "x|y"', stages: "" });
  expect(split("| stats conns")).toEqual({ expr: "", stages: "| stats conns" });
});

test("terms are what must hold all", () => {
  expect(
    terms('checkout outcome != ok and dst.ip in (10.0.0.0/8, 10.1.0.0/16) not (a = "b c" or d = e) has rtt not has x'),
  ).toEqual([
    "checkout",
    "outcome != ok",
    "dst.ip in (10.0.0.0/8, 10.1.0.0/16)",
    'not (a = "b c" or d = e)',
    "has rtt",
    "not has x",
  ]);
  expect(terms("outcome not in (ok, denied) x")).toEqual(["outcome not in (ok, denied)", "x"]);
  expect(terms("a = b or c = d")).toEqual(["a = b or c = d"]);
  expect(terms("")).toEqual([]);
  // What is being typed is not lost either.
  for (const half of ["outcome =", 'name = "abc', "(a = b", "not", "has", "a = b )"]) {
    expect(terms(half).join(" ").replace(/\s+/g, " ")).toBe(half);
  }
});

test("values are quoted where they must be", () => {
  expect([
    value("shop"),
    value("Deployment/cart"),
    value("10.0.0.0/8"),
    value("a b"),
    value('q"uote'),
    value("or"),
    value("x*"),
  ]).toEqual(["shop", "Deployment/cart", "10.0.0.0/8", '"a b"', '"q\\"uote"', '"or"', '"x*"']);
  expect(equals("src.ns", null)).toBe("not has src.ns");
});

test("a term is added, taken away, and replaces its contrary", () => {
  expect(toggle("", "a = b")).toBe("a = b");
  expect(toggle("a = b", "a = b")).toBe("");
  expect(toggle("a = b c = d | stats conns", "c = d")).toBe("a = b | stats conns");
  expect(toggle("a = b or c = d", "e = f")).toBe("(a = b or c = d) e = f");
  expect(toggle("not a = b", "a = b")).toBe("a = b");
  expect(toggle("a = b", negate("a = b"))).toBe("not a = b");
  expect(negate("not a = b")).toBe("a = b");
  expect(without("a = b c = d", "a = b")).toBe("c = d");
  expect(both("a = b or c = d", "", "e = f")).toBe("(a = b or c = d) e = f");
});

test("cursors are counted in bytes", () => {
  expect(byteOffset("żółw x", 4)).toBe(7);
  expect(charOffset("żółw x", 7)).toBe(4);
});

test("one end is one chip", () => {
  expect(chips('src.ns = shop src.workload = "Deployment/cart" dst.ns = data dst.port = 53 outcome != ok')).toEqual([
    { text: "from shop/cart", terms: ["src.ns = shop", 'src.workload = "Deployment/cart"'] },
    { text: "dst.ns = data", terms: ["dst.ns = data"] },
    { text: "dst.port = 53", terms: ["dst.port = 53"] },
    { text: "outcome != ok", terms: ["outcome != ok"] },
  ]);
});
