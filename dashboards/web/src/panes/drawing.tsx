// The map itself: a canvas, what the pointer does on it, and what a click chooses.

import { effect, signal, useComputed } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { endTerms, isNamespace, isSelected, selectable, shortEnd } from "../ends";
import { visible } from "../format";
import { type Edge, type Layout, lay, type Node, pill } from "../layout";
import { along, curve, hit, isEdge, type Look, labelFont, type Palette, paint, type View } from "../paint";
import { filter, go, select, state, theme } from "../state";
import type { FlowMap } from "../types";
import { scaled } from "../ui/rem";
import { fitted, reach, same, showing, uncovered, zoomed } from "../view";
import { MapKeys } from "./mapkeys";
import { type Hover, Tip } from "./maptip";

export const foldNoise = signal(true);

let measurer: CanvasRenderingContext2D | null = null;
function measure(text: string): number {
  measurer ??= document.createElement("canvas").getContext("2d");
  if (!measurer) return text.length * 7;
  measurer.font = labelFont;
  return measurer.measureText(text).width;
}

function palette(): Palette {
  const css = getComputedStyle(document.documentElement);
  const v = (n: string) => css.getPropertyValue(`--${n}`).trim();
  return {
    bg: v("bg"),
    pill: v("panel"),
    line: v("line"),
    strong: v("line-strong"),
    text: v("text"),
    muted: v("muted"),
    focus: v("focus"),
    tones: {
      ok: v("ok"),
      failed: v("failed"),
      denied: v("denied"),
      unanswered: v("unanswered"),
      unknown: v("unknown"),
    },
    toneText: {
      ok: v("muted"),
      failed: v("failed-text"),
      denied: v("denied-text"),
      unanswered: v("unanswered-text"),
      unknown: v("muted"),
    },
  };
}

let previous: { key: string; layout: Layout } | undefined;

function layoutOf(m: FlowMap, width: number, height: number, open: boolean): Layout {
  const key = `${m.level} ${open} ${foldNoise.value}`;
  const before = previous?.key === key ? previous.layout : undefined;
  const layout = lay(m.edges, {
    level: m.level,
    open,
    fold: foldNoise.value,
    label: (id) => visible(shortEnd(id)),
    measure,
    box: { width: width / scaled(1), height: height / scaled(1) },
    before,
  });
  previous = { key, layout };
  return layout;
}

/** In tenths of a rem, as the style has it. */
const drawerWidth = 440;

export function Drawing({ m }: { m: FlowMap }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useMemo(() => signal({ w: 0, h: 0 }), []);
  const hover = useMemo(() => signal<Hover | null>(null), []);
  const view = useRef<View>({ x: 0, y: 0, scale: 1 });
  const moved = useRef(false);
  const frame = useRef(0);
  const open = state.value.unfolded;
  const l = useMemo(
    () => (size.value.w ? layoutOf(m, size.value.w, size.value.h, open) : null),
    [m, size.value, open, foldNoise.value],
  );
  const colors = useMemo(palette, [theme.value, document.documentElement.dataset.theme]);
  const sel = useComputed(() => state.value.select);

  const draw = () => {
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => {
      const c = canvas.current;
      const g = c?.getContext("2d");
      if (!c || !g || !l) return;
      const dpr = devicePixelRatio;
      const { w, h } = size.value;
      if (c.width !== Math.round(w * dpr) || c.height !== Math.round(h * dpr)) {
        c.width = Math.round(w * dpr);
        c.height = Math.round(h * dpr);
      }
      const s = sel.value;
      const look: Look = {
        hover: same(l, hover.value?.what ?? null),
        selected: (e) => s?.kind === "edge" && e.edges.some((x) => isSelected(x, s)),
        selectedNode: (n) => s?.kind === "entity" && n.id === s.name,
        compare: state.value.compare,
        palette: colors,
      };
      paint(g, l, view.current, w, h, dpr, look);
    });
  };

  useEffect(() => {
    const el = canvas.current?.parentElement;
    if (!el) return;
    const o = new ResizeObserver(() => {
      size.value = { w: el.clientWidth, h: el.clientHeight };
    });
    o.observe(el);
    return () => o.disconnect();
  }, []);
  useEffect(() => {
    if (l && !moved.current) view.current = fitted(l, size.value.w, size.value.h, open, scaled(1));
    draw();
  }, [l, colors]);
  useEffect(() => effect(() => void [hover.value, sel.value, draw()]), [l, colors]);
  // What is selected comes out from under the drawer.
  const shown = JSON.stringify(sel.value);
  useEffect(() => {
    const at = l && reach(l, sel.value);
    if (!at) return;
    view.current = uncovered(view.current, at, size.value.w - scaled(drawerWidth));
    draw();
  }, [shown, l]);
  useEffect(() => void (moved.current = false), [m.level, open]);

  const at = (e: MouseEvent) => {
    const v = view.current;
    return { x: (e.offsetX - v.x) / v.scale, y: (e.offsetY - v.y) / v.scale };
  };
  const onMove = (e: PointerEvent) => {
    if (drag.current) {
      const d = drag.current;
      if (Math.abs(e.clientX - d.x) + Math.abs(e.clientY - d.y) > 4) d.far = true;
      if (d.far) {
        view.current = { ...view.current, x: d.vx + e.clientX - d.x, y: d.vy + e.clientY - d.y };
        moved.current = true;
        draw();
        return;
      }
    }
    if (!l) return;
    const p = at(e);
    const what = hit(l, p.x, p.y);
    if (what !== (hover.value?.what ?? null) || what) hover.value = what ? { what, x: e.offsetX, y: e.offsetY } : null;
  };
  const drag = useRef<{ x: number; y: number; vx: number; vy: number; far: boolean } | null>(null);
  const onUp = (e: PointerEvent) => {
    const d = drag.current;
    drag.current = null;
    if (d?.far || !l) return;
    const p = at(e);
    const what = hit(l, p.x, p.y);
    if (!what) return;
    choose(what, e.altKey);
  };
  const choose = (what: Node | Edge, alt: boolean) => {
    if (isEdge(what)) chooseEdge(what, m.level);
    else chooseNode(what, m.level, alt);
  };
  // What the keyboard is at is shown as what the pointer is at.
  const onAt = (what: Node | Edge | null) => {
    if (!what) {
      hover.value = null;
      return;
    }
    const [x, y] = isEdge(what) ? along(curve(what), 0.5) : [what.x + what.w / 2, what.y + pill / 2];
    const s = showing(view.current, x, y, size.value.w, size.value.h);
    view.current = s.view;
    moved.current = true;
    hover.value = { what, x: s.x, y: s.y };
  };
  const onWheel = (e: WheelEvent) => {
    e.preventDefault();
    const v = view.current;
    moved.current = true;
    if (e.ctrlKey || e.metaKey || state.value.unfolded) {
      view.current = zoomed(v, Math.exp(-e.deltaY * 0.0015), e.offsetX, e.offsetY);
    } else view.current = { ...v, x: v.x - e.deltaX, y: v.y - e.deltaY };
    draw();
  };
  const h = hover.value;
  return (
    <div class="map-box">
      <canvas
        ref={canvas}
        role="img"
        aria-label={`Map of ${l?.nodes.length ?? 0} ends and ${l?.edges.length ?? 0} edges. The same as a table: press t.`}
        class={h ? "pointing" : ""}
        onPointerDown={(e) => {
          drag.current = { x: e.clientX, y: e.clientY, vx: view.current.x, vy: view.current.y, far: false };
          e.currentTarget.setPointerCapture(e.pointerId);
        }}
        onPointerMove={onMove}
        onPointerUp={onUp}
        onPointerLeave={() => {
          hover.value = null;
        }}
        onWheel={onWheel}
        onDblClick={() => {
          if (!l) return;
          view.current = fitted(l, size.value.w, size.value.h, open, scaled(1));
          moved.current = false;
          draw();
        }}
      />
      {l && <MapKeys l={l} onAt={onAt} onChoose={choose} />}
      {h && <Tip h={h} w={size.value.w} height={size.value.h} />}
    </div>
  );
}

export function chooseEdge(e: Edge, level: string): void {
  const one =
    e.edges.length === 1
      ? e.edges[0]
      : e.edges.toSorted((a, b) => sum(b.failed) - sum(a.failed) || b.conns - a.conns)[0];
  if (one) select({ kind: "edge", src: selectable(level, one.src), dst: selectable(level, one.dst) });
}

function chooseNode(n: Node, level: string, alt: boolean): void {
  if (n.bundle) {
    if (n.id.startsWith("+noise")) foldNoise.value = false;
    else go({ unfolded: true }, true);
    return;
  }
  if (alt || n.id === "") filter(`(${endTerms(level, n.id)})`, alt);
  else {
    const next = level === "namespace" ? "workload" : level === "workload" ? "pod" : "pod";
    if (level === "namespace" && isNamespace(n.id)) {
      filter(endTerms(level, n.id));
      go({ level: next }, true);
    } else select({ kind: "entity", name: n.id });
  }
}

const sum = (f: Record<string, number>) => Object.values(f).reduce((a, b) => a + b, 0);
