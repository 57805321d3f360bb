// The page: one bar, findings, timeline, map and table over one query, a drawer.

import { effect, signal } from "@preact/signals";
import { render } from "preact";
import { useRef } from "preact/hooks";
import "./style/tokens.css";
import "./style/base.css";
import "./style/layout.css";
import "./style/panes.css";
import "./style/drawer.css";
import { link } from "./api";
import { onKey } from "./keys";
import { Bar, Notices } from "./panes/bar";
import { Drawer } from "./panes/drawer";
import { FindingsPane } from "./panes/findings";
import { MapPane } from "./panes/map";
import { Palette, palette } from "./panes/palette";
import { Sheet } from "./panes/sheets";
import { SignIn } from "./panes/signin";
import { TablePane } from "./panes/table";
import { TimelinePane } from "./panes/timeline";
import { beat, density, every, go, paused, state, theme } from "./state";
import { second } from "./ui/age";
import { Announce } from "./ui/announce";

const dark = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(dark.matches);
dark.addEventListener("change", () => (systemDark.value = dark.matches));

effect(() => {
  const root = document.documentElement;
  root.dataset.theme = theme.value === "auto" ? (systemDark.value ? "dark" : "light") : theme.value;
  root.dataset.density = density.value;
});

/** The share of the width that the map takes. */
const share = signal(52);

// A range that ends now is asked for again and again, while somebody looks.
let last = Date.now();
setInterval(() => {
  second.value = Date.now();
  const r = state.peek().range;
  if (!("last" in r) || paused.peek() || document.hidden) return;
  if (Date.now() - last >= every(r.last)) {
    last = Date.now();
    beat.value++;
  }
}, 1000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && "last" in state.peek().range && !paused.peek()) {
    last = Date.now();
    beat.value++;
  }
});
document.addEventListener("keydown", onKey);

function Splitter() {
  const on = useRef(false);
  const box = useRef<HTMLDivElement>(null);
  const set = (v: number) => {
    share.value = Math.min(80, Math.max(20, v));
  };
  return (
    <div
      class="splitter"
      ref={box}
      role="slider"
      aria-label="width of the map"
      aria-orientation="horizontal"
      aria-valuenow={Math.round(share.value)}
      aria-valuemin={20}
      aria-valuemax={80}
      tabIndex={0}
      onPointerDown={(e) => {
        on.current = true;
        e.currentTarget.setPointerCapture(e.pointerId);
      }}
      onPointerMove={(e) => {
        const r = box.current?.parentElement?.getBoundingClientRect();
        if (on.current && r) set((100 * (e.clientX - r.left)) / r.width);
      }}
      onPointerUp={() => (on.current = false)}
      onKeyDown={(e) => {
        if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return;
        e.preventDefault();
        e.stopPropagation();
        set(share.value + (e.key === "ArrowLeft" ? -2 : 2));
      }}
    />
  );
}

const panes = ["table", "map"] as const;

function Tabs() {
  const at = state.value.pane;
  return (
    <div class="tabs" role="tablist" aria-label="Pane">
      {panes.map((p) => (
        <button
          key={p}
          type="button"
          role="tab"
          id={`tab-${p}`}
          aria-selected={at === p}
          aria-controls={`${p}-pane`}
          tabIndex={at === p ? 0 : -1}
          class={at === p ? "on" : ""}
          onClick={() => go({ pane: p }, true)}
          onKeyDown={(e) => {
            if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return;
            e.preventDefault();
            e.stopPropagation();
            const other = p === "map" ? "table" : "map";
            go({ pane: other }, true);
            document.getElementById(`tab-${other}`)?.focus();
          }}
        >
          {p}
        </button>
      ))}
    </div>
  );
}

function App() {
  const modal = palette.value !== null || link.value.state === "token";
  const covered = modal || state.value.sheet !== "";
  return (
    <div class={`app pane-${state.value.pane}`}>
      <Bar inert={modal} />
      <Notices />
      <main inert={modal}>
        <div class="panes" inert={covered}>
          <FindingsPane />
          <TimelinePane />
          <Tabs />
          <div class="split" style={{ gridTemplateColumns: `${share.value}fr 5px ${100 - share.value}fr` }}>
            <div class="left">
              <MapPane />
              <Drawer />
            </div>
            <Splitter />
            <TablePane />
          </div>
        </div>
        <Sheet />
      </main>
      <Palette />
      <SignIn />
      <Announce />
    </div>
  );
}

render(<App />, document.getElementById("app") as HTMLElement);
