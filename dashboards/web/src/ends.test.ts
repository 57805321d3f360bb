import { expect, test } from "vitest";
import { endTerms } from "./ends";

test.each([
  ["workload", "shop/Deployment/cart", undefined, "ns = shop workload = Deployment/cart"],
  ["workload", "shop/Deployment/cart", "dst", "dst.ns = shop dst.workload = Deployment/cart"],
  ["pod", "shop/cart-1", undefined, "ns = shop pod = cart-1"],
  ["namespace", "shop", undefined, "ns = shop"],
  ["namespace", "bank.example.com", undefined, "name = bank.example.com"],
  ["workload", "203.0.113.7", undefined, "ip = 203.0.113.7"],
  ["workload", "2001:db8::1", "dst", "dst.ip = 2001:db8::1"],
  ["workload", "data/", undefined, "ns = data"],
  ["workload", "", "dst", "not has dst.workload"],
  ["workload", 'a b/Deployment/"x"', undefined, 'ns = "a b" workload = "Deployment/\\"x\\""'],
] as const)("endTerms %s %s %s", (level, id, side, want) => {
  expect(endTerms(level, id, side)).toBe(want);
});
