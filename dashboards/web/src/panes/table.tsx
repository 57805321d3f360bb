// Connections, or what the stages of the query make of them. Each cell filters; the row opens its drawer.

import { computed, effect, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { get } from "../api";
import {
  type Col,
  type Conn,
  chosen,
  columns,
  conns,
  edgeEnd,
  end,
  endTerm,
  endTitle,
  fieldsOf,
  fold,
  fullTime,
  type Line,
  ms,
  str,
} from "../columns";
import { table, tableQuery } from "../data";
import { bytes, count, group, micros, plain, visible } from "../format";
import { holding, tail } from "../live";
import { equals, join, toggle } from "../query";
import { density, filter, go, parts, paused, rangeFlags, select, span, state } from "../state";
import type { Cell, Column, Result, Row } from "../types";
import { Age } from "../ui/age";
import { copy, csv, download, md, say, shell } from "../ui/copy";
import { Outcome } from "../ui/glyph";
import { Menu } from "../ui/menu";
import { Value } from "../ui/name";
import { Failed, Loading } from "../ui/states";
import { Virtual } from "../ui/virtual";
import { Empty } from "./empty";

/** Where the keyboard is. */
export const cursor = signal({ row: -1, col: 0 });
const open = signal<ReadonlySet<string>>(new Set());

const cols = computed(() => chosen(state.value.columns));

/** True where rows are connections. */
const plainRows = computed(() => state.value.live || (!parts.value.stages && !state.value.group));

const source = computed<Conn[]>(() => {
  if (state.value.live) return tail.value.rows;
  const r = table.value.value;
  return r && plainRows.value ? conns(r.columns, r.rows) : [];
});

/** The lines of the list: folded ones, and those of a line that is open below it. */
export const lines = computed<(Line & { inner?: boolean })[]>(() => {
  const out: (Line & { inner?: boolean })[] = [];
  // A sorted list stays in its order: nothing is folded.
  const list = state.value.sort ? source.value.map((c) => ({ conn: c, n: 1, all: [c] })) : fold(source.value);
  for (const l of list) {
    out.push(l);
    if (l.n > 1 && open.value.has(str(l.conn.conn_id)))
      for (const c of l.all) out.push({ conn: c, n: 1, all: [c], inner: true });
  }
  return out;
});

effect(() => {
  tableQuery.value;
  state.value.live;
  cursor.value = { row: -1, col: 0 };
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

/** What the cell under the cursor filters by. */
export function cursorTerm(): string | null {
  const { row, col } = cursor.value;
  if (!plainRows.value) {
    const r = table.value.value;
    const c = r?.columns[col];
    const v = r?.rows[row]?.values[col];
    return c && v !== undefined ? statsTerm(c, v) : null;
  }
  const l = lines.value[row];
  const c = cols.value[col];
  if (!l || !c) return null;
  return c.id === "ends" ? endTerm(l.conn, "dst") : (c.term?.(l.conn) ?? null);
}

export const rowCount = (): number => (plainRows.value ? lines.value.length : (table.value.value?.rows.length ?? 0));
export const columnCount = (): number =>
  plainRows.value ? cols.value.length : (table.value.value?.columns.length ?? 1);

export function openCursor(): void {
  const l = lines.value[cursor.value.row];
  if (plainRows.value && l) openConn(l.conn);
  else if (!plainRows.value) openGroup(cursor.value.row);
}

const template = (list: Col[]): string =>
  list.map((c) => (c.width ? `${c.width}px` : `minmax(${c.weight === 5 ? 226 : 120}px, ${c.weight}fr)`)).join(" ");

function ConnRow({ line, i, list }: { line: Line & { inner?: boolean }; i: number; list: Col[] }) {
  const c = line.conn;
  const sel = state.value.select;
  const on = sel?.kind === "conn" && sel.id === c.conn_id;
  const id = str(c.conn_id);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the keys of the whole page move the cursor and open rows
    <div
      class={`tr ${on ? "selected" : ""} ${cursor.value.row === i ? "cursor" : ""} ${line.inner ? "inner" : ""}`}
      role="row"
      aria-rowindex={i + 2}
      aria-selected={on}
      tabIndex={-1}
      style={{ gridTemplateColumns: template(list) }}
      onClick={() => {
        cursor.value = { row: i, col: cursor.value.col };
        openConn(c);
      }}
    >
      {list.map((col, k) => (
        <div
          key={col.id}
          role="cell"
          class={`td ${col.right ? "right" : ""} ${col.mono ? "mono" : ""} ${cursor.value.row === i && cursor.value.col === k ? "cell-cursor" : ""}`}
        >
          <ConnCell col={col} line={line} open={open.value.has(id)} />
        </div>
      ))}
    </div>
  );
}

function ConnCell({ col, line, open: isOpen }: { col: Col; line: Line; open: boolean }) {
  const c = line.conn;
  if (col.id === "ends") {
    return (
      <span class="ends">
        <Value of={end(c, "src")} term={endTerm(c, "src")} class="from" title={hint(endTitle(c, "src"))} />
        <span class="arrow">→</span>
        <Value of={end(c, "dst")} term={endTerm(c, "dst")} class="to" title={hint(endTitle(c, "dst"))} />
      </span>
    );
  }
  if (col.id === "outcome") {
    const o = str(c.outcome);
    return (
      <span class="outcome-cell">
        <button
          type="button"
          class="value"
          title={`click: outcome = ${o || "unknown"}\nAlt-click: not`}
          onClick={(e) => {
            e.stopPropagation();
            filter(equals("outcome", c.outcome ?? null), e.altKey);
          }}
        >
          <Outcome of={o} />
        </button>
        {line.n > 1 && (
          <button
            type="button"
            class="value times"
            aria-expanded={isOpen}
            title={`${line.n} connections that say the same: show each`}
            onClick={(e) => {
              e.stopPropagation();
              const id = str(c.conn_id);
              const next = new Set(open.value);
              if (!next.delete(id)) next.add(id);
              open.value = next;
            }}
          >
            ×{line.n}
          </button>
        )}
      </span>
    );
  }
  const text = col.text(c, state.value.utc);
  if (text === "") return <Absent why={col.absent} silent={col.id === "why"} />;
  if (col.id === "time" || col.id === "start") return <span title={fullTime(c, state.value.utc)}>{text}</span>;
  return <Value of={text} term={col.term?.(c) ?? null} />;
}

const hint = (title: string): string =>
  `${visible(title).replaceAll("\\u000a", "\n")}\nclick: filter by it, Alt-click: leave it out`;

function Absent({ why, silent }: { why?: string | undefined; silent?: boolean }) {
  if (silent) return null;
  return (
    <span class="muted" title={why ?? "absent"}>
      –
    </span>
  );
}

function statsTerm(c: Column, v: Cell): string | null {
  if (/[(]/.test(c.name) || c.name === "conns" || c.name === "active" || c.type === "time") return null;
  return equals(c.name, v);
}

/** A group's row opens what it stands for: its terms join the query. */
function openGroup(i: number): void {
  const r = table.value.value;
  const row = r?.rows[i];
  if (!r || !row || row.other) return;
  let q = parts.value.expr;
  r.columns.forEach((c, k) => {
    const t = statsTerm(c, row.values[k] ?? null);
    if (t && !q.includes(t)) q = toggle(q, t);
  });
  go({ q, group: "" });
}

export function amount(c: Column, v: Cell): string {
  if (v === null) return "–";
  if (typeof v !== "number")
    return visible(
      c.type === "time"
        ? v
            .toString()
            .replace("T", " ")
            .replace(/\.000Z$/, "")
        : String(v),
    );
  if (c.unit === "bytes") return plain(bytes(v));
  if (c.unit === "us") return plain(micros(v));
  if (/port$/.test(c.name)) return String(v);
  return c.unit && c.unit !== "packets" && c.unit !== "segments"
    ? `${group(Math.round(v * 100) / 100)} ${c.unit}`
    : plain(count(v));
}

function StatsRow({ r, row, i }: { r: Result; row: Row; i: number }) {
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the keys of the whole page move the cursor and open rows
    <div
      class={`tr ${cursor.value.row === i ? "cursor" : ""} ${row.other ? "other" : ""}`}
      role="row"
      aria-rowindex={i + 2}
      tabIndex={-1}
      style={{ gridTemplateColumns: statsTemplate(r.columns) }}
      onClick={() => openGroup(i)}
    >
      {r.columns.map((c, k) => {
        const v = row.values[k] ?? null;
        const un = row.uncounted?.[k] ?? 0;
        return (
          <div
            key={c.name}
            role="cell"
            class={`td ${c.type === "number" ? "right" : ""} ${cursor.value.row === i && cursor.value.col === k ? "cell-cursor" : ""}`}
          >
            {c.name === "outcome" ? (
              <Outcome of={str(v)} />
            ) : row.other && v === null && c.type === "text" ? (
              <span class="muted">other</span>
            ) : (
              <Value
                of={/workload$/.test(c.name) ? str(v).replace(/^[A-Z]\w*\//, "") || "–" : amount(c, v)}
                term={row.other ? null : statsTerm(c, v)}
              />
            )}
            {un > 0 && (
              <span class="muted" title={`${un} connections have no counters`}>
                {" "}
                + {un} uncounted
              </span>
            )}
          </div>
        );
      })}
    </div>
  );
}

const statsTemplate = (list: Column[]): string =>
  list
    .map((c) => (c.type === "number" ? "minmax(76px, 104px)" : c.type === "time" ? "160px" : "minmax(100px, 1fr)"))
    .join(" ");

function Head() {
  const r = table.value.value;
  const sort = state.value.sort;
  const by = (field: string | undefined) =>
    field && go({ sort: sort === `-${field}` ? field : sort === field ? "" : `-${field}` });
  const mark = (field: string | undefined) =>
    field && sort === `-${field}` ? " ↓" : field && sort === field ? " ↑" : "";
  const list: { key: string; title: string; sort?: string | undefined; right: boolean }[] = plainRows.value
    ? cols.value.map((c) => ({
        key: c.id,
        title: c.title,
        sort: state.value.live ? undefined : c.sort,
        right: !!c.right,
      }))
    : (r?.columns ?? []).map((c) => ({
        key: c.name,
        title: statsTitle(c.name),
        sort: state.value.group ? c.name : undefined,
        right: c.type === "number",
      }));
  return (
    <div
      class="thead"
      role="row"
      style={{ gridTemplateColumns: plainRows.value ? template(cols.value) : statsTemplate(r?.columns ?? []) }}
    >
      {list.map((c) => (
        <div
          key={c.key}
          role="columnheader"
          class={`th ${c.right ? "right" : ""}`}
          aria-sort={mark(c.sort) === " ↓" ? "descending" : mark(c.sort) ? "ascending" : "none"}
        >
          {c.sort ? (
            <button type="button" class="quiet" onClick={() => by(c.sort)}>
              {c.title}
              {mark(c.sort)}
            </button>
          ) : (
            c.title
          )}
        </div>
      ))}
    </div>
  );
}

const statsTitles: Record<string, string> = {
  "sum(bytes)": "bytes →",
  "sum(reverse.bytes)": "bytes ←",
  "p95(rtt)": "RTT p95",
  "src.workload": "from",
  "dst.workload": "to",
  "dst.port": "port",
};
const statsTitle = (name: string) => statsTitles[name] ?? name;

export const groups: [string, string][] = [
  ["", "connections"],
  ["src.workload, dst.workload, dst.port, outcome", "edges"],
  ["src.ns, dst.ns, outcome", "namespaces"],
  ["outcome, dst.listen", "outcomes"],
  ["src.node, dst.node, outcome", "node pairs"],
  ["service, dst.port, outcome", "Services"],
  ["dst.name, dst.ip", "external ends"],
  ["policy.eval, policy.eval_why", "policies"],
];

export function cliText(): string {
  return state.value.live
    ? `weirctl observe ${shell(parts.value.expr)}`
    : `weirctl query ${shell(plainRows.value ? parts.value.expr : tableQuery.value)} ${rangeFlags(state.value.range)}`;
}

function markdown(): string {
  const out = [`\`${cliText()}\``, ""];
  if (plainRows.value) {
    const list = cols.value;
    out.push(
      `| ${list.map((c) => c.title).join(" | ")} |`,
      `|${list.map((c) => (c.right ? "--:" : "---")).join("|")}|`,
    );
    for (const l of lines.value.slice(0, 30))
      out.push(
        `| ${list.map((c) => md(c.text(l.conn, true)) + (c.id === "outcome" && l.n > 1 ? ` ×${l.n}` : "")).join(" | ")} |`,
      );
  } else {
    const r = table.value.value;
    if (r) {
      out.push(`| ${r.columns.map((c) => md(c.name)).join(" | ")} |`, `|${r.columns.map(() => "---").join("|")}|`);
      for (const row of r.rows.slice(0, 30))
        out.push(`| ${r.columns.map((c, k) => md(amount(c, row.values[k] ?? null))).join(" | ")} |`);
    }
  }
  return out.join("\n");
}

/** All rows of the answer, not only those that are shown: the API's own limit holds. */
async function exportCSV(): Promise<void> {
  say("asking for all rows …");
  try {
    const q = plainRows.value
      ? join(
          parts.value.expr,
          `| limit 10000 | fields ${fieldsOf(columns.filter((c) => cols.value.includes(c))).join(", ")}`,
        )
      : tableQuery.value;
    const s = span.value;
    const r = await get<Result>(
      "query",
      { q, since: s.from, until: s.to, limit: "10000" },
      new AbortController().signal,
    );
    download(
      `weir-${new Date(s.to).toISOString().replace(/[:.]/g, "-")}.csv`,
      "text/csv;charset=utf-8",
      csv(r.columns, r.rows),
    );
    say(
      `${group(r.rows.length)} rows${r.cut || r.rows.length === 10_000 ? ", the newest: narrow the query for the rest" : ""}`,
    );
  } catch (e) {
    say(e instanceof Error ? e.message : String(e));
  }
}

function Basis() {
  const t = tail.value;
  if (state.value.live) {
    return (
      <span class="basis" aria-live="off">
        {t.failure
          ? visible(t.failure.message)
          : paused.value
            ? "paused"
            : holding.value
              ? `held, ${group(t.held)} waiting`
              : t.came > t.shown
                ? `showing ${group(t.shown)}/s of ${group(t.came)}/s`
                : `${group(t.came)}/s`}
        {t.skipped > 0 && (
          <span title="records that were overwritten before this page took them">, {group(t.skipped)} skipped</span>
        )}
      </span>
    );
  }
  const h = table.value;
  const r = h.value;
  if (!r) return <span class="basis" />;
  return (
    <span class="basis" title={(r.notes ?? []).map(visible).join("\n")}>
      {plainRows.value && r.rows.length >= 1000 ? "newest 1,000, " : `${group(r.rows.length)} rows, `}
      {plain(count(r.scanned.rows))} scanned, {Math.round(r.took_ns / 1e6)} ms, <Age of={h.at} /> old
    </span>
  );
}

export function TablePane() {
  const h = table.value;
  const r = h.value;
  const live = state.value.live;
  const s = state.value;
  const body = useRef<HTMLDivElement>(null);
  const rowHeight = density.value === "compact" ? 24 : 28;
  const n = rowCount();
  useEffect(() => () => void (holding.value = false), []);
  return (
    <section
      class={`table ${h.loading && r && !live ? "refreshing" : ""} ${r && !live && stale() ? "stale" : ""}`}
      aria-label="Connections"
    >
      <header class="pane-head">
        <label class="quiet-select">
          <span class="sr">Group by</span>
          <select
            value={parts.value.stages ? "stages" : s.group}
            disabled={live || parts.value.stages !== ""}
            onChange={(e) => go({ group: e.currentTarget.value, sort: "" })}
          >
            {parts.value.stages && <option value="stages">as the query says</option>}
            {groups.map(([v, t]) => (
              <option key={v} value={v}>
                {t}
              </option>
            ))}
            {s.group && !groups.some(([v]) => v === s.group) && <option value={s.group}>{visible(s.group)}</option>}
          </select>
        </label>
        <button
          type="button"
          class={`toggle ${live ? "on" : ""}`}
          aria-pressed={live}
          onClick={() => go({ live: !live, group: "" })}
          title="live tail (l)"
        >
          {live && !paused.value ? "● live" : "live"}
        </button>
        {live && (
          <button
            type="button"
            class="quiet"
            aria-pressed={paused.value}
            onClick={() => (paused.value = !paused.value)}
            title="hold still (p)"
          >
            {paused.value ? "resume" : "pause"}
          </button>
        )}
        <Basis />
        <Menu label="columns" title="choose columns">
          {plainRows.value &&
            columns.map((c) => {
              const on = cols.value.includes(c);
              return (
                <label key={c.id} class="check">
                  <input
                    type="checkbox"
                    checked={on}
                    onChange={() => {
                      const ids = cols.value.map((x) => x.id);
                      go(
                        {
                          columns: on
                            ? ids.filter((x) => x !== c.id)
                            : columns.map((x) => x.id).filter((x) => ids.includes(x) || x === c.id),
                        },
                        true,
                      );
                    }}
                  />
                  {c.title}
                </label>
              );
            })}
          <button type="button" onClick={() => go({ columns: [] }, true)}>
            default columns
          </button>
        </Menu>
        <Menu label="copy" title="take it elsewhere">
          <button type="button" onClick={() => void copy(cliText(), "command")}>
            Copy as CLI
          </button>
          <button type="button" onClick={() => void copy(markdown(), "table")}>
            Copy as Markdown
          </button>
          <button type="button" onClick={() => void copy(location.href, "link")}>
            Copy link
          </button>
          {!live && (
            <button type="button" onClick={() => void exportCSV()}>
              Download CSV
            </button>
          )}
        </Menu>
      </header>
      {!live && h.failure && (
        <Failed failure={h.failure} what={h.failure.column ? `Column ${h.failure.column}` : "Connections"} />
      )}
      {!live && !r && !h.failure && <Loading what="Asking" />}
      {(live || r) && n === 0 && !(h.failure && !live) && <Empty live={live} />}
      {n > 0 && (
        <div
          class="grid"
          role="table"
          aria-rowcount={n + 1}
          ref={body}
          onMouseEnter={() => live && (holding.value = true)}
          onMouseLeave={() => (holding.value = scrolled)}
        >
          <Head />
          <Virtual
            n={n}
            rowHeight={rowHeight}
            at={cursor.value.row}
            label="rows"
            onScroll={(top) => {
              scrolled = live && top > rowHeight;
              if (live) holding.value = scrolled || body.current?.matches(":hover") === true;
            }}
            row={(i) => {
              if (plainRows.value) {
                const l = lines.value[i];
                return l ? (
                  <ConnRow key={`${str(l.conn.conn_id) || i}${l.inner ? "+" : ""}`} line={l} i={i} list={cols.value} />
                ) : null;
              }
              const row = r?.rows[i];
              return r && row ? <StatsRow key={i} r={r} row={row} i={i} /> : null;
            }}
          />
        </div>
      )}
    </section>
  );
}

let scrolled = false;
/** True where the rows answer another question than the one that is asked now. */
function stale(): boolean {
  const key = table.value.key;
  return key !== "" && !key.endsWith(` ${tableQuery.value}`);
}
