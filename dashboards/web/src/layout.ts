// Where the map puts its ends: layers from left to right by who calls whom. Pure and deterministic; what
// was there before keeps its place.

import { type Tone, tone } from "./columns";
import { isNamespace } from "./ends";
import type { MapEdge } from "./types";

export interface Node {
  id: string; // as the API names the end; "+N" of a bundle
  label: string;
  layer: number;
  x: number;
  y: number;
  w: number;
  bundle?: string[]; // the ends that it stands for
  bad: Tone; // the worst of its edges
  conns: number;
  external: boolean;
}

export interface Edge {
  from: Node;
  to: Node;
  conns: number;
  bytes: number | null;
  failed: Record<string, number>;
  bad: Tone;
  label: string;
  width: number;
  change?: MapEdge["change"] | undefined;
  edges: MapEdge[];
}

export interface Layout {
  nodes: Node[];
  edges: Edge[];
  top: number; // of the uppermost end
  width: number;
  height: number; // down to the lowest
  folded: number; // ends within bundles
}

export interface Box {
  width: number;
  height: number;
}

export const pill = 28;
const gap = 8;
const margin = 16;

/** Layer by layer, from those whom nobody calls: the longest way without going back. */
export function layers(ids: string[], edges: { src: string; dst: string }[]): Map<string, number> {
  const out = new Map<string, string[]>(ids.map((i) => [i, []]));
  const calledBy = new Map<string, number>(ids.map((i) => [i, 0]));
  for (const e of edges) {
    if (e.src === e.dst) continue;
    out.get(e.src)?.push(e.dst);
    calledBy.set(e.dst, (calledBy.get(e.dst) ?? 0) + 1);
  }
  const balance = (i: string) => (out.get(i)?.length ?? 0) - (calledBy.get(i) ?? 0);
  // Callers first; edges that go back in a depth-first walk are left out.
  const order = ids.toSorted(
    (a, b) =>
      Number((calledBy.get(a) ?? 0) > 0) - Number((calledBy.get(b) ?? 0) > 0) ||
      balance(b) - balance(a) ||
      (a < b ? -1 : 1),
  );
  const state = new Map<string, 1 | 2>();
  const sorted: string[] = [];
  const forward = new Map<string, string[]>();
  for (const root of order) {
    if (state.has(root)) continue;
    const stack: [string, string[], number][] = [[root, (out.get(root) ?? []).toSorted(), 0]];
    state.set(root, 1);
    while (stack.length > 0) {
      const top = stack[stack.length - 1] as [string, string[], number];
      const [id, next, i] = top;
      if (i >= next.length) {
        state.set(id, 2);
        sorted.push(id);
        stack.pop();
        continue;
      }
      top[2]++;
      const to = next[i] as string;
      if (state.get(to) === 1) continue; // back
      forward.set(id, [...(forward.get(id) ?? []), to]);
      if (!state.has(to)) {
        state.set(to, 1);
        stack.push([to, (out.get(to) ?? []).toSorted(), 0]);
      }
    }
  }
  const layer = new Map<string, number>(ids.map((i) => [i, 0]));
  for (const id of sorted.toReversed())
    for (const to of forward.get(id) ?? []) layer.set(to, Math.max(layer.get(to) ?? 0, (layer.get(id) ?? 0) + 1));
  return layer;
}

/** Layers in which noise has no say: it is called from everywhere, and stands right of its callers or at the very left. */
function quietLayers(
  ids: string[],
  edges: { src: string; dst: string }[],
  quiet: (id: string) => boolean,
): Map<string, number> {
  const noise = new Set(ids.filter(quiet));
  const out = layers(
    ids.filter((i) => !noise.has(i)),
    edges.filter((e) => !noise.has(e.src) && !noise.has(e.dst)),
  );
  for (const id of noise) {
    const callers = edges.filter((e) => e.dst === id && !noise.has(e.src)).map((e) => out.get(e.src) ?? 0);
    out.set(id, callers.length > 0 ? Math.max(...callers) + 1 : 0);
  }
  return out;
}

const worst: Tone[] = ["failed", "unanswered", "denied", "ok", "unknown"];
const worse = (a: Tone, b: Tone): Tone => (worst.indexOf(a) <= worst.indexOf(b) ? a : b);

/** The state of an edge, where it is worth a colour, and its words: "12 % refused". */
export function badness(failed: Record<string, number>, conns: number): { bad: Tone; label: string } {
  let total = 0;
  let top = "";
  for (const [o, n] of Object.entries(failed)) {
    total += n;
    if (!top || n > (failed[top] ?? 0) || (n === failed[top] && o < top)) top = o;
  }
  if (total === 0 || conns === 0) return { bad: "ok", label: "" };
  const share = Math.min(1, total / conns);
  if (share < 0.01) return { bad: "ok", label: "" };
  return {
    bad: tone(top),
    label: `${share < 0.1 ? (share * 100).toFixed(1).replace(/\.0$/, "") : Math.round(share * 100)} % ${top.replace("_", " ")}`,
  };
}

/** Names of machinery that calls or is called everywhere. */
const noise = /(^|\/)(kube-dns|coredns|dns|node-local-dns|prometheus[^/]*|metrics[^/]*|kube-proxy)$/;
export const isNoise = (id: string): boolean => noise.test(id) || id.startsWith("kube-system");

export interface Options {
  level: string;
  open: boolean; // no bundles
  fold: boolean; // noise goes into one bundle
  label: (id: string) => string;
  measure: (text: string) => number;
  box: Box;
  /** Rows that a layer has room for. */
  before?: Layout | undefined;
}

export function lay(list: MapEdge[], o: Options): Layout {
  const ids = [...new Set(list.flatMap((e) => [e.src, e.dst]))].toSorted();
  const bundles = o.open ? new Map<string, string>() : bundle(ids, list, o);
  const idOf = (id: string) => bundles.get(id) ?? id;
  const merged = new Map<string, MapEdge[]>();
  for (const e of list) {
    const key = `${idOf(e.src)}\0${idOf(e.dst)}`;
    const l = merged.get(key);
    if (l) l.push(e);
    else merged.set(key, [e]);
  }
  const shown = [...new Set(ids.map(idOf))];
  const pairs = [...merged.keys()].map((k) => {
    const [src = "", dst = ""] = k.split("\0");
    return { src, dst };
  });
  const layer = quietLayers(shown, pairs, (id) => id.startsWith("+noise") || (o.fold && isNoise(o.label(id))));
  const nodes = new Map<string, Node>();
  for (const id of shown) {
    const members = id.startsWith("+") ? ids.filter((i) => bundles.get(i) === id) : undefined;
    const label = members ? `${id.startsWith("+noise") ? "noise" : "other"} (${members.length})` : o.label(id);
    nodes.set(id, {
      id,
      label,
      layer: layer.get(id) ?? 0,
      x: 0,
      y: 0,
      w: 0,
      bad: "ok",
      conns: 0,
      external: /^(net|kind|name):/.test(id) || (o.level === "namespace" ? !isNamespace(id) : !id.includes("/")),
      ...(members ? { bundle: members } : {}),
    });
  }
  const edges: Edge[] = [];
  for (const [key, es] of merged) {
    const [src = "", dst = ""] = key.split("\0");
    const from = nodes.get(src);
    const to = nodes.get(dst);
    if (!from || !to) continue;
    edges.push(edge(from, to, es));
  }
  arrange([...nodes.values()], edges, o);
  return { nodes: [...nodes.values()], edges, folded: bundles.size, ...extent([...nodes.values()]) };
}

function edge(from: Node, to: Node, es: MapEdge[]): Edge {
  const failed: Record<string, number> = {};
  let conns = 0;
  let bytes: number | null = null;
  for (const e of es) {
    conns += e.conns;
    if (e.bytes !== null || e.reverse_bytes !== null) bytes = (bytes ?? 0) + (e.bytes ?? 0) + (e.reverse_bytes ?? 0);
    for (const [k, n] of Object.entries(e.failed)) failed[k] = (failed[k] ?? 0) + n;
  }
  const b = badness(failed, conns);
  from.conns += conns;
  to.conns += conns;
  from.bad = worse(from.bad, b.bad);
  to.bad = worse(to.bad, b.bad);
  // 1 px up to 10 kB, 6 px from a gigabyte.
  const width = 1 + Math.min(5, Math.max(0, Math.log10(Math.max(1, bytes ?? 1)) - 4));
  return {
    from,
    to,
    conns,
    bytes,
    failed,
    ...b,
    width,
    change: es.length === 1 ? es[0]?.change : undefined,
    edges: es,
  };
}

/** Which ends are drawn as one: noise, and of a layer without room the quietest healthy ones. */
function bundle(ids: string[], list: MapEdge[], o: Options): Map<string, string> {
  const out = new Map<string, string>();
  const weight = new Map<string, number>();
  const bad = new Set<string>();
  for (const e of list) {
    for (const id of [e.src, e.dst]) weight.set(id, (weight.get(id) ?? 0) + e.active + (e.previous?.conns ?? 0));
    if (badness(e.failed, e.conns).bad !== "ok" || e.change) {
      bad.add(e.src);
      bad.add(e.dst);
    }
  }
  if (o.fold) {
    const noisy = ids.filter((i) => isNoise(o.label(i)) && !bad.has(i));
    // Whom everybody calls, and who calls everybody, are two heaps: they stand at the two sides.
    const called = new Set(list.map((e) => e.dst));
    for (const [name, heap] of [
      ["+noise called", noisy.filter((i) => called.has(i))],
      ["+noise calling", noisy.filter((i) => !called.has(i))],
    ] as const)
      if (heap.length > 1) for (const i of heap) out.set(i, name);
  }
  const room = Math.max(6, Math.floor((o.box.height - 2 * margin) / (pill + gap)));
  const layer = quietLayers(ids, list, (id) => isNoise(o.label(id)));
  const by = new Map<number, string[]>();
  for (const i of ids) {
    if (out.has(i)) continue;
    const n = layer.get(i) ?? 0;
    by.set(n, [...(by.get(n) ?? []), i]);
  }
  for (const [n, members] of by) {
    if (members.length <= room) continue;
    const ranked = members.toSorted(
      (a, b) =>
        Number(bad.has(b)) - Number(bad.has(a)) || (weight.get(b) ?? 0) - (weight.get(a) ?? 0) || (a < b ? -1 : 1),
    );
    for (const i of ranked.slice(room - 1)) out.set(i, `+${n}`);
  }
  return out;
}

/** Order within layers by the middle of the neighbours; then places. Those of `before` keep their order. */
function arrange(nodes: Node[], edges: Edge[], o: Options): void {
  const was = new Map((o.before?.nodes ?? []).map((n) => [n.id, n]));
  const old = nodes.filter((n) => was.has(n.id)).length;
  // A map that is mostly the one before keeps its layers as well.
  const keep = old > 0 && old >= nodes.length * 0.6;
  if (keep) for (const n of nodes) n.layer = was.get(n.id)?.layer ?? n.layer;
  const used = [...new Set(nodes.map((n) => n.layer))].toSorted((a, b) => a - b);
  for (const n of nodes) n.layer = used.indexOf(n.layer);
  const by: Node[][] = used.map(() => []);
  for (const n of nodes) by[n.layer]?.push(n);
  const near = new Map<string, Node[]>();
  for (const e of edges) {
    if (e.from === e.to) continue;
    near.set(e.from.id, [...(near.get(e.from.id) ?? []), e.to]);
    near.set(e.to.id, [...(near.get(e.to.id) ?? []), e.from]);
  }
  const last = (n: Node) => (n.bundle ? 1 : 0);
  for (const l of by) {
    l.sort(
      (a, b) =>
        last(a) - last(b) ||
        (keep ? (was.get(a.id)?.y ?? 1e9) - (was.get(b.id)?.y ?? 1e9) : 0) ||
        (a.label < b.label ? -1 : 1),
    );
    l.forEach((n, i) => void (n.y = i - l.length / 2));
  }
  if (!keep) {
    for (let sweep = 0; sweep < 6; sweep++) {
      for (const l of sweep % 2 ? by.toReversed() : by) {
        const mid = new Map(l.map((n) => [n, mean((near.get(n.id) ?? []).map((m) => m.y)) ?? n.y]));
        l.sort((a, b) => last(a) - last(b) || (mid.get(a) ?? 0) - (mid.get(b) ?? 0) || (a.label < b.label ? -1 : 1));
        l.forEach((n, i) => void (n.y = i - l.length / 2));
      }
    }
  }
  place(by, o);
}

const mean = (v: number[]): number | null => (v.length ? v.reduce((a, b) => a + b, 0) / v.length : null);

function place(by: Node[][], o: Options): void {
  for (const l of by) for (const n of l) n.w = Math.min(220, Math.ceil(o.measure(n.label)) + 24);
  const widths = by.map((l) => Math.max(60, ...l.map((n) => n.w)));
  const total = widths.reduce((a, b) => a + b, 0);
  const between = by.length > 1 ? Math.max(56, (o.box.width - 2 * margin - total) / (by.length - 1)) : 0;
  const tallest = Math.max(...by.map((l) => l.length)) * (pill + gap);
  const height = Math.max(o.box.height - 2 * margin, tallest);
  let x = by.length > 1 ? margin : Math.max(margin, (o.box.width - (widths[0] ?? 0)) / 2);
  by.forEach((l, i) => {
    const step = Math.min(84, Math.max(pill + gap, height / Math.max(1, l.length)));
    const top = margin + (height - step * l.length) / 2;
    l.forEach((n, k) => {
      n.x = x;
      n.y = top + step * k + (step - pill) / 2;
    });
    x += (widths[i] ?? 0) + between;
  });
}

function extent(nodes: Node[]): { top: number; width: number; height: number } {
  let top = Number.POSITIVE_INFINITY;
  let width = 0;
  let height = 0;
  for (const n of nodes) {
    width = Math.max(width, n.x + n.w + margin);
    height = Math.max(height, n.y + pill + margin);
    top = Math.min(top, n.y);
  }
  return { top, width, height };
}
