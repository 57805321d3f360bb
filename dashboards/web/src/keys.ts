// The keys of the whole page. What is typed into a field stays there.

import { palette } from "./panes/palette";
import { editing } from "./panes/querybar";
import { columnCount, cursor, cursorTerm, openCursor, rowCount, unfoldCursor } from "./rows";
import { filter, go, paused, select, state } from "./state";
import { focusRows } from "./ui/focus";

function move(rows: number, cols: number): void {
  const n = rowCount();
  if (n === 0) return;
  const c = cursor.value;
  cursor.value = {
    row: Math.min(n - 1, Math.max(0, c.row + rows)),
    col: Math.min(columnCount() - 1, Math.max(0, c.col + cols)),
  };
  focusRows();
}

function closeTop(): void {
  const s = state.value;
  if (palette.value !== null) palette.value = null;
  else if (s.sheet) go({ sheet: "" });
  else if (s.select) select(null);
  else cursor.value = { row: -1, col: 0 };
}

const plain: Record<string, () => void> = {
  "/": () => void (editing.value = true),
  j: () => move(1, 0),
  ArrowDown: () => move(1, 0),
  k: () => move(-1, 0),
  ArrowUp: () => move(-1, 0),
  h: () => move(0, -1),
  ArrowLeft: () => move(0, -1),
  ArrowRight: () => move(0, 1),
  l: () => (cursor.value.row < 0 ? go({ live: !state.value.live, group: "" }) : move(0, 1)),
  Enter: () => openCursor(),
  o: () => unfoldCursor(),
  PageDown: () => move(20, 0),
  PageUp: () => move(-20, 0),
  Home: () => move(-rowCount(), 0),
  End: () => move(rowCount(), 0),
  f: () => byCell(false),
  x: () => byCell(true),
  p: () => void (paused.value = !paused.value),
  d: () => select({ kind: "differences", region: "outcome != ok" }),
  c: () => go({ compare: !state.value.compare }),
  t: () =>
    go({ group: state.value.group ? "" : "src.workload, dst.workload, dst.port, outcome", live: false, pane: "table" }),
  m: () => go({ pane: state.value.pane === "map" ? "table" : "map" }, true),
  u: () => go({ utc: !state.value.utc }, true),
  "?": () => go({ sheet: state.value.sheet === "help" ? "" : "help" }),
  Escape: closeTop,
};

function byCell(exclude: boolean): void {
  const t = cursorTerm();
  if (t) filter(t, exclude);
}

export function onKey(e: KeyboardEvent): void {
  if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "k") {
    e.preventDefault();
    palette.value = palette.value === null ? "" : null;
    return;
  }
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const at = e.target as HTMLElement;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(at.tagName) && e.key !== "Escape") return;
  // A value that has the focus itself is filtered by, or left out, as by a click.
  if ((e.key === "f" || e.key === "x") && at.matches("button.value, .map-keys button")) {
    e.preventDefault();
    at.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, altKey: e.key === "x" }));
    return;
  }
  // A button keeps its own keys.
  if (at.tagName === "BUTTON" && (e.key === "Enter" || e.key === " ")) return;
  const run = plain[e.key];
  if (!run) return;
  e.preventDefault();
  run();
}
