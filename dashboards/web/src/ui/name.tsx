// Names come from the cluster and may be anything: they are shown as text that stays where it is.

import { visible } from "../format";
import { filter } from "../state";

/** A name, cut in the middle of the page's width and whole on hover. */
export function Name({ of, class: cls }: { of: string; class?: string }) {
  const text = visible(of);
  return (
    <bdi class={`name ${cls ?? ""}`} title={text}>
      {text}
    </bdi>
  );
}

/** A value that filters: a click by it, with Alt against it. */
export function Value({
  of,
  term,
  class: cls,
  title,
  tab,
}: {
  of: string;
  term: string | null;
  /** -1 within the rows of a grid, whose cursor does the same. */
  tab?: number;
  class?: string;
  title?: string;
}) {
  if (term === null) return <Name of={of} {...(cls ? { class: cls } : {})} />;
  return (
    <button
      type="button"
      tabIndex={tab}
      class={`value ${cls ?? ""}`}
      title={title ?? `${visible(of)}\nclick: ${visible(term)}\nAlt-click: not`}
      onClick={(e) => {
        e.stopPropagation();
        filter(term, e.altKey);
      }}
    >
      <bdi>{visible(of)}</bdi>
    </button>
  );
}
