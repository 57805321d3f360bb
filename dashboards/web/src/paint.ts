// Draws a layout on a canvas, and finds what is at a point. What is out of view is not drawn.

import type { Tone } from "./columns";
import { type Edge, type Layout, type Node, pill } from "./layout";

export interface View {
  x: number; // of the layout's origin, in CSS pixels
  y: number;
  scale: number;
}

export interface Palette {
  bg: string;
  pill: string;
  line: string;
  strong: string;
  text: string;
  muted: string;
  focus: string;
  tones: Record<Tone, string>;
  toneText: Record<Tone, string>;
}

export interface Look {
  hover: Node | Edge | null;
  selected: (e: Edge) => boolean;
  selectedNode: (n: Node) => boolean;
  compare: boolean;
  palette: Palette;
}

const font = '12px system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';
const small = '11px system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';
export const labelFont = font;

export const isEdge = (v: Node | Edge | null): v is Edge => v !== null && "from" in v;

/** The four points of an edge's curve. */
export function curve(e: Edge): [number, number, number, number, number, number, number, number] {
  const y1 = e.from.y + pill / 2;
  const y2 = e.to.y + pill / 2;
  if (e.to.layer > e.from.layer) {
    const x1 = e.from.x + e.from.w;
    const x2 = e.to.x;
    const d = Math.max(24, (x2 - x1) * 0.45);
    return [x1, y1, x1 + d, y1, x2 - d, y2, x2, y2];
  }
  // Back, or within a layer: out at the right and in at the right again, or around below.
  const x1 = e.from.x + e.from.w;
  if (e.to.layer === e.from.layer) {
    const x2 = e.to.x + e.to.w;
    const out = Math.max(x1, x2) + 28 + Math.min(60, Math.abs(y2 - y1) * 0.2);
    return e.from === e.to
      ? [x1, y1 - 6, x1 + 30, y1 - 22, x1 + 30, y1 + 22, x1, y1 + 6]
      : [x1, y1, out, y1, out, y2, x2, y2];
  }
  const x2 = e.to.x;
  const low = Math.max(y1, y2) + 44;
  return [e.from.x + e.from.w / 2, e.from.y + pill, e.from.x, low, x2 + e.to.w, low, x2 + e.to.w / 2, e.to.y + pill];
}

/** A point of the curve, from 0 at its begin to 1. */
export function along(c: ReturnType<typeof curve>, t: number): [number, number] {
  const u = 1 - t;
  const a = u * u * u;
  const b = 3 * u * u * t;
  const d = 3 * u * t * t;
  const f = t * t * t;
  return [a * c[0] + b * c[2] + d * c[4] + f * c[6], a * c[1] + b * c[3] + d * c[5] + f * c[7]];
}

/** What is at a point of the layout: an end first, else the nearest edge within a few pixels. */
export function hit(l: Layout, x: number, y: number): Node | Edge | null {
  for (const n of l.nodes) if (x >= n.x && x <= n.x + n.w && y >= n.y && y <= n.y + pill) return n;
  let best: Edge | null = null;
  let least = 36;
  for (const e of l.edges) {
    const c = curve(e);
    if (x < Math.min(c[0], c[2], c[4], c[6]) - 8 || x > Math.max(c[0], c[2], c[4], c[6]) + 8) continue;
    if (y < Math.min(c[1], c[3], c[5], c[7]) - 8 || y > Math.max(c[1], c[3], c[5], c[7]) + 8) continue;
    let [px, py] = along(c, 0);
    for (let i = 1; i <= 24; i++) {
      const [qx, qy] = along(c, i / 24);
      const d = toSegment(x, y, px, py, qx, qy) - (e.bad !== "ok" ? 4 : 0);
      if (d < least) {
        least = d;
        best = e;
      }
      px = qx;
      py = qy;
    }
  }
  return best;
}

function toSegment(x: number, y: number, ax: number, ay: number, bx: number, by: number): number {
  const dx = bx - ax;
  const dy = by - ay;
  const t = Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
  return (x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2;
}

const dim = 0.15;

export function paint(
  g: CanvasRenderingContext2D,
  l: Layout,
  v: View,
  width: number,
  height: number,
  dpr: number,
  look: Look,
): void {
  const p = look.palette;
  g.setTransform(dpr, 0, 0, dpr, 0, 0);
  g.clearRect(0, 0, width, height);
  g.setTransform(dpr * v.scale, 0, 0, dpr * v.scale, dpr * v.x, dpr * v.y);
  const left = -v.x / v.scale;
  const top = -v.y / v.scale;
  const inView = { left, top, right: left + width / v.scale, bottom: top + height / v.scale };
  const near = neighbours(l, look);
  const edges = l.edges.filter((e) => visibleEdge(e, inView));
  paintEdges(g, edges, near, look, v);
  paintNodes(g, l.nodes, near, look, v, inView);
  if (v.scale > 0.5) paintLabels(g, edges, l.nodes, near, p);
}

interface Rect {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

function visibleEdge(e: Edge, r: Rect): boolean {
  const c = curve(e);
  return (
    Math.max(c[0], c[2], c[4], c[6]) >= r.left &&
    Math.min(c[0], c[2], c[4], c[6]) <= r.right &&
    Math.max(c[1], c[3], c[5], c[7]) >= r.top &&
    Math.min(c[1], c[3], c[5], c[7]) <= r.bottom
  );
}

interface Near {
  edges: Set<Edge>;
  nodes: Set<Node>;
}

/** What stays bright under the pointer, or of what is selected; null for all. */
function neighbours(l: Layout, look: Look): Near | null {
  const out: Near = { edges: new Set(), nodes: new Set() };
  const h = look.hover;
  for (const e of l.edges) {
    const on = h ? (isEdge(h) ? e === h : e.from === h || e.to === h) : look.selected(e);
    if (on) {
      out.edges.add(e);
      out.nodes.add(e.from).add(e.to);
    }
  }
  if (h && !isEdge(h)) out.nodes.add(h);
  return h && (out.edges.size > 0 || out.nodes.size > 0) ? out : null;
}

/** Edges of one look are one path: the browser strokes them at once. */
function paintEdges(g: CanvasRenderingContext2D, edges: Edge[], near: Near | null, look: Look, v: View): void {
  const groups = new Map<string, { list: Edge[]; color: string; alpha: number; width: number; dash: number[] }>();
  for (const e of edges) {
    const dimmed = near !== null && !near.edges.has(e);
    const on = look.selected(e);
    const gone = look.compare && e.change === "gone";
    const color =
      e.bad !== "ok"
        ? look.palette.tones[e.bad]
        : on || (look.compare && e.change === "new")
          ? look.palette.focus
          : look.palette.tones.ok;
    const alpha = dimmed ? 0.3 * dim : e.bad !== "ok" || on ? 1 : near ? 0.7 : look.compare && !e.change ? 0.15 : 0.3;
    const width = Math.max(Math.round(e.width * 2) / 2, e.bad !== "ok" ? 4 : on ? 2 : 1) / Math.max(v.scale, 0.35);
    const dash = gone ? [2, 5] : e.bad === "denied" ? [7, 4] : e.bad === "unanswered" ? [2, 3] : [];
    const key = `${color} ${alpha} ${width} ${dash}`;
    const gr = groups.get(key) ?? { list: [], color, alpha, width, dash };
    gr.list.push(e);
    groups.set(key, gr);
  }
  g.lineCap = "butt";
  for (const gr of [...groups.values()].toSorted((a, b) => a.alpha - b.alpha)) {
    g.globalAlpha = gr.alpha;
    g.strokeStyle = gr.color;
    g.lineWidth = gr.width;
    g.setLineDash(gr.dash);
    g.beginPath();
    for (const e of gr.list) {
      const c = curve(e);
      g.moveTo(c[0], c[1]);
      g.bezierCurveTo(c[2], c[3], c[4], c[5], c[6], c[7]);
    }
    g.stroke();
    // A healthy edge is a pale band with a thin line in it: quiet, and still to be followed.
    if (gr.alpha >= 0.3 && gr.alpha < 0.9 && v.scale > 0.4) {
      g.globalAlpha = 1;
      g.lineWidth = 1 / v.scale;
      g.stroke();
      g.globalAlpha = gr.alpha;
      g.lineWidth = gr.width;
    }
    if (v.scale > 0.4) {
      g.fillStyle = gr.color;
      g.beginPath();
      for (const e of gr.list) arrow(g, curve(e), 3 + gr.width);
      g.fill();
    }
  }
  g.setLineDash([]);
  g.globalAlpha = 1;
}

function arrow(g: CanvasRenderingContext2D, c: ReturnType<typeof curve>, size: number): void {
  const [bx, by] = along(c, 0.97);
  const a = Math.atan2(c[7] - by, c[6] - bx);
  g.moveTo(c[6], c[7]);
  g.lineTo(c[6] - size * Math.cos(a - 0.45), c[7] - size * Math.sin(a - 0.45));
  g.lineTo(c[6] - size * Math.cos(a + 0.45), c[7] - size * Math.sin(a + 0.45));
  g.closePath();
}

function paintNodes(g: CanvasRenderingContext2D, nodes: Node[], near: Near | null, look: Look, v: View, r: Rect): void {
  const p = look.palette;
  g.font = font;
  g.textBaseline = "middle";
  for (const n of nodes) {
    if (n.x > r.right || n.x + n.w < r.left || n.y > r.bottom || n.y + pill < r.top) continue;
    g.globalAlpha = near !== null && !near.nodes.has(n) ? dim : 1;
    g.beginPath();
    g.roundRect(n.x + 0.5, n.y + 0.5, n.w - 1, pill - 1, n.external ? 2 : 14);
    g.fillStyle = p.pill;
    g.fill();
    const on = look.hover === n || look.selectedNode(n);
    g.strokeStyle = on ? p.focus : p.strong;
    g.lineWidth = on ? 1.5 : 1;
    g.setLineDash(n.bundle ? [3, 3] : []);
    g.stroke();
    g.setLineDash([]);
    if (v.scale <= 0.45) continue; // too small to be read
    g.fillStyle = n.bundle ? p.muted : p.text;
    g.fillText(clipped(g, n.label, n.w - 20), n.x + 12, n.y + pill / 2 + 0.5);
  }
  g.globalAlpha = 1;
}

const fits = new Map<string, string>();

/** Cuts a text in its middle, where names differ least. */
function clipped(g: CanvasRenderingContext2D, text: string, width: number): string {
  const key = `${width} ${text}`;
  const had = fits.get(key);
  if (had !== undefined) return had;
  let out = text;
  if (g.measureText(text).width > width) {
    let n = Math.min(text.length, 64);
    while (n > 3) {
      n--;
      const head = Math.ceil((n - 1) * 0.6);
      out = `${text.slice(0, head)}…${text.slice(text.length - (n - 1 - head))}`;
      if (g.measureText(out).width <= width) break;
    }
  }
  if (fits.size > 8192) fits.clear();
  fits.set(key, out);
  return out;
}

/** The words on bad edges; those that would cover another are moved along their edge, or left out. */
function paintLabels(g: CanvasRenderingContext2D, edges: Edge[], nodes: Node[], near: Near | null, p: Palette): void {
  g.font = small;
  g.textBaseline = "middle";
  const taken: Rect[] = nodes.map((n) => ({ left: n.x, right: n.x + n.w, top: n.y, bottom: n.y + pill }));
  const bad = edges.filter((e) => e.label && (near === null || near.edges.has(e))).toSorted((a, b) => sum(b) - sum(a));
  for (const e of bad) {
    const c = curve(e);
    const w = g.measureText(e.label).width + 8;
    for (const t of [0.5, 0.4, 0.6, 0.3, 0.7, 0.22, 0.78]) {
      const [ax, y] = along(c, t);
      const x = e.from === e.to ? ax + w / 2 + 4 : ax;
      const r = { left: x - w / 2, right: x + w / 2, top: y - 8, bottom: y + 8 };
      if (taken.some((o) => r.left < o.right && r.right > o.left && r.top < o.bottom && r.bottom > o.top)) continue;
      taken.push(r);
      g.globalAlpha = 0.92;
      g.fillStyle = p.bg;
      g.fillRect(r.left, r.top, w, 16);
      g.globalAlpha = 1;
      g.fillStyle = p.toneText[e.bad];
      g.fillText(e.label, r.left + 4, y + 0.5);
      break;
    }
  }
}

const sum = (e: Edge): number => Object.values(e.failed).reduce((a, b) => a + b, 0);
