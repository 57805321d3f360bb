// Where the focus goes when something opens, and back to where it was when that closes.

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

/** What has the focus; null where nothing has. */
function focused(): HTMLElement | null {
  const at = document.activeElement;
  return at instanceof HTMLElement && at !== document.body ? at : null;
}

/** The rows take the focus that nothing else has, so that what the keys of the page do there is also read out. */
export function focusRows(): void {
  document.querySelector<HTMLElement>(".grid")?.focus({ preventScroll: true });
}

/**
 * Moves the focus into `box` when `what` becomes something, and back to where it was when it becomes null.
 * What the page opens with, by its address, takes no focus.
 */
export function useFocus(what: string | null, box: RefObject<HTMLElement | null>): void {
  const before = useRef<HTMLElement | null>(null);
  const was = useRef<string | null>(null);
  useLayoutEffect(() => {
    const opened = was.current === null && what !== null;
    const closed = was.current !== null && what === null;
    was.current = what;
    if (opened) before.current = focused();
    const at = focused();
    if (what !== null) {
      const lost = !opened && at === null; // what had it was a part of what stood there before
      if ((opened || lost) && navigator.userActivation?.hasBeenActive) box.current?.focus({ preventScroll: true });
    } else if (closed && at === null) {
      // Where somebody went elsewhere meanwhile, they stay there.
      if (before.current?.isConnected) before.current.focus({ preventScroll: true });
      else focusRows();
    }
  }, [what]);
}
