// The lines of the table, and where the keyboard is among them.

import { computed, effect, signal } from "@preact/signals";
import {
  type Conn,
  chosen,
  conns,
  edgeEnd,
  end,
  endTerm,
  fold,
  type Line,
  ms,
  port as portOf,
  str,
  why as whyOf,
  word,
} from "./columns";
import { table, tableQuery } from "./data";
import { fitting, type Need } from "./fit";
import { tail } from "./live";
import { go, parts, select, state } from "./state";
import { rowQuery, termOf } from "./stats";

/** Where the keyboard is. */
export const cursor = signal({ row: -1, col: 0 });

/** The element of a cell, for those who are told where the cursor is. */
export const cellId = (row: number, col: number): string => `cell-${row}-${col}`;

/** The keys of lines that are unfolded. */
const open = signal<ReadonlySet<string>>(new Set());
export const isOpen = (l: Line): boolean => open.value.has(l.key);

/** Shows each connection of a folded line, or hides them again. */
export function unfold(l: Line): void {
  const next = new Set(open.value);
  if (!next.delete(l.key)) next.add(l.key);
  open.value = next;
}

/** The columns that were chosen, or the default ones. */
export const chosenCols = computed(() => chosen(state.value.columns));

/** How wide the table is, in tenths of a rem; 0 where that is not known. */
export const room = signal(0);
/** What the lines of this question have needed so far: columns do not come and go with each batch. */
const nothing: Need = { why: false, outcome: 0, port: 0, ends: 0 };
const need = signal<Need>(nothing);

/** Those that are shown. */
export const cols = computed(() => fitting(chosenCols.value, room.value, need.value, state.value.columns.length > 0));

/** True where rows are connections. */
export const plainRows = computed(() => state.value.live || (!parts.value.stages && !state.value.group));

const source = computed<Conn[]>(() => {
  if (state.value.live) return tail.value.rows;
  const r = table.value.value;
  return r && plainRows.value ? conns(r.columns, r.rows) : [];
});

export type TableLine = Line & { inner?: boolean };

const alone = (c: Conn): Line => ({ key: str(c.conn_id), conn: c, n: 1, all: [c] });

/** The lines of the list: folded ones, and those of a line that is open below it. */
export const lines = computed<TableLine[]>(() => {
  const out: TableLine[] = [];
  // A sorted list stays in its order: nothing is folded.
  const list = state.value.sort ? source.value.map(alone) : fold(source.value);
  for (const l of list) {
    out.push(l);
    if (l.n > 1 && isOpen(l)) for (const c of l.all) out.push({ ...alone(c), inner: true });
  }
  return out;
});

const question = computed(() => `${tableQuery.value} ${state.value.live}`);

effect(() => {
  question.value;
  cursor.value = { row: -1, col: 0 };
  need.value = nothing;
});

effect(() => {
  question.value;
  const was = need.peek();
  const now = { ...was };
  for (const l of lines.value) {
    now.why ||= whyOf(l.conn) !== "";
    now.outcome = Math.max(now.outcome, word(str(l.conn.outcome)).length + (l.n > 1 ? String(l.n).length + 2 : 0));
    now.port = Math.max(now.port, portOf(l.conn).length);
    now.ends = Math.max(now.ends, end(l.conn, "src").length + end(l.conn, "dst").length);
  }
  if (JSON.stringify(now) !== JSON.stringify(was)) need.value = now;
});

export const rowCount = (): number => (plainRows.value ? lines.value.length : (table.value.value?.rows.length ?? 0));
export const columnCount = (): number =>
  plainRows.value ? cols.value.length : (table.value.value?.columns.length ?? 1);

// A list that became shorter keeps the cursor at its end.
effect(() => {
  const n = rowCount();
  const c = cursor.peek();
  if (n > 0 && c.row >= n) cursor.value = { ...c, row: n - 1 };
});

export function openConn(c: Conn): void {
  const id = str(c.conn_id);
  const at = ms(c.start ?? c.end ?? null);
  if (id && at) select({ kind: "conn", id, at });
  else
    select({
      kind: "edge",
      src: edgeEnd(c, "src"),
      dst: edgeEnd(c, "dst"),
      ...(c["dst.port"] ? { port: Number(c["dst.port"]) } : {}),
    });
}

/** A group's row opens what it stands for: its terms join the query. */
export function openGroup(i: number): void {
  const r = table.value.value;
  const row = r?.rows[i];
  if (r && row && !row.other) go({ q: rowQuery(parts.value.expr, r.columns, row), group: "" });
}

/** Opens the row under the cursor. */
export function openCursor(): void {
  const l = lines.value[cursor.value.row];
  if (!plainRows.value) openGroup(cursor.value.row);
  else if (l) openConn(l.conn);
}

/** Shows each connection of the folded line under the cursor. */
export function unfoldCursor(): void {
  const l = lines.value[cursor.value.row];
  if (plainRows.value && l && l.n > 1) unfold(l);
}

/** What the cell under the cursor filters by. */
export function cursorTerm(): string | null {
  const { row, col } = cursor.value;
  if (!plainRows.value) {
    const r = table.value.value;
    const c = r?.columns[col];
    const v = r?.rows[row]?.values[col];
    return c && v !== undefined ? termOf(c, v) : null;
  }
  const l = lines.value[row];
  const c = cols.value[col];
  if (!l || !c) return null;
  return c.id === "ends" ? endTerm(l.conn, "dst") : (c.term?.(l.conn) ?? null);
}

/** True where the rows answer another question than the one that is asked now. */
export function stale(): boolean {
  const key = table.value.key;
  return key !== "" && !key.endsWith(` ${tableQuery.value}`);
}
