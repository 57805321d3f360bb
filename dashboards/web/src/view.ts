// Where a layout stands in its window: fitted, moved, zoomed. Pure.

import { isSelected } from "./ends";
import type { Edge, Layout, Node } from "./layout";
import { isEdge, type View } from "./paint";
import type { Selection } from "./url";

/** The whole of the layout, where it can still be read; else its upper left. */
export function fitted(l: Layout, w: number, h: number, every = false, full = 1): View {
  const tall = l.height - l.top;
  const scale = Math.min(full, w / l.width, h / tall);
  if (scale < 0.75 * full && !every) {
    const s = Math.max(0.75 * full, Math.min(full, w / l.width));
    return { x: 0, y: Math.min(0, -l.top * s + 16), scale: s };
  }
  return { x: Math.max(0, (w - l.width * scale) / 2), y: (h - (l.top + l.height - 16) * scale) / 2, scale };
}

/** Nearer or farther by a factor; what is at the point stays there. */
export function zoomed(v: View, factor: number, x: number, y: number): View {
  const scale = Math.min(2, Math.max(0.05, v.scale * factor));
  return { scale, x: x - ((x - v.x) * scale) / v.scale, y: y - ((y - v.y) * scale) / v.scale };
}

/** From where to where the selected edge or end reaches. */
export function reach(l: Layout, s: Selection | null): { left: number; right: number } | null {
  if (s?.kind === "edge") {
    const e = l.edges.find((e) => e.edges.some((x) => isSelected(x, s)));
    if (e) return { left: Math.min(e.from.x, e.to.x), right: Math.max(e.from.x + e.from.w, e.to.x + e.to.w) };
  }
  if (s?.kind === "entity") {
    const n = l.nodes.find((n) => n.id === s.name);
    if (n) return { left: n.x, right: n.x + n.w };
  }
  return null;
}

/** The view moved left so far that what reaches from left to right comes out from under what covers the window from `free` on. */
export function uncovered(v: View, at: { left: number; right: number }, free: number): View {
  const left = at.left * v.scale + v.x;
  const right = at.right * v.scale + v.x;
  if (free <= 120 || right <= free) return v;
  return { ...v, x: v.x - Math.min(right - free + 16, Math.max(0, left - 16)) };
}

/** The view moved so far that a point of the layout is well within the window, and where it then is. */
export function showing(v: View, x: number, y: number, w: number, h: number): { view: View; x: number; y: number } {
  const edge = 48;
  const within = (at: number, size: number) => Math.min(Math.max(at, edge), Math.max(edge, size - edge));
  const px = x * v.scale + v.x;
  const py = y * v.scale + v.y;
  const to = { x: within(px, w), y: within(py, h) };
  return { view: { ...v, x: v.x + to.x - px, y: v.y + to.y - py }, ...to };
}

/** The same edge or end in a newer layout; null where it is gone. */
export function same(l: Layout, what: Edge | Node | null): Edge | Node | null {
  if (!what) return null;
  if (isEdge(what)) return l.edges.find((e) => e.from.id === what.from.id && e.to.id === what.to.id) ?? null;
  return l.nodes.find((n) => n.id === what.id) ?? null;
}
