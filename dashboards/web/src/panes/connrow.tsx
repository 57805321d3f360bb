// One connection, or several that say the same, as a row. Each cell filters; the row opens its drawer.

import { type Col, end, endTerm, endTitle, fullTime, str } from "../columns";
import { template } from "../fit";
import { visible } from "../format";
import { equals } from "../query";
import { cellId, cursor, isOpen, openConn, type TableLine, unfold } from "../rows";
import { filter, state } from "../state";
import { Outcome } from "../ui/glyph";
import { Value } from "../ui/name";

export function ConnRow({ line, i, list }: { line: TableLine; i: number; list: Col[] }) {
  const c = line.conn;
  const sel = state.value.select;
  const on = sel?.kind === "conn" && sel.id === c.conn_id;
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the keys of the whole page move the cursor and open rows
    <div
      class={`tr ${on ? "selected" : ""} ${cursor.value.row === i ? "cursor" : ""} ${line.inner ? "inner" : ""}`}
      role="row"
      aria-rowindex={i + 2}
      aria-selected={on}
      style={{ gridTemplateColumns: template(list) }}
      onClick={() => {
        cursor.value = { row: i, col: cursor.value.col };
        openConn(c);
      }}
    >
      {list.map((col, k) => (
        <div
          key={col.id}
          role="gridcell"
          id={cellId(i, k)}
          aria-colindex={k + 1}
          class={`td ${col.right ? "right" : ""} ${col.mono ? "mono" : ""} ${cursor.value.row === i && cursor.value.col === k ? "cell-cursor" : ""}`}
        >
          <ConnCell col={col} line={line} />
        </div>
      ))}
    </div>
  );
}

function ConnCell({ col, line }: { col: Col; line: TableLine }) {
  const c = line.conn;
  if (col.id === "ends") {
    return (
      <span class="ends">
        <Value of={end(c, "src")} term={endTerm(c, "src")} class="from" title={hint(endTitle(c, "src"))} tab={-1} />
        <span class="arrow">→</span>
        <Value of={end(c, "dst")} term={endTerm(c, "dst")} class="to" title={hint(endTitle(c, "dst"))} tab={-1} />
      </span>
    );
  }
  if (col.id === "outcome") return <OutcomeCell line={line} />;
  const text = col.text(c, state.value.utc);
  if (text === "") return <Absent why={col.absent} silent={col.id === "why"} />;
  if (col.id === "time" || col.id === "start") return <span title={fullTime(c, state.value.utc)}>{text}</span>;
  return <Value of={text} term={col.term?.(c) ?? null} tab={-1} />;
}

function OutcomeCell({ line }: { line: TableLine }) {
  const c = line.conn;
  const o = str(c.outcome);
  return (
    <span class="outcome-cell">
      <button
        type="button"
        class="value"
        tabIndex={-1}
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
          tabIndex={-1}
          aria-expanded={isOpen(line)}
          aria-label={`${line.n} connections that say the same`}
          title={`${line.n} connections that say the same: show each (o)`}
          onClick={(e) => {
            e.stopPropagation();
            unfold(line);
          }}
        >
          ×{line.n}
        </button>
      )}
    </span>
  );
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
