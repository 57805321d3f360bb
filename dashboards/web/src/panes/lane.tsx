// One lane of the timeline: a plot that is made again where its size or colours change, else given new data.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Series } from "../series";
import { type Span, theme } from "../state";
import { scaled } from "../ui/rem";

/** Left and right of the plots, in tenths of a rem. */
export const gutter = 96;
export const right = 16;

function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const stepped = uPlot.paths.stepped?.({ align: 1 });

function axes(side: boolean, unit: (v: number) => string): uPlot.Axis[] {
  const font = `${scaled(11)}px system-ui, sans-serif`;
  return [
    { show: false },
    side
      ? {
          size: scaled(gutter),
          stroke: color("muted"),
          font,
          gap: 6,
          ticks: { show: false },
          grid: { show: false },
          splits: (_u, _i, _min, max) => [max],
          values: (u, v) =>
            v.map((x) => ((u.data.slice(1) as (number | null)[][]).some((d) => d.some((y) => y)) ? unit(x) : "")),
        }
      : { show: false },
  ];
}

/** The next round number, so that the scale does not dance. */
export function ceiling(max: number): number {
  if (!(max > 0)) return 1;
  const p = 10 ** Math.floor(Math.log10(max));
  return [1, 1.5, 2, 3, 5, 7.5, 10].map((m) => m * p).find((v) => v >= max) ?? max;
}

function options(
  width: number,
  height: number,
  s: () => Span,
  list: uPlot.Series[],
  unit: (v: number) => string,
  brushed: (a: number, b: number) => void,
  hover: (i: number | null) => void,
): uPlot.Options {
  return {
    width,
    height,
    padding: [7, scaled(right), 5, 0],
    legend: { show: false },
    cursor: {
      sync: { key: "timeline" },
      y: false,
      points: { show: false },
      drag: { x: true, y: false, setScale: false, dist: 4 },
    },
    scales: {
      x: {
        time: false,
        range: () => {
          const { from, to } = s();
          return [from, to];
        },
      },
      y: { range: (_u, _min, max) => [0, ceiling(max)] },
    },
    axes: axes(true, unit),
    series: [{}, ...list],
    hooks: {
      setSelect: [
        (u) => {
          if (u.select.width > 3)
            brushed(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
        },
      ],
      setCursor: [(u) => hover(u.cursor.idx ?? null)],
    },
  };
}

function volumeSeries(): uPlot.Series[] {
  return [
    {
      label: "before",
      stroke: color("ghost"),
      width: 1,
      dash: [3, 2],
      ...(stepped ? { paths: stepped } : {}),
      points: { show: false },
    },
    {
      label: "now",
      stroke: color("ok"),
      width: 1.5,
      fill: `color-mix(in oklch, ${color("ok")} 12%, transparent)`,
      ...(stepped ? { paths: stepped } : {}),
      points: { show: false },
    },
  ];
}

function failureSeries(): uPlot.Series[] {
  // Drawn from the highest sum down, each over the one before.
  return (["denied", "unanswered", "failed"] as const).map((t) => ({
    label: t,
    stroke: color(t),
    // A thin line over a pale ground, so that the edge of the map that fails is what stands out.
    fill: `color-mix(in oklab, ${color(t)} 14%, ${color("bg")})`,
    width: 1,
    ...(stepped ? { paths: stepped } : {}),
    points: { show: false },
  }));
}

export function Lane({
  data,
  height,
  which,
  onBrush,
  onHover,
  unit,
}: {
  data: Series;
  height: number;
  which: "volume" | "failures";
  onBrush: (a: number, b: number) => void;
  onHover: (i: number | null) => void;
  unit: (v: number) => string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const width = useSignal(0);
  useEffect(() => {
    const el = box.current;
    if (!el) return;
    const o = new ResizeObserver(() => (width.value = el.clientWidth));
    o.observe(el);
    return () => o.disconnect();
  }, []);
  const dark = theme.value + document.documentElement.dataset.theme;
  const values = (
    which === "volume"
      ? [data.x, data.before, data.now]
      : [data.x, bare(data.denied), bare(data.unanswered), bare(data.failed)]
  ) as uPlot.AlignedData;
  const w = width.value;
  const now = useRef(data);
  now.current = data;
  const calls = useRef({ onBrush, onHover, unit });
  calls.current = { onBrush, onHover, unit };
  useEffect(() => {
    const el = box.current;
    if (!el || w === 0) return;
    const o = options(
      w,
      scaled(height),
      () => now.current,
      which === "volume" ? volumeSeries() : failureSeries(),
      (v) => calls.current.unit(v),
      (a, b) => calls.current.onBrush(a, b),
      (k) => calls.current.onHover(k),
    );
    const u = new uPlot(o, values, el);
    plot.current = u;
    plots.add(u);
    return () => {
      plots.delete(u);
      u.destroy();
      plot.current = null;
    };
  }, [w, height, dark, which]);
  // New numbers leave the plot, and a region that is being marked on it, as they are.
  useEffect(() => plot.current?.setData(values), [data]);
  return <div class={`lane ${which}`} ref={box} />;
}

/** None instead of 0, which is not drawn: an outline has a width even where the bar has no height. */
const bare = (list: (number | null)[]): (number | null)[] => list.map((v) => v || null);

/** The lanes that are shown, whose marked regions go together. */
export const plots = new Set<uPlot>();

/** Marks a region on all lanes; null takes the mark away. */
export function mark(region: { from: number; to: number } | null): void {
  for (const u of plots) {
    const left = region ? u.valToPos(region.from, "x") : 0;
    const width = region ? u.valToPos(region.to, "x") - left : 0;
    u.setSelect({ left, top: 0, width, height: region ? u.over.clientHeight : 0 }, false);
  }
}
