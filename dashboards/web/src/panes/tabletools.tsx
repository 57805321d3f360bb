// What stands above the table: by what it is grouped, the live tail, what the answer rests on, columns, copies.

import { columns } from "../columns";
import { table } from "../data";
import { cliText, exportCSV, markdown } from "../elsewhere";
import { count, group, plain, visible } from "../format";
import { holding, tail } from "../live";
import { chosenCols, cols, plainRows } from "../rows";
import { go, parts, paused, state } from "../state";
import { groups } from "../stats";
import { Age } from "../ui/age";
import { copy } from "../ui/copy";
import { Menu } from "../ui/menu";
import { Reach } from "../ui/reach";

export function TableTools() {
  const s = state.value;
  const live = s.live;
  return (
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
      <ColumnMenu />
      <CopyMenu live={live} />
    </header>
  );
}

function ColumnMenu() {
  const less = plainRows.value ? chosenCols.value.length - cols.value.length : 0;
  return (
    <Menu
      label={less > 0 ? `columns, ${less} more` : "columns"}
      title={less > 0 ? "some have no room here: widen the table, or choose columns" : "choose columns"}
    >
      {plainRows.value &&
        columns.map((c) => {
          const on = chosenCols.value.includes(c);
          return (
            <label key={c.id} class="check">
              <input
                type="checkbox"
                checked={on}
                onChange={() => {
                  const ids = chosenCols.value.map((x) => x.id);
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
  );
}

function CopyMenu({ live }: { live: boolean }) {
  return (
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
  );
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
    <>
      <Reach of={h} />
      <span class="basis" title={(r.notes ?? []).map(visible).join("\n")}>
        {plainRows.value && r.rows.length >= 1000 ? "newest 1,000, " : `${group(r.rows.length)} rows, `}
        {plain(count(r.scanned.rows))} scanned, {Math.round(r.took_ns / 1e6)} ms, <Age of={h.at} /> old
      </span>
    </>
  );
}
