// Connections, or what the stages of the query make of them.

import { useEffect, useRef } from "preact/hooks";
import { str } from "../columns";
import { table } from "../data";
import { holding } from "../live";
import { cellId, cols, columnCount, cursor, lines, plainRows, room, rowCount, stale } from "../rows";
import { density, state } from "../state";
import { scaled } from "../ui/rem";
import { Failed, Loading } from "../ui/states";
import { Virtual } from "../ui/virtual";
import { ConnRow } from "./connrow";
import { Empty } from "./empty";
import { StatsRow } from "./statsrow";
import { TableHead } from "./tablehead";
import { TableTools } from "./tabletools";

let scrolled = false;

export function TablePane() {
  const h = table.value;
  const r = h.value;
  const live = state.value.live;
  const body = useRef<HTMLDivElement>(null);
  const rowHeight = scaled(density.value === "compact" ? 24 : 28);
  const n = rowCount();
  const pane = useRef<HTMLElement>(null);
  useEffect(() => {
    const el = pane.current;
    if (!el) return;
    const o = new ResizeObserver(() => (room.value = Math.floor(el.clientWidth / scaled(1))));
    o.observe(el);
    return () => {
      o.disconnect();
      holding.value = false;
    };
  }, []);
  return (
    <section
      class={`table ${h.loading && r && !live ? "refreshing" : ""} ${r && !live && stale() ? "stale" : ""}`}
      aria-label="Connections"
      id="table-pane"
      ref={pane}
    >
      <TableTools />
      {!live && h.failure && (
        <Failed failure={h.failure} what={h.failure.column ? `Column ${h.failure.column}` : "Connections"} />
      )}
      {!live && !r && !h.failure && <Loading what="Asking" />}
      {(live || r) && n === 0 && !(h.failure && !live) && <Empty live={live} />}
      {n > 0 && (
        <div
          class="grid"
          role="grid"
          aria-label={plainRows.value ? "Connections" : "Groups of connections"}
          aria-rowcount={n + 1}
          aria-colcount={columnCount()}
          aria-activedescendant={cursor.value.row >= 0 ? cellId(cursor.value.row, cursor.value.col) : undefined}
          tabIndex={0}
          onFocus={(e) => {
            if (e.target === e.currentTarget && cursor.value.row < 0 && e.currentTarget.matches(":focus-visible"))
              cursor.value = { row: 0, col: 0 };
          }}
          ref={body}
          onMouseEnter={() => live && (holding.value = true)}
          onMouseLeave={() => (holding.value = scrolled)}
        >
          <TableHead />
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
