import { expect, test } from "vitest";
import { condition, endTerms, isWide, selectable, selectedTerm, shortEnd } from "./ends";

test("ends read as people name them", () => {
  for (const [id, text] of [
    ["shop/Deployment/cart", "shop/cart"],
    ["shop/cart-6f", "shop/cart-6f"],
    ["shop/", "shop (hidden)"],
    ["shop/*", "shop"],
    ["bank.example.com", "bank.example.com"],
    ["net:internet", "internet"],
    ["net:10.7.0.0/16", "10.7.0.0/16"],
    ["kind:node", "nodes"],
    ["name:office", "office"],
    ["", "unknown"],
  ] as const)
    expect(shortEnd(id)).toBe(text);
});

test("an end of the map filters by what it stands for, on either side", () => {
  expect(endTerms("namespace", "shop")).toBe("ns = shop");
  expect(endTerms("namespace", "name:office", "dst")).toBe("dst.name = office");
  expect(endTerms("workload", "shop/Deployment/cart", "src")).toBe("src.ns = shop src.workload = Deployment/cart");
  expect(endTerms("workload", "net:10.7.0.0/16", "dst")).toBe("dst.net = 10.7.0.0/16 not has dst.name");
  expect(endTerms("workload", "net:internet")).toBe(
    "(src.net = internet not has src.name) or (dst.net = internet not has dst.name)",
  );
  expect(endTerms("workload", "", "src")).toBe("not has src.workload not has src.name not has src.net");
  expect(endTerms("pod", "shop/cart-1", "dst")).toBe("dst.ns = shop dst.pod = cart-1");
  expect(endTerms("namespace", "bank.example.com", "src")).toBe("src.name = bank.example.com");
  expect(endTerms("workload", "2001:db8::1", "dst")).toBe("dst.ip = 2001:db8::1");
  expect(endTerms("workload", "data/", "dst")).toBe("dst.ns = data not has dst.workload");
  expect(endTerms("workload", 'a b/Deployment/"x"', "src")).toBe('src.ns = "a b" src.workload = "Deployment/\\"x\\""');
  expect(condition("net:internet")).toBe(endTerms("workload", "net:internet"));
  expect(condition("shop/cart")).toContain("service = shop/cart");
});

test("an edge of namespaces is selected as such", () => {
  expect(selectable("namespace", "shop")).toBe("shop/*");
  expect(selectable("workload", "bank")).toBe("bank");
  expect(selectedTerm("shop/*", "src")).toBe("src.ns = shop");
  expect(selectedTerm("shop/cart", "dst")).toBe("dst.ns = shop (dst.workload = cart or dst.pod = cart)");
  expect(selectedTerm("net:10.7.0.0/16", "dst")).toBe("dst.net = 10.7.0.0/16 not has dst.name");
  expect([isWide("shop/*"), isWide("shop/"), isWide("shop/cart"), isWide("bank")]).toEqual([true, true, false, false]);
});
