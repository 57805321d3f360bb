// The range, beside the query and never in it.

import { useState } from "preact/hooks";
import { clock, duration, rfc3339 } from "../format";
import { go, span, state } from "../state";
import { Menu } from "../ui/menu";
import { parseRange } from "../url";

const lasts = ["5m", "15m", "1h", "6h", "24h", "7d"];

export function RangePicker() {
  const r = state.value.range;
  const utc = state.value.utc;
  const text =
    "last" in r
      ? `last ${duration(r.last)}`
      : sameDay(r.since, r.until)
        ? `${clock(r.since, utc)} – ${clock(r.until, utc)}`
        : `${day(r.since)} – ${day(r.until)}`;
  const shift = (by: number) => {
    const s = span.value;
    const d = (s.to - s.from) * by;
    go({ range: { since: Math.round(s.from + d), until: Math.round(s.to + d) } });
  };
  return (
    <div class="range">
      <button type="button" class="quiet" aria-label="earlier" title="the range before" onClick={() => shift(-1)}>
        ◂
      </button>
      <Menu label={text} title={`${rfc3339(span.value.from)} to ${rfc3339(span.value.to)}`}>
        {lasts.map((l) => (
          <button
            key={l}
            type="button"
            class={"last" in r && duration(r.last) === l ? "on" : ""}
            onClick={() => go({ range: parseRange(l, null) ?? r })}
          >
            last {l}
          </button>
        ))}
        <Absolute />
      </Menu>
      <button
        type="button"
        class="quiet"
        aria-label="later"
        title="the range after"
        disabled={"last" in r}
        onClick={() => shift(1)}
      >
        ▸
      </button>
    </div>
  );
}

const day = (ms: number) => new Date(ms).toISOString().slice(5, 16).replace("T", " ");
const sameDay = (a: number, b: number) =>
  new Date(a).toISOString().slice(0, 10) === new Date(b).toISOString().slice(0, 10);

function Absolute() {
  const s = span.peek();
  const [since, setSince] = useState(rfc3339(Math.floor(s.from / 1000) * 1000));
  const [until, setUntil] = useState(rfc3339(Math.ceil(s.to / 1000) * 1000));
  const range = parseRange(since, until);
  return (
    <form
      class="absolute"
      onSubmit={(e) => {
        e.preventDefault();
        if (range) go({ range });
      }}
    >
      <label>
        since <input class="mono" value={since} onInput={(e) => setSince(e.currentTarget.value)} />
      </label>
      <label>
        until <input class="mono" value={until} onInput={(e) => setUntil(e.currentTarget.value)} />
      </label>
      <button type="submit" disabled={!range} title={range ? "" : "times as 2006-01-02T15:04:05Z, since before until"}>
        show
      </button>
    </form>
  );
}
