// One row of what the stages of a query make of connections.

import { str } from "../columns";
import { equals } from "../query";
import { cellId, cursor, openGroup } from "../rows";
import { filter } from "../state";
import { amount, templateOf, termOf } from "../stats";
import type { Cell, Column, Result, Row } from "../types";
import { Outcome } from "../ui/glyph";
import { Value } from "../ui/name";

export function StatsRow({ r, row, i }: { r: Result; row: Row; i: number }) {
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the keys of the whole page move the cursor and open rows
    <div
      class={`tr ${cursor.value.row === i ? "cursor" : ""} ${row.other ? "other" : ""}`}
      role="row"
      aria-rowindex={i + 2}
      style={{ gridTemplateColumns: templateOf(r.columns) }}
      onClick={() => openGroup(i)}
    >
      {r.columns.map((c, k) => {
        const un = row.uncounted?.[k] ?? 0;
        return (
          <div
            key={c.name}
            role="gridcell"
            id={cellId(i, k)}
            aria-colindex={k + 1}
            class={`td ${c.type === "number" ? "right" : ""} ${cursor.value.row === i && cursor.value.col === k ? "cell-cursor" : ""}`}
          >
            <StatsCell c={c} v={row.values[k] ?? null} other={row.other === true} />
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

function StatsCell({ c, v, other }: { c: Column; v: Cell; other: boolean }) {
  if (c.name === "outcome")
    return (
      <button
        type="button"
        class="value"
        tabIndex={-1}
        onClick={(e) => {
          e.stopPropagation();
          filter(equals("outcome", v), e.altKey);
        }}
      >
        <Outcome of={str(v)} />
      </button>
    );
  if (other && v === null && c.type === "text") return <span class="muted">other</span>;
  const text = /workload$/.test(c.name) ? str(v).replace(/^[A-Z]\w*\//, "") || "–" : amount(c, v);
  return <Value of={text} term={other ? null : termOf(c, v)} tab={-1} />;
}
