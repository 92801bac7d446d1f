// The address space as a ribbon that wraps like text, from the lowest address up. A region's width grows with the fourth root of
// its size; large free gaps break the ribbon into bands. Only the rows in view are drawn, so ten thousand regions are no more
// work than a hundred.

const RIBBON = { label: 13, block: 26, strip: 5, gap: 8, heading: 26, free: 6, power: 1 / 4, widest: 256 };
RIBBON.row = RIBBON.label + RIBBON.block + RIBBON.strip + RIBBON.gap;
const GIB = 2 ** 30;

/** Bands: stretches between large free gaps. At most forty, so that a scattered address space stays in one piece. */
function bandsOf(regions) {
  const gaps = [];
  for (let i = 1; i < regions.length; i += 1) {
    gaps.push(regions[i].base - (regions[i - 1].base + regions[i - 1].size_bytes));
  }
  const large = gaps.filter((gap) => gap >= GIB).sort((a, b) => b - a);
  const least = large.length > 40 ? large[39] : GIB;
  const bands = [];
  regions.forEach((region, i) => {
    const before = i === 0 ? region.base : gaps[i - 1];
    if (i === 0 || before >= least) bands.push({ first: i, free: before, items: [] });
    else if (before > 0) bands[bands.length - 1].items.push({ free: before, base: region.base - before });
    bands[bands.length - 1].items.push({ region, index: i });
  });
  return bands;
}

class Ribbon {
  /** `on.pick(region)`, `on.select(regions or null)`, `on.zoom(factor)`. */
  constructor(root, on) {
    this.on = on;
    this.regions = [];
    this.zoom = 1;
    this.picked = null;
    this.range = null;
    this.matches = null;
    this.canvas = make("canvas", { role: "img", "aria-label": "map of the address space; the table of regions says the same" });
    this.space = make("div", { class: "ribbon-space" }, this.canvas);
    this.view = make("div", { class: "ribbon-view", tabindex: "0" }, this.space);
    this.tip = make("div", { class: "tip", hidden: true });
    root.append(this.view, this.tip);
    this.context = this.canvas.getContext("2d");
    this.view.addEventListener("scroll", () => this.paintSoon());
    new ResizeObserver(() => this.layout()).observe(this.view);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paintSoon());
    this.listen();
  }

  set(regions) {
    const base = this.picked && this.picked.base;
    const range = this.range && this.range.map((i) => this.regions[i] && this.regions[i].base);
    this.regions = regions;
    this.bands = bandsOf(regions);
    const find = (at) => regions.findIndex((region) => region.base <= at && at < region.base + region.size_bytes);
    this.picked = base === null ? null : regions[find(base)] || null;
    if (range) {
      this.range = range.map(find);
      if (this.range.includes(-1)) this.range = null;
    }
    this.layout();
  }

  width(region) {
    return Math.max(this.least, this.scale * (region.size_bytes / PAGE) ** RIBBON.power) * this.zoom;
  }

  /** Chooses the scale so that all fits a few rows, then puts every region into rows. */
  layout() {
    const across = this.view.clientWidth - 2;
    if (across < 50 || !this.bands) return;
    this.least = 2;
    const roots = this.regions.map((region) => (region.size_bytes / PAGE) ** RIBBON.power);
    const wanted = Math.max(across * Math.max(6, this.bands.length * 1.5), this.regions.length * 2.5);
    let [low, high] = [0.01, RIBBON.widest];
    for (let step = 0; step < 24; step += 1) {
      const middle = (low + high) / 2;
      const sum = roots.reduce((total, root) => total + Math.max(this.least, middle * root), 0);
      if (sum > wanted) high = middle; else low = middle;
    }
    this.scale = low;
    this.rows = [];
    let y = 0;
    for (const band of this.bands) {
      this.rows.push({ y, band, heading: true });
      y += RIBBON.heading;
      let x = 0;
      let row = { y, segments: [] };
      const next = () => {
        this.rows.push(row);
        y += RIBBON.row;
        row = { y, segments: [] };
        x = 0;
      };
      for (const item of band.items) {
        const whole = item.region ? this.width(item.region) : RIBBON.free;
        for (let done = 0; done < whole;) {
          // A sliver at the end of a row is left empty.
          if (across - x < Math.min(whole - done, 12) && x > 0) next();
          const part = Math.min(whole - done, across - x);
          row.segments.push({ item, x, w: part, from: done / whole, to: (done + part) / whole });
          x += part;
          done += part;
        }
      }
      next();
      y += 4;
    }
    this.height = y;
    this.space.style.height = `${Math.max(y, 40)}px`;
    this.paintSoon();
  }

  paintSoon() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.paint();
    });
  }

  paint() {
    if (!this.rows) return;
    const { clientWidth: across, clientHeight: down, scrollTop: top } = this.view;
    const ratio = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(across * ratio) || this.canvas.height !== Math.round(down * ratio)) {
      this.canvas.width = Math.round(across * ratio);
      this.canvas.height = Math.round(down * ratio);
      this.canvas.style.width = `${across}px`;
      this.canvas.style.height = `${down}px`;
    }
    const style = getComputedStyle(this.view);
    this.ink = { text: style.getPropertyValue("--text"), faint: style.getPropertyValue("--faint"), ground: style.getPropertyValue("--panel") };
    const context = this.context;
    context.setTransform(ratio, 0, 0, ratio, 0, -top * ratio);
    context.clearRect(0, top, across, down);
    context.textBaseline = "alphabetic";
    for (const row of this.rows) {
      if (row.y + RIBBON.row < top || row.y > top + down) continue;
      if (row.heading) this.paintHeading(row);
      else for (const segment of row.segments) this.paintSegment(row.y, segment);
    }
  }

  paintHeading({ y, band }) {
    const regions = band.items.filter((item) => item.region).map((item) => item.region);
    const last = regions[regions.length - 1];
    band.sum ||= sumOf(regions);
    const sum = band.sum;
    const c = this.context;
    const narrow = this.view.clientWidth < 600;
    c.font = "600 12px system-ui, sans-serif";
    c.fillStyle = this.ink.text;
    const title = `${hex(regions[0].base)} – ${hex(last.base + last.size_bytes)}`;
    c.fillText(title, 0, y + 17);
    const at = c.measureText(title).width + 12;
    c.font = "12px system-ui, sans-serif";
    c.fillStyle = this.ink.faint;
    const said = narrow ? size(sum.reserved)
      : `${size(sum.reserved)} reserved, ${size(sum.committed)} committed, ${size(sum.pages.resident * PAGE)} resident, ` +
        `${count(regions.length)} ${regions.length === 1 ? "region" : "regions"}` +
        (band.first === 0 ? "" : ` · after ${size(band.free)} of free space`);
    c.fillText(said, at, y + 17);
  }

  isLit(item) {
    if (this.range) return item.index >= this.range[0] && item.index <= this.range[1];
    return !this.matches || this.matches.has(item.region.base);
  }

  paintSegment(y, { item, x, w, from, to }) {
    const c = this.context;
    const top = y + RIBBON.label;
    if (item.free) {
      c.fillStyle = this.ink.faint;
      c.fillRect(x + w / 2 - 0.5, top + RIBBON.block / 2 - 3, 1, 6);
      return;
    }
    const region = item.region;
    const wide = w > 4 ? w - 1 : w;
    c.globalAlpha = this.isLit(item) ? 1 : 0.12;
    this.paintBlock(region, x, top, wide, from, to);
    this.paintPlaces(region, x, top + RIBBON.block, wide, from, to);
    if (wide > 34 && from === 0) this.paintLabel(region, x, y, wide);
    c.globalAlpha = 1;
    if (this.picked && this.picked.base === region.base) {
      c.strokeStyle = this.ink.text;
      c.lineWidth = 2;
      c.strokeRect(x, top - 1, Math.max(wide, 3), RIBBON.block + RIBBON.strip + 2);
    }
  }

  /** Hatched: reserved. Pale, as high as the share that is committed. Full colour, as high as the share that is resident. */
  paintBlock(region, x, top, w, from, to) {
    const c = this.context;
    const colour = colourOf(region.kind);
    const lit = c.globalAlpha;
    const high = RIBBON.block;
    if (region.committed_bytes < region.size_bytes) {
      c.save();
      c.beginPath();
      c.rect(x, top, w, high);
      c.clip();
      c.strokeStyle = colour;
      c.globalAlpha = lit * 0.55;
      c.lineWidth = 1;
      c.beginPath();
      const first = Math.floor((x - high) / 6) * 6;
      for (let at = first; at < x + w; at += 6) {
        c.moveTo(at, top + high);
        c.lineTo(at + high, top);
      }
      c.stroke();
      c.restore();
      c.globalAlpha = lit * 0.8;
      c.strokeStyle = colour;
      c.lineWidth = 1;
      if (w > 3) c.strokeRect(x + 0.5, top + 0.5, w - 1, high - 1);
    }
    if (region.committed_bytes > 0) {
      const share = Math.max(region.committed_bytes / region.size_bytes, 0.08);
      c.fillStyle = colour;
      c.globalAlpha = lit * 0.32;
      c.fillRect(x, top + high * (1 - share), w, high * share);
    }
    c.globalAlpha = lit;
    c.fillStyle = colour;
    const cells = region.heat.length;
    const ratio = devicePixelRatio || 1;
    const snap = (at) => Math.round(at * ratio) / ratio;
    for (let cell = Math.floor(from * cells); cell < Math.ceil(to * cells); cell += 1) {
      if (region.heat[cell] === 0) continue;
      const a = Math.max(cell / cells, from);
      const b = Math.min((cell + 1) / cells, to);
      // Whole pixels, or cells next to each other would show a seam.
      const left = snap(x + ((a - from) / (to - from)) * w);
      const right = snap(x + ((b - from) / (to - from)) * w);
      const tall = Math.max((region.heat[cell] / 255) * high, 1.5);
      c.fillRect(left, top + high - tall, Math.max(right - left, 1 / (devicePixelRatio || 1)), tall);
    }
  }

  /** Under the block: where the committed pages are, side by side. */
  paintPlaces(region, x, top, w, from, to) {
    const c = this.context;
    let total = 0;
    for (const place of PLACES) total += region.pages[place.field];
    if (total === 0) return;
    let at = 0;
    for (const place of PLACES) {
      const share = region.pages[place.field] / total;
      const a = Math.max(at, from);
      const b = Math.min(at + share, to);
      at += share;
      if (b <= a) continue;
      c.fillStyle = place.colour;
      c.fillRect(x + ((a - from) / (to - from)) * w, top + 1, ((b - a) / (to - from)) * w, RIBBON.strip - 1);
    }
  }

  paintLabel(region, x, y, w) {
    const c = this.context;
    c.font = "11px system-ui, sans-serif";
    c.fillStyle = this.ink.text;
    const name = region.name.split("/").pop() || region.engine || region.kind;
    const long = `${name} ${size(region.size_bytes)}`;
    for (const said of [long, region.name ? name : "", size(region.size_bytes)].filter(Boolean)) {
      if (c.measureText(said).width < w - 4) return c.fillText(said, x, y + 10);
    }
  }

  segmentAt(event) {
    const box = this.view.getBoundingClientRect();
    const x = event.clientX - box.left;
    const y = event.clientY - box.top + this.view.scrollTop;
    const row = this.rows && this.rows.find((row) => !row.heading && y >= row.y && y < row.y + RIBBON.row);
    return row && row.segments.find((segment) => x >= segment.x && x < segment.x + segment.w);
  }

  listen() {
    let from = null;
    this.view.addEventListener("pointerdown", (event) => {
      const segment = this.segmentAt(event);
      from = segment && segment.item.region && event.button === 0 ? { index: segment.item.index, x: event.clientX, y: event.clientY } : null;
      if (event.shiftKey && from && this.picked) {
        this.select(this.regions.indexOf(this.picked), from.index);
        from = null;
      }
    });
    this.view.addEventListener("pointermove", (event) => {
      const segment = this.segmentAt(event);
      this.showTip(event, segment);
      if (!from || event.pointerType === "touch" || event.buttons !== 1) return;
      if (Math.abs(event.clientX - from.x) + Math.abs(event.clientY - from.y) < 6) return;
      if (segment && segment.item.region) this.select(from.index, segment.item.index);
    });
    this.view.addEventListener("pointerup", (event) => {
      const segment = this.segmentAt(event);
      if (from && segment && segment.item.index === from.index && !event.shiftKey &&
        Math.abs(event.clientX - from.x) + Math.abs(event.clientY - from.y) < 6) {
        this.select(null);
        this.pick(segment.item.region);
      }
      from = null;
    });
    this.view.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.setZoom(this.zoom * (event.deltaY < 0 ? 1.25 : 0.8), event);
    }, { passive: false });
    this.view.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step && this.regions.length) {
        event.preventDefault();
        const at = this.regions.indexOf(this.picked) + step;
        this.pick(this.regions[Math.max(0, Math.min(this.regions.length - 1, at))], true);
      } else if (event.key === "+" || event.key === "=") this.setZoom(this.zoom * 1.5);
      else if (event.key === "-") this.setZoom(this.zoom / 1.5);
      else if (event.key === "0") this.setZoom(1);
      else if (event.key === "Escape") this.select(null);
    });
  }

  showTip(event, segment) {
    const item = segment && segment.item;
    if (!item || event.pointerType === "touch") {
      this.tip.hidden = true;
      return;
    }
    const region = item.region;
    this.tip.textContent = item.free ? `free\n${hex(item.base)}\n${size(item.free)}`
      : [region.name || region.kind, `${hex(region.base)} · ${size(region.size_bytes)}`,
        `${region.kind}, ${region.usage}${region.protection ? `, ${protection(region.protection)}` : ""}`,
        `${size(region.committed_bytes)} committed, ${size(region.pages.resident * PAGE)} resident`].join("\n");
    this.tip.hidden = false;
    const { offsetWidth: w, offsetHeight: h } = this.tip;
    this.tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - w - 8))}px`;
    this.tip.style.top = `${event.clientY + 18 + h > innerHeight ? event.clientY - h - 10 : event.clientY + 18}px`;
  }

  pick(region, scroll = false) {
    this.picked = region || null;
    if (scroll && region) this.show(region);
    this.paintSoon();
    this.on.pick(region);
  }

  /** Scrolls a region into view. */
  show(region) {
    const row = this.rows && this.rows.find((row) => !row.heading && row.segments.some((segment) => segment.item.region === region));
    if (row && (row.y < this.view.scrollTop || row.y + RIBBON.row > this.view.scrollTop + this.view.clientHeight)) {
      this.view.scrollTop = row.y - this.view.clientHeight / 3;
    }
  }

  select(a, b = a) {
    this.range = a === null ? null : [Math.min(a, b), Math.max(a, b)];
    this.paintSoon();
    this.on.select(this.range && this.regions.slice(this.range[0], this.range[1] + 1));
  }

  highlight(regions) {
    this.matches = regions && new Set(regions.map((region) => region.base));
    this.paintSoon();
  }

  /** What is under the pointer, or in the middle, stays where it is. */
  setZoom(factor, event) {
    const box = this.view.getBoundingClientRect();
    const held = event ? event.clientY - box.top : box.height / 2;
    const segment = event ? this.segmentAt(event) : null;
    const region = (segment && segment.item.region) || this.picked;
    this.zoom = Math.max(1, Math.min(64, factor));
    this.layout();
    const row = region && this.rows.find((row) => !row.heading && row.segments.some((other) => other.item.region === region));
    if (row) this.view.scrollTop = row.y - held + RIBBON.row / 2;
    this.on.zoom(this.zoom);
  }
}
