/** Boxes and points of the stage; no drawing. A box is {x, y, width, height}, a point {x, y}. */

/** What can be pulled at a box: which edges go along, -1 for left and top, 1 for right and bottom. */
export const HANDLES = [
  { name: "nw", x: -1, y: -1 },
  { name: "n", x: 0, y: -1 },
  { name: "ne", x: 1, y: -1 },
  { name: "e", x: 1, y: 0 },
  { name: "se", x: 1, y: 1 },
  { name: "s", x: 0, y: 1 },
  { name: "sw", x: -1, y: 1 },
  { name: "w", x: -1, y: 0 },
];

/**
 * Where a canvas lies in a view that shows all of it: pixels of the view per pixel of the canvas, and its corner.
 * @param {{width: number, height: number}} canvas
 * @param {{width: number, height: number}} view
 * @param {number} margin in pixels of the view, on each side
 */
export function fit(canvas, view, margin) {
  const room = { width: Math.max(view.width - 2 * margin, 1), height: Math.max(view.height - 2 * margin, 1) };
  const scale = Math.min(room.width / canvas.width, room.height / canvas.height);
  return { scale, x: (view.width - canvas.width * scale) / 2, y: (view.height - canvas.height * scale) / 2 };
}

/**
 * The same view, larger by a factor; what lies under the point stays there.
 * @param {{scale: number, x: number, y: number}} view
 */
export function zoomed(view, factor, point) {
  return {
    scale: view.scale * factor,
    x: point.x - (point.x - view.x) * factor,
    y: point.y - (point.y - view.y) * factor,
  };
}

export function contains(box, point) {
  return point.x >= box.x && point.y >= box.y && point.x < box.x + box.width && point.y < box.y + box.height;
}

export function meets(a, b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

/** The box around two points, wherever they lie; of whole pixels, and of one at least. */
export function between(a, b) {
  const [left, right] = [Math.floor(Math.min(a.x, b.x)), Math.ceil(Math.max(a.x, b.x))];
  const [top, bottom] = [Math.floor(Math.min(a.y, b.y)), Math.ceil(Math.max(a.y, b.y))];
  return { x: left, y: top, width: Math.max(right - left, 1), height: Math.max(bottom - top, 1) };
}

/** The box around boxes; null where there are none. */
export function around(boxes) {
  if (!boxes.length) return null;
  const left = Math.min(...boxes.map((box) => box.x));
  const top = Math.min(...boxes.map((box) => box.y));
  const right = Math.max(...boxes.map((box) => box.x + box.width));
  const bottom = Math.max(...boxes.map((box) => box.y + box.height));
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/** The middle of a handle of a box. */
export function placeOf(handle, box) {
  return { x: box.x + (box.width * (handle.x + 1)) / 2, y: box.y + (box.height * (handle.y + 1)) / 2 };
}

/**
 * The handle within reach of a point, corners first; null where there is none. A box too small for the handles in the
 * middle of its sides has only corners, and the one at the lower right wins.
 * @param {number} reach in the units of the box
 */
export function handleAt(box, point, reach) {
  const usable = HANDLES.filter(
    (handle) => (handle.x || box.width > 4 * reach) && (handle.y || box.height > 4 * reach),
  );
  const order = (handle) => (handle.x && handle.y ? handle.x + handle.y : -3);
  return (
    usable
      .filter((handle) => {
        const place = placeOf(handle, box);
        return Math.abs(place.x - point.x) <= reach && Math.abs(place.y - point.y) <= reach;
      })
      .sort((a, b) => order(b) - order(a))[0] ?? null
  );
}

/**
 * A box whose handle was pulled so far, in whole pixels.
 * @param {{x: number, y: number}} handle
 * @param {{proportional?: boolean, centred?: boolean}} [how] keeps its proportions; stays around its middle
 */
export function resized(box, handle, dx, dy, { proportional = false, centred = false } = {}) {
  const factor = centred ? 2 : 1;
  let width = box.width + handle.x * dx * factor;
  let height = box.height + handle.y * dy * factor;
  if (proportional) {
    const scales = [handle.x ? width / box.width : 0, handle.y ? height / box.height : 0];
    const scale = Math.max(...scales, 1 / Math.min(box.width, box.height));
    [width, height] = [box.width * scale, box.height * scale];
  }
  [width, height] = [Math.max(1, Math.round(width)), Math.max(1, Math.round(height))];
  const place = (from, before, after, side) => {
    if (centred || (side === 0 && before !== after)) return Math.round(from + (before - after) / 2);
    return side < 0 ? from + before - after : from;
  };
  return { x: place(box.x, box.width, width, handle.x), y: place(box.y, box.height, height, handle.y), width, height };
}

/**
 * The nearest of some lines to any of some edges, within a distance.
 * @param {number[]} edges
 * @param {Iterable<number>} lines
 * @returns {{shift: number, line: number} | null} how far the edges go to lie on the line
 */
export function nearest(edges, lines, distance) {
  let best = null;
  for (const line of lines) {
    for (const edge of edges) {
      const shift = line - edge;
      if (Math.abs(shift) <= distance && (best === null || Math.abs(shift) < Math.abs(best.shift))) {
        best = { shift, line };
      }
    }
  }
  return best;
}

/**
 * Where a picture of a size lies that fills a box; it reaches beyond the box where it covers it.
 * @param {"stretch" | "contain" | "cover"} how
 */
export function fitted(size, box, how) {
  if (how === "stretch") return box;
  const scale = (how === "contain" ? Math.min : Math.max)(box.width / size.width, box.height / size.height);
  const [width, height] = [Math.max(1, Math.round(size.width * scale)), Math.max(1, Math.round(size.height * scale))];
  return {
    x: box.x + Math.floor((box.width - width) / 2),
    y: box.y + Math.floor((box.height - height) / 2),
    width,
    height,
  };
}

/**
 * The box that new media takes: its own size around a point if it fits into the frame, else all of the frame.
 * @param {{width: number, height: number}} size of the media
 * @param {{width: number, height: number}} canvas
 * @param {{x: number, y: number} | null} point the middle of the canvas, if null
 */
export function firstBox(size, canvas, point) {
  if (size.width > canvas.width || size.height > canvas.height) {
    return { x: 0, y: 0, width: canvas.width, height: canvas.height };
  }
  const clamp = (value, most) => Math.min(Math.max(value, 0), most);
  const { x, y } = point ?? { x: canvas.width / 2, y: canvas.height / 2 };
  return {
    x: clamp(Math.round(x - size.width / 2), canvas.width - size.width),
    y: clamp(Math.round(y - size.height / 2), canvas.height - size.height),
    width: size.width,
    height: size.height,
  };
}

/**
 * Runs of cells along the rows of a grid.
 * @param {(row: number, column: number) => boolean} wanted
 * @returns {{row: number, column: number, length: number}[]}
 */
export function runs(rows, columns, wanted) {
  const found = [];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      if (!wanted(row, column)) continue;
      const first = column;
      while (column + 1 < columns && wanted(row, column + 1)) column++;
      found.push({ row, column: first, length: column - first + 1 });
    }
  }
  return found;
}
