// The table of regions: kinds, in each its allocations, in each its regions. Only what is open is in the page.

const ROWS_AT_ONCE = 200;

class RegionTable {
  /** `on.pick(region)`. */
  constructor(root, on) {
    this.on = on;
    this.open = new Set();
    this.shown = new Map();
    this.matches = null;
    this.picked = null;
    this.rows = new Map();
    this.body = make("tbody");
    const head = ["Region", "Size", "Committed", "Resident", "Pages", "Heat"].map((text) => make("th", { scope: "col" }, text));
    root.append(make("table", { class: "regions" }, make("thead", {}, make("tr", {}, ...head)), this.body));
  }

  set(regions) {
    this.regions = regions;
    this.draw();
  }

  filter(regions) {
    this.matches = regions;
    this.draw();
  }

  /** Opens what a region lies in and marks it. */
  reveal(region, scroll) {
    this.picked = region ? region.base : null;
    if (region && scroll) {
      this.open.add(region.kind);
      this.open.add(`${region.kind} ${region.allocation_base}`);
    }
    this.draw();
    const row = region && this.rows.get(`region ${region.base}`);
    if (row && scroll) row.scrollIntoView({ block: "nearest" });
  }

  /** Of a few found ones all are shown at once. */
  isOpen(key) {
    return this.open.has(key) || (this.matches !== null && this.matches.length <= 20);
  }

  draw() {
    if (!this.regions) return;
    const list = this.matches || this.regions;
    const wanted = [];
    const kinds = Map.groupBy ? Map.groupBy(list, (region) => region.kind) : groupBy(list, (region) => region.kind);
    for (const kind of KINDS.keys()) {
      const regions = kinds.get(kind);
      if (!regions) continue;
      wanted.push(this.groupRow(kind, 0, kind, regions, colourOf(kind)));
      if (!this.isOpen(kind)) continue;
      const allocations = [...groupBy(regions, (region) => region.allocation_base)];
      this.some(kind, allocations, wanted, ([base, parts]) => {
        if (parts.length === 1) return wanted.push(this.regionRow(parts[0], 1));
        const key = `${kind} ${base}`;
        const named = parts.find((region) => region.name);
        wanted.push(this.groupRow(key, 1, `${hex(base)}  ${named ? named.name : parts[0].engine}`, parts));
        if (this.isOpen(key)) this.some(key, parts, wanted, (region) => wanted.push(this.regionRow(region, 2)));
      });
    }
    const keys = new Set(wanted.map((row) => row.dataset.key));
    for (const [key, row] of this.rows) {
      if (!keys.has(key)) {
        row.remove();
        this.rows.delete(key);
      }
    }
    let after = null;
    for (const row of wanted) {
      const place = after ? after.nextSibling : this.body.firstChild;
      if (place !== row) this.body.insertBefore(row, place);
      after = row;
    }
  }

  /** The first ones of a long list, and a row that shows more. */
  some(key, list, wanted, add) {
    const most = this.shown.get(key) || ROWS_AT_ONCE;
    list.slice(0, most).forEach(add);
    if (list.length > most) {
      const row = this.row(`more ${key}`, () => {
        this.shown.set(key, (this.shown.get(key) || ROWS_AT_ONCE) + ROWS_AT_ONCE);
        this.draw();
      });
      row.className = "more";
      put(row.cells[0].lastChild, `${count(list.length - most)} more: show ${count(Math.min(ROWS_AT_ONCE, list.length - most))}`);
      wanted.push(row);
    }
  }

  row(key, act) {
    let row = this.rows.get(key);
    if (!row) {
      row = make("tr", { tabindex: "0", "data-key": key });
      row.append(make("th", { scope: "row" }, make("span", { class: "mark" }), make("span")));
      for (const name of ["size", "committed", "resident"]) row.append(make("td", { class: `number ${name}` }));
      row.append(make("td", { class: "places" }, make("div", { class: "bar" })), make("td", { class: "heat" }, make("div", { class: "strip" })));
      row.addEventListener("click", act);
      row.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        act();
      });
      this.rows.set(key, row);
    }
    return row;
  }

  groupRow(key, depth, name, regions, colour) {
    const row = this.row(`group ${key}`, () => {
      if (!this.open.delete(key)) this.open.add(key);
      this.draw();
    });
    const open = this.isOpen(key);
    row.className = `group depth${depth}`;
    row.setAttribute("aria-expanded", open);
    row.cells[0].firstChild.style.background = colour || "transparent";
    put(row.cells[0].lastChild, `${open ? "▾" : "▸"} ${name} (${count(regions.length)})`);
    row.title = name;
    const sum = sumOf(regions);
    this.figures(row, sum.reserved, sum.committed, sum.pages);
    return row;
  }

  regionRow(region, depth) {
    const row = this.row(`region ${region.base}`, () => this.on.pick(this.regions.find((now) => now.base === region.base)));
    row.className = `region depth${depth}${this.picked === region.base ? " picked" : ""}`;
    row.dataset.base = hex(region.base);
    row.cells[0].firstChild.style.background = colourOf(region.kind);
    const what = region.usage === "reserved" ? "reserved" : protection(region.protection) || region.usage;
    put(row.cells[0].lastChild, `${hex(region.base)} ${what}${region.name ? ` ${region.name}` : ""}`);
    row.title = `${hex(region.base)} ${region.name}`;
    this.figures(row, region.size_bytes, region.committed_bytes, region.pages);
    const heat = row.cells[5].firstChild;
    const said = region.heat.join();
    if (heat.dataset.said !== said) {
      heat.dataset.said = said;
      heat.replaceChildren(...region.heat.map((value) => make("i", { style: `height:${value ? Math.max(6, (100 * value) / 255) : 0}%` })));
    }
    return row;
  }

  figures(row, reserved, committed, pages) {
    put(row.cells[1], size(reserved));
    put(row.cells[2], committed ? size(committed) : "–");
    put(row.cells[3], pages.resident ? size(pages.resident * PAGE) : "–");
    fillBar(row.cells[4].firstChild, pages);
  }
}

function groupBy(list, key) {
  const groups = new Map();
  for (const item of list) {
    const group = groups.get(key(item));
    if (group) group.push(item); else groups.set(key(item), [item]);
  }
  return groups;
}

/** A bar of all places, drawn anew only where it changed. */
function fillBar(bar, pages) {
  const parts = PLACES.filter((place) => pages[place.field] > 0);
  const said = parts.map((place) => `${place.name} ${size(pages[place.field] * PAGE)}`).join(", ");
  if (bar.title === said) return;
  bar.title = said;
  bar.replaceChildren(...parts.map((place) => make("i", { style: `flex:${pages[place.field]} 0 0;background:${place.colour}` })));
}
