// Sizes that code has to know, in the reader's text size.

/** CSS pixels of a size that is told for text of the usual size. */
export function scaled(px: number): number {
  return (px * (Number.parseFloat(getComputedStyle(document.documentElement).fontSize) || 10)) / 10;
}
