// Masks as the server sends them (lengths of runs down the columns, the first of zeros) made into canvases to draw.

export function paint({ size: [height, width], runs }, colour) {
  const inside = new Uint8Array(width * height);
  let place = 0;
  runs.forEach((length, index) => {
    if (index % 2) inside.fill(1, place, place + length);
    place += length;
  });
  const fill = new ImageData(width, height), edge = new ImageData(width, height);
  const fills = new Uint32Array(fill.data.buffer), edges = new Uint32Array(edge.data.buffer);
  const [pixel] = new Uint32Array(new Uint8Array([...colour, 255]).buffer); // in this machine's order of bytes
  for (let x = 0, at = 0; x < width; x++) {
    for (let y = 0; y < height; y++, at++) {
      if (!inside[at]) continue;
      const target = y * width + x;
      fills[target] = pixel;
      const rim = x === 0 || y === 0 || x === width - 1 || y === height - 1 ||
        !inside[at - height] || !inside[at + height] || !inside[at - 1] || !inside[at + 1];
      if (rim) edges[target] = pixel;
    }
  }
  return { fill: canvas(fill), edge: canvas(edge) };
}

function canvas(pixels) {
  const made = new OffscreenCanvas(pixels.width, pixels.height);
  made.getContext("2d").putImageData(pixels, 0, 0);
  return made;
}
