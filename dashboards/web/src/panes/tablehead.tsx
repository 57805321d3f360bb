// The heads of the columns; a click sorts.

import { table } from "../data";
import { template } from "../fit";
import { cols, plainRows } from "../rows";
import { go, state } from "../state";
import { templateOf, titleOf } from "../stats";

export function TableHead() {
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
        title: titleOf(c.name),
        sort: state.value.group ? c.name : undefined,
        right: c.type === "number",
      }));
  return (
    <div
      class="thead"
      role="row"
      aria-rowindex={1}
      style={{ gridTemplateColumns: plainRows.value ? template(cols.value) : templateOf(r?.columns ?? []) }}
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
