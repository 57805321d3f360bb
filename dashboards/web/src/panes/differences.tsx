// Fields by how much more often a value stands in a region than in the rest.

import { group, percent, visible } from "../format";
import { equals } from "../query";
import type { Held } from "../resource";
import { filter, rangeFlags, state } from "../state";
import type { Differences } from "../types";
import { code, copy, md } from "../ui/copy";
import { Failed, Loading } from "../ui/states";

export function DifferencesView({ region, h }: { region: string; h: Held<Differences> }) {
  const d = h.value;
  return (
    <article class={h.loading && d ? "refreshing" : ""}>
      <h2>What is different?</h2>
      <p class="mono region">{visible(region)}</p>
      {h.failure && !d && <Failed failure={h.failure} what="Differences" />}
      {!d && h.loading && <Loading what="Comparing the region with the rest" />}
      {d && (
        <>
          <p class="muted">
            {group(d.region)} connections in the region, {group(d.rest)} in the rest of the range.
          </p>
          {d.differences.length === 0 && (
            <p class="cause second">
              {d.region < 5
                ? "There is too little in the region to compare."
                : "Nothing stands out: the region is as the rest."}
            </p>
          )}
          <ul class="differences">
            {d.differences.map((x) => (
              <li key={x.field}>
                <button
                  type="button"
                  class="value"
                  title="click: filter, Alt-click: leave out"
                  onClick={(e) => filter(equals(x.field, x.value), e.altKey)}
                >
                  <span class="muted">{x.field}</span> <bdi>{visible(x.value)}</bdi>
                </button>
                <span class="num">
                  {percent(x.region)} <span class="muted">vs {percent(x.rest)}</span>
                </span>
                <span class="share" aria-hidden="true">
                  <span class="in" style={{ width: `${x.region * 100}%` }} />
                  <span class="out" style={{ width: `${x.rest * 100}%` }} />
                </span>
              </li>
            ))}
          </ul>
          <div class="actions">
            <button
              type="button"
              onClick={() =>
                void copy(
                  [
                    `What is different in ${code(region)} (${rangeFlags(state.value.range)}):`,
                    "",
                    ...d.differences.map((x) => `- ${md(x.text)}`),
                  ].join("\n"),
                  "comparison",
                )
              }
            >
              copy as Markdown
            </button>
          </div>
        </>
      )}
    </article>
  );
}
