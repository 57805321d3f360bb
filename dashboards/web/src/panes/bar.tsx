// The bar: the query, the range, what can be seen, whether the books balance.

import { link, signedIn, signOut, skew } from "../api";
import { clocksOff, clockWords, lossOf, seenShare } from "../books";
import { coverage, ledger } from "../data";
import { ago, count, plain, visible } from "../format";
import { density, go, paused, setDensity, setTheme, state, theme } from "../state";
import { second } from "../ui/age";
import { Menu } from "../ui/menu";
import { palette } from "./palette";
import { QueryBar } from "./querybar";
import { RangePicker } from "./range";

export function Bar({ inert }: { inert: boolean }) {
  return (
    <header class="bar" inert={inert}>
      <h1 class="sr">Weir: who talks to whom, and what fails</h1>
      <button
        type="button"
        class="wordmark"
        title="everything, the last 15 minutes"
        onClick={() =>
          go({
            q: "",
            select: null,
            sheet: "",
            group: "",
            sort: "",
            compare: false,
            level: "",
            live: false,
            range: { last: 900_000 },
          })
        }
      >
        weir
      </button>
      <QueryBar />
      <RangePicker />
      {paused.value && (
        <button
          type="button"
          class="pill warn"
          title="nothing is asked for again: go on (p)"
          onClick={() => (paused.value = false)}
        >
          held still
        </button>
      )}
      <CoveragePill />
      <LedgerPill />
      <Menu label="⋯" title="more" class="more">
        <button type="button" onClick={() => (palette.value = "")}>
          Go to … <kbd>Ctrl K</kbd>
        </button>
        <button type="button" onClick={() => go({ sheet: "help" })}>
          Keys and language <kbd>?</kbd>
        </button>
        <hr />
        <fieldset>
          <legend class="muted">Theme</legend>
          {(["auto", "light", "dark"] as const).map((t) => (
            <label key={t} class="check">
              <input type="radio" name="theme" checked={theme.value === t} onChange={() => setTheme(t)} />{" "}
              {t === "auto" ? "as the system" : t}
            </label>
          ))}
        </fieldset>
        <label class="check">
          <input
            type="checkbox"
            checked={density.value === "compact"}
            onChange={() => setDensity(density.value === "compact" ? "normal" : "compact")}
          />{" "}
          compact rows
        </label>
        <label class="check">
          <input type="checkbox" checked={state.value.utc} onChange={() => go({ utc: !state.value.utc }, true)} /> times
          in UTC
        </label>
        {signedIn() && (
          <button type="button" onClick={signOut}>
            Sign out
          </button>
        )}
      </Menu>
    </header>
  );
}

function CoveragePill() {
  const h = coverage.value;
  const c = h.value;
  if (h.failure?.status === 403) return null;
  const s = c ? seenShare(c) : null;
  const silent = c?.tables?.filter((t) => t.silent).length ?? 0;
  const off = clocksOff(c);
  const bad = s !== null && (s.seen < s.all || silent > 0);
  return (
    <button
      type="button"
      class={`pill ${bad || off.length > 0 ? "warn" : ""}`}
      title={`${c?.summary ?? "what can be seen is not known yet"}\nwhich traffic can be seen at all, node by node`}
      onClick={() => go({ sheet: state.value.sheet === "coverage" ? "" : "coverage" })}
    >
      <span class="muted">sees</span>{" "}
      {s === null || !c
        ? "–"
        : c.nodes === 0
          ? "no node"
          : bad
            ? `${Math.floor((100 * s.seen) / Math.max(1, s.all))} %`
            : `${c.nodes} of ${c.nodes} nodes`}
      {silent > 0 && <span class="warn-text"> {silent} silent</span>}
      {off.length > 0 && (
        <span class="warn-text" title={off.map((t) => `${visible(t.node)}: ${clockWords(t)}`).join("\n")}>
          {" "}
          {off.length === 1
            ? `clock of ${visible(off[0]?.node ?? "")} ${clockWords(off[0])}`
            : `${off.length} clocks off`}
        </span>
      )}
    </button>
  );
}

function LedgerPill() {
  const h = ledger.value;
  const b = h.value;
  if (h.failure?.status === 403) return null;
  const l = b ? lossOf(b) : null;
  return (
    <button
      type="button"
      class={`pill ${l && l.lost > 0 ? "warn" : ""}`}
      title="the books: at every hop in = out + held + lost"
      onClick={() => go({ sheet: state.value.sheet === "ledger" ? "" : "ledger" })}
    >
      {l === null ? (
        <span class="muted">books –</span>
      ) : l.open !== 0 ? (
        `books off by ${plain(count(Math.abs(l.open)))}`
      ) : l.lost > 0 ? (
        `${plain(count(l.lost))} lost`
      ) : (
        "books balance"
      )}
    </button>
  );
}

/** What stands above everything while something is wrong with the page itself. */
export function Notices() {
  const l = link.value;
  const out = [];
  if (l.state === "lost") out.push(<Lost key="lost" since={l.since} next={l.next} />);
  if (Math.abs(skew.value) > 5000) {
    out.push(
      <p key="skew" class="notice">
        This computer's clock is {ago(Math.abs(skew.value))} {skew.value > 0 ? "behind" : "ahead of"} the aggregator's:
        times are the aggregator's.
      </p>,
    );
  }
  const c = coverage.value.value;
  const off = clocksOff(c);
  if (off.length > 0) {
    out.push(
      <p key="nodes" class="notice">
        The clock of{" "}
        {off
          .slice(0, 3)
          .map((t) => `${visible(t.node)} is ${clockWords(t)}`)
          .join(", of ")}
        {off.length > 3 ? `, of ${off.length - 3} more nodes too` : ""}: the times of what such a node tells are its
        own. <code>weirctl check node {visible(off[0]?.node ?? "")}</code>
      </p>,
    );
  }
  return (
    <div class="notices" role="status" aria-label="Notices">
      {out}
    </div>
  );
}

function Lost({ since, next }: { since: number; next: number }) {
  const now = second.value;
  return (
    <p class="notice lost">
      <span class="sr" role="alert">
        The aggregator does not answer. This is what was known before; it is asked again until it does.
      </span>
      {/* The seconds that pass are not read out. */}
      <span aria-hidden="true">
        The aggregator does not answer since {ago(now - since)}. This is what was known before; asked again in{" "}
        {Math.max(0, Math.ceil((next - now) / 1000))} s.
      </span>
    </p>
  );
}
