// Rows of pictures that fill the width, each at its own aspect ratio.
//
// Everything follows from sizes that are known before a picture loads, so nothing ever moves; a row
// that is not full yet waits until the next hits have come.

/** A picture's place in its row, in pixels. */
export type Cell = { index: number; left: number; width: number };
export type Row = { top: number; height: number; cells: Cell[] };
export type Frame = { width: number; gap: number; height: number; below: number; line: number };

/** Longest and tallest that a picture is shown; beyond, its edges are cut. */
const WIDEST = 3;
const TALLEST = 0.45;

/**
 * Puts pictures of these aspect ratios into rows: the first row that reaches the frame's height when
 * it is as wide as the frame is closed. `below` is kept free under each picture. The last row is
 * left out unless `isComplete`, and never grows above the frame's height. With the picture `weaker` a
 * row of its own begins, and above it the frame's `line` is kept free.
 */
export function rows(ratios: number[], frame: Frame, isComplete: boolean, weaker = -1): Row[] {
  const made: Row[] = [];
  let top = 0;
  let waiting: number[] = [];
  let sum = 0;
  const close = (height: number) => {
    const first = made.at(-1)?.cells.at(-1)?.index ?? -1;
    let left = 0;
    const cells = waiting.map((ratio, position) => {
      const cell = { index: first + 1 + position, left, width: ratio * height };
      left += cell.width + frame.gap;
      return cell;
    });
    made.push({ top, height, cells });
    top += height + frame.below + frame.gap;
    waiting = [];
    sum = 0;
  };
  for (const [index, ratio] of ratios.entries()) {
    if (index === weaker) {
      if (waiting.length > 0) close(frame.height);
      top += frame.line;
    }
    const shown = Math.min(WIDEST, Math.max(TALLEST, ratio));
    waiting.push(shown);
    sum += shown;
    const height = (frame.width - frame.gap * (waiting.length - 1)) / sum;
    if (height <= frame.height) close(height);
  }
  if (isComplete && waiting.length > 0) close(frame.height);
  return made;
}

/** The height of all rows together. */
export function heightOf(made: Row[], frame: Frame): number {
  const last = made.at(-1);
  return last ? last.top + last.height + frame.below : 0;
}

/** Numbers of the first row that ends below `from`, and of the one after the last that begins above `to`. */
export function within(made: Row[], from: number, to: number): [number, number] {
  const first = lowest(made.length, (at) => bottom(made[at]) > from);
  return [first, Math.max(first, lowest(made.length, (at) => (made[at]?.top ?? 0) >= to))];
}

/** The row that holds the hit of this number. */
export function rowOf(made: Row[], index: number): Row | undefined {
  return made[lowest(made.length, (at) => (made[at]?.cells.at(-1)?.index ?? 0) >= index)];
}

function bottom(row: Row | undefined): number {
  return row ? row.top + row.height : 0;
}

/** The lowest number below `count` from which on `holds`; `count` where it nowhere does. */
function lowest(count: number, holds: (at: number) => boolean): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
