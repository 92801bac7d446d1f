// Stacked areas over time: where the data is, against the RAM budget. Drawn by uPlot; stacking is our own, as it knows none.

const colourOfPlace = (field) => PLACES.find((place) => place.field === field).colour;
const LAYERS = [
  ["working_set", "working set", colourOfPlace("resident")],
  ...["modified", "standby", "compressed", "page_file", "swapped"].map((field) => [field, field.replace("_", " "), colourOfPlace(field)]),
];

class TimeLine {
  /** `on.seek(index)`, where a click on the line chooses a moment. */
  constructor(root, on = {}) {
    this.root = root;
    this.on = on;
    this.moments = [];
    new ResizeObserver(() => this.resize()).observe(root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(true));
  }

  set(moments) {
    this.moments = moments;
    this.draw(false);
  }

  /** Highest layer first, so that lower ones are painted over it. */
  stacked() {
    const layers = LAYERS.filter(([field], i) => i === 0 || this.moments.some((moment) => moment[field] > 0));
    let below = this.moments.map(() => 0);
    const stacks = layers.map(([field]) => {
      below = this.moments.map((moment, i) => below[i] + moment[field]);
      return below;
    });
    const budget = this.moments.map((moment) => moment.budget || null);
    return { layers: layers.slice().reverse(), data: [this.moments.map((moment) => moment.at), ...stacks.reverse(), budget] };
  }

  draw(anew) {
    if (this.moments.length === 0 || this.root.clientWidth < 50) return;
    const { layers, data } = this.stacked();
    const shape = layers.map(([field]) => field).join();
    if (this.plot && !anew && this.shape === shape) {
      this.plot.setData(data);
      return;
    }
    this.shape = shape;
    if (this.plot) this.plot.destroy();
    const style = getComputedStyle(this.root);
    const text = style.getPropertyValue("--text").trim();
    const line = style.getPropertyValue("--line").trim();
    const own = (index, layer) => (_, __, ___, i) => (i === null || i === undefined || !this.moments[i] ? "–" : size(this.moments[i][layer[0]]));
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui, sans-serif" };
    this.plot = new uPlot({
      width: this.root.clientWidth,
      height: this.height(),
      cursor: { drag: { x: true, y: false } },
      scales: { y: { range: (_, __, high) => [0, Math.max(high * 1.06, 1)] } },
      axes: [
        { ...axis, space: 70, values: (_, splits) => splits.map((at) => clock(at * 1000)) },
        { ...axis, size: 74, splits: (_, __, ___, high) => sizeSplits(high), values: (_, splits) => splits.map((bytes) => (bytes ? size(bytes) : "0")) },
      ],
      series: [
        { label: "time", value: (_, at) => (at ? clock(at * 1000) : "–") },
        ...layers.map((layer, index) => ({ label: layer[1], fill: layer[2], stroke: layer[2], width: 1, points: { show: false }, value: own(index, layer) })),
        { label: "RAM budget", stroke: text, width: 2, dash: [6, 4], points: { show: false }, value: (_, bytes) => (bytes ? size(bytes) : "–") },
      ],
      hooks: {
        ready: [(plot) => plot.over.addEventListener("click", () => {
          if (this.on.seek && plot.cursor.idx !== null) this.on.seek(plot.cursor.idx);
        })],
        draw: [(plot) => this.drawMark(plot, text)],
      },
    }, data, this.root);
  }

  /** Where the player stands. */
  drawMark(plot, colour) {
    if (this.mark === undefined || !this.moments[this.mark]) return;
    const x = plot.valToPos(this.moments[this.mark].at, "x", true);
    const c = plot.ctx;
    c.save();
    c.strokeStyle = colour;
    c.lineWidth = 2;
    c.setLineDash([]);
    c.beginPath();
    c.moveTo(x, plot.bbox.top);
    c.lineTo(x, plot.bbox.top + plot.bbox.height);
    c.stroke();
    c.restore();
  }

  markAt(index) {
    this.mark = index;
    if (this.plot) this.plot.redraw(false, false);
  }

  height() {
    return this.root.clientWidth < 500 ? 190 : 240;
  }

  resize() {
    if (!this.plot) this.draw(false);
    else if (this.root.clientWidth >= 50 && this.plot.width !== this.root.clientWidth) this.plot.setSize({ width: this.root.clientWidth, height: this.height() });
  }
}

/** Round numbers of KiB, MiB, GiB: four or five of them. */
function sizeSplits(high) {
  let step = 4096;
  while (high / step > 5) step *= 2;
  const splits = [];
  for (let at = 0; at <= high; at += step) splits.push(at);
  return splits;
}
