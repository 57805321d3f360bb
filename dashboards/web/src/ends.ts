// Ends as the API names them in edges: what they read as, and what they filter by. Pure.

import { equals, value } from "./query";

const unnamed: Record<string, string> = {
  "": "unknown",
  "kind:node": "nodes",
  "kind:service": "services without endpoints",
  "kind:external": "outside",
};

/** The network of an end that has no name; "" of others. */
export const networkOf = (id: string): string => (id.startsWith("net:") ? id.slice(4) : "");

/** shop/Deployment/cart as shop/cart: the kind is on hover; net:10.7.0.0/16 as 10.7.0.0/16. */
export function shortEnd(id: string): string {
  const net = networkOf(id);
  if (net) return net;
  const word = unnamed[id];
  if (word) return word;
  if (id.startsWith("name:")) return id.slice(5);
  if (id.endsWith("/*")) return id.slice(0, -2);
  const p = id.split("/");
  if (p.length === 3 && /^[A-Z]/.test(p[1] ?? "")) return `${p[0]}/${p[2]}`;
  return id.endsWith("/") ? `${id.slice(0, -1)} (hidden)` : id;
}

/** Whether an end of a map of namespaces is one, and none outside: that would be name:NAME. */
export const isNamespace = (id: string): boolean => /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(id);

/** What an end of a selected edge filters by, whatever map or row it was selected in. */
export function selectedTerm(id: string, side: "src" | "dst"): string {
  const [ns = "", name, ...rest] = id.split("/");
  if (name && name !== "*" && rest.length === 0 && !networkOf(id)) {
    const is = (field: string) => equals(`${side}.${field}`, name);
    return `${equals(`${side}.ns`, ns)} (${is("workload")} or ${is("pod")})`;
  }
  return sideTerms("workload", id, side);
}

/** The end of a map's edge as a selection has it: a namespace is all that is in it. */
export const selectable = (level: string, id: string): string =>
  level === "namespace" && isNamespace(id) ? `${id}/*` : id;

/** Whether an edge of the API is the selected one. */
export const isSelected = (e: { src: string; dst: string }, s: { src: string; dst: string }): boolean =>
  (e.src === s.src || `${e.src}/*` === s.src) && (e.dst === s.dst || `${e.dst}/*` === s.dst);

/** Whether an end stands for many, so that why has nothing to ask about. */
export const isWide = (id: string): boolean => /\/\*?$/.test(id);

function sideTerms(level: string, id: string, side: "src" | "dst"): string {
  if (id === "") {
    const what = level === "pod" ? "pod" : level === "namespace" ? "ns" : "workload";
    return `not has ${side}.${what} not has ${side}.name not has ${side}.net`;
  }
  const net = networkOf(id);
  if (net) return `${equals(`${side}.net`, net)} not has ${side}.name`;
  if (id.startsWith("kind:"))
    return `${equals(`${side}.kind`, id.slice(5))} not has ${side}.ns not has ${side}.name not has ${side}.net`;
  if (id.startsWith("name:")) return equals(`${side}.name`, id.slice(5));
  const [ns = "", ...rest] = id.split("/");
  if (rest.length === 0) {
    if (level === "namespace" && isNamespace(id)) return equals(`${side}.ns`, id);
    return /^[0-9.]+$|:/.test(id) ? equals(`${side}.ip`, id) : equals(`${side}.name`, id);
  }
  const what = rest.join("/");
  if (what === "*") return equals(`${side}.ns`, ns);
  if (what === "") return `${equals(`${side}.ns`, ns)} not has ${side}.workload`;
  return `${equals(`${side}.ns`, ns)} ${equals(`${side}.${level === "pod" ? "pod" : "workload"}`, what)}`;
}

/** What an end of the map filters by, on one side or on either. */
export function endTerms(level: string, id: string, side?: "src" | "dst"): string {
  if (side) return sideTerms(level, id, side);
  if (isNamespace(id) && level === "namespace") return equals("ns", id);
  return `(${sideTerms(level, id, "src")}) or (${sideTerms(level, id, "dst")})`;
}

/** The condition for a name as people write it: shop/cart, shop/Deployment/cart, cart, node-3, payments.example. */
export function condition(name: string): string {
  if (/^(net|kind|name):/.test(name)) return endTerms("workload", name);
  const p = name.split("/");
  if (p.length === 3 && p[2]) return endTerms("workload", name);
  if (p.length === 2 && p[0] && p[1]) {
    const one = (s: string) =>
      `(${s}.ns = ${value(p[0] as string)} (${s}.workload = ${value(p[1] as string)} or ${s}.pod = ${value(p[1] as string)}))`;
    return `${one("src")} or ${one("dst")} or service = ${value(name)}`;
  }
  if (p.length === 2 && p[0]) return `ns = ${value(p[0])}`;
  if (/^[0-9.]+$|^[0-9a-f:]+:[0-9a-f:]*$/i.test(name)) return `ip = ${name}`;
  return `${value(name)} or node = ${value(name)}`;
}
