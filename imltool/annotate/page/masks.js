// Make canvases from the server's masks (lengths of runs down the columns, starting with zeros).

// Canvases of the inside and its rim, no larger than needed, and the position of their corner in the mask; {} for an
// empty mask.
export function paint({ size: [height, width], runs }, colour) {
  const inside = new Uint8Array(width * height);
  let [left, right, top, bottom] = [width, -1, height, -1];
  let place = 0;
  runs.forEach((length, index) => {
    if (index % 2 && length) {
      const last = place + length - 1;
      const [from, to] = [Math.floor(place / height), Math.floor(last / height)];
      inside.fill(1, place, last + 1);
      left = Math.min(left, from);
      right = Math.max(right, to);
      top = Math.min(top, from === to ? place % height : 0);
      bottom = Math.max(bottom, from === to ? last % height : height - 1);
    }
    place += length;
  });
  if (right < 0) return {};
  const [wide, tall] = [right - left + 1, bottom - top + 1];
  const fill = new ImageData(wide, tall), edge = new ImageData(wide, tall);
  const fills = new Uint32Array(fill.data.buffer), edges = new Uint32Array(edge.data.buffer);
  const [pixel] = new Uint32Array(new Uint8Array([...colour, 255]).buffer); // in this machine's byte order
  for (let x = left; x <= right; x++) {
    for (let y = top, at = x * height + top; y <= bottom; y++, at++) {
      if (!inside[at]) continue;
      const target = (y - top) * wide + x - left;
      fills[target] = pixel;
      const rim = x === 0 || y === 0 || x === width - 1 || y === height - 1 ||
        !inside[at - height] || !inside[at + height] || !inside[at - 1] || !inside[at + 1];
      if (rim) edges[target] = pixel;
    }
  }
  return { x: left, y: top, fill: canvas(fill), edge: canvas(edge) };
}

function canvas(pixels) {
  const made = new OffscreenCanvas(pixels.width, pixels.height);
  made.getContext("2d").putImageData(pixels, 0, 0);
  return made;
}
