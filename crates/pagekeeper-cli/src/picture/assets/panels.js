// What stands around the map: headline figures, the table of totals, the legend, one region's particulars, sums.

/** A headline figure: `[name, value, what it is]`. */
function headlines(root, snapshot) {
  const totals = snapshot.totals;
  const list = [
    ["Reserved", size(totals.reserved_bytes), "address space in regions", "reserved_bytes"],
    ["Committed", size(totals.committed_bytes), `${size(totals.private_bytes)} private`, "committed_bytes"],
    ["Working set", size(totals.working_set_bytes), totals.budget_bytes ? `RAM budget ${size(totals.budget_bytes)}` : `${size(totals.working_set_private_bytes)} private`, "working_set_bytes"],
  ];
  if (snapshot.source === "pagekeeper") {
    list.push(["On lists", size(totals.modified_bytes + totals.standby_bytes), `${size(totals.modified_bytes)} modified, ${size(totals.standby_bytes)} standby`, "listed_bytes"]);
    list.push(["Compressed", size(totals.compressed_bytes), `in ${size(totals.pool_bytes)} of RAM`, "compressed_bytes"]);
    list.push(["Page file", size(totals.page_file_bytes), totals.page_file_maximum_bytes ? `${size(totals.page_file_allocated_bytes)} of ${size(totals.page_file_maximum_bytes)} on disk` : "none", "page_file_bytes"]);
  } else if (totals.swapped_bytes) {
    list.push(["Swapped", size(totals.swapped_bytes), "in the kernel's swap", "swapped_bytes"]);
  }
  list.forEach(([name, value, more, field], i) => {
    let box = root.children[i];
    if (!box) {
      box = make("div", { class: "headline" }, make("span", { class: "name" }), make("strong"), make("span", { class: "more" }));
      root.append(box);
    }
    put(box.children[0], name);
    put(box.children[1], value);
    box.children[1].dataset.field = field;
    if (totals[field] !== undefined) box.children[1].dataset.bytes = totals[field];
    put(box.children[2], more);
  });
  while (root.children.length > list.length) root.lastChild.remove();
}

/** Kinds against where their pages are; the last row is the sum of the others. */
function totalsTable(root, regions) {
  const places = PLACES.filter((place) => regions.some((region) => region.pages[place.field] > 0));
  const head = make("tr", {}, ...["Kind", "Regions", "Reserved", "Committed", ...places.map((place) => capital(place.name))].map((text) => make("th", { scope: "col" }, text)));
  const line = (name, colour, sum, tag) => make("tr", {},
    make("th", { scope: "row" }, make("span", { class: "mark", style: colour ? `background:${colour}` : "" }), make("span", {}, name)),
    ...[count(sum.regions), size(sum.reserved), sum.committed ? size(sum.committed) : "–",
      ...places.map((place) => (sum.pages[place.field] ? size(sum.pages[place.field] * PAGE) : "–"))]
      .map((text) => make(tag, { class: "number" }, text)));
  const kinds = groupBy(regions, (region) => region.kind);
  const rows = [...KINDS.keys()].filter((kind) => kinds.has(kind)).map((kind) => line(kind, colourOf(kind), sumOf(kinds.get(kind)), "td"));
  root.replaceChildren(make("table", { class: "totals" }, make("thead", {}, head), make("tbody", {}, ...rows),
    make("tfoot", {}, line("total", null, sumOf(regions), "td"))));
}

function legend(root, regions) {
  const kinds = new Set(regions.map((region) => region.kind));
  const places = PLACES.filter((place) => regions.some((region) => region.pages[place.field] > 0));
  const said = `${[...kinds]} ${places.map((place) => place.field)}`;
  if (root.dataset.said === said) return;
  root.dataset.said = said;
  const entry = (colour, name, meaning, style = "") => make("span", { class: "entry", title: meaning }, make("span", { class: `mark ${style}`, style: `--colour:${colour}` }), name);
  root.replaceChildren(
    make("div", {}, make("b", {}, "Block "), entry("var(--text)", "reserved", "address space without memory", "hatched"),
      entry("var(--text)", "committed (height: its share)", "memory is promised", "pale"), entry("var(--text)", "resident (height: its share)", "in RAM, in the working set", "full")),
    make("div", {}, make("b", {}, "Colour "), ...PALETTE.kinds.filter((kind) => kinds.has(kind.name)).map((kind) => entry(kind.colour, kind.name, kind.meaning, "full"))),
    make("div", {}, make("b", {}, "Line below "), ...places.map((place) => entry(place.colour, place.name, place.meaning, "line"))),
  );
}

/** One region's particulars, as VirtualQuery says them and more. */
function particulars(root, region) {
  if (!region) {
    root.replaceChildren(make("p", { class: "hint" }, "Click a region, in the map or in the table. Drag over the map to sum several; with the keyboard: arrows, +, −, Esc."));
    return;
  }
  const rows = [
    ["Base", hex(region.base), "base"], ["End", hex(region.base + region.size_bytes)],
    ["Size", `${size(region.size_bytes)} (${count(region.size_bytes / PAGE)} pages)`, "size_bytes", region.size_bytes],
    ["State", region.usage], ["Protection", protection(region.protection) || "–"],
    ["Type", `${region.kind}${region.shared ? ", shared" : ""}${region.engine ? `, engine ${region.engine}` : ""}`],
    ["Allocation", `${hex(region.allocation_base)} ${protection(region.allocation_protection)}`],
    ["Committed", size(region.committed_bytes), "committed_bytes", region.committed_bytes],
    ...PLACES.filter((place) => place.field === "resident" || region.pages[place.field] > 0).map((place) => [capital(place.name), `${size(region.pages[place.field] * PAGE)} (${percent(region.pages[place.field] * PAGE, region.committed_bytes)})`,
      `${place.field}_bytes`, region.pages[place.field] * PAGE]),
  ];
  const list = make("dl");
  for (const [name, value, field, bytes] of rows) {
    list.append(make("dt", {}, name), make("dd", { "data-field": field, "data-bytes": bytes }, value));
  }
  const bar = make("div", { class: "bar tall" });
  fillBar(bar, region.pages);
  const heat = make("div", { class: "strip tall", title: "how much of each part is resident" },
    ...region.heat.map((value) => make("i", { style: `height:${value ? Math.max(4, (100 * value) / 255) : 0}%` })));
  heat.style.setProperty("--colour", colourOf(region.kind));
  root.replaceChildren(make("h3", {}, region.name || `${region.kind} ${hex(region.base)}`), list, bar, heat,
    ...(region.sampled ? [make("p", { class: "hint" }, "Counted over a part of its pages and scaled up.")] : []));
}

/** Sums over what is selected or found. */
function sums(root, regions, what) {
  if (!regions) {
    put(root, "");
    return;
  }
  const sum = sumOf(regions);
  const parts = PLACES.filter((place) => sum.pages[place.field] > 0).map((place) => `${size(sum.pages[place.field] * PAGE)} ${place.name}`);
  put(root, `${what}: ${count(sum.regions)} ${sum.regions === 1 ? "region" : "regions"}, ${size(sum.reserved)} reserved, ${size(sum.committed)} committed${parts.length ? ` (${parts.join(", ")})` : ""}`);
  root.dataset.regions = sum.regions;
  root.dataset.reserved = sum.reserved;
  root.dataset.committed = sum.committed;
}

/** Map, table, particulars, sums, search and zoom of one page, tied together. */
class Explorer {
  constructor() {
    this.regions = [];
    this.base = null;
    const pick = (region, scroll) => {
      this.base = region ? region.base : null;
      this.table.reveal(region, scroll);
      particulars(byId("particulars"), region);
    };
    this.table = new RegionTable(byId("regions"), {
      pick: (region) => {
        this.ribbon.picked = region;
        this.ribbon.show(region);
        this.ribbon.paintSoon();
        pick(region, false);
      },
    });
    this.ribbon = new Ribbon(byId("ribbon"), {
      pick: (region) => pick(region, true),
      select: (regions) => {
        this.selected = regions !== null;
        this.say(regions);
      },
      zoom: (factor) => put(byId("zoom"), `${factor < 10 ? factor.toFixed(1) : Math.round(factor)}×`),
    });
    byId("zoom-in").addEventListener("click", () => this.ribbon.setZoom(this.ribbon.zoom * 1.5));
    byId("zoom-out").addEventListener("click", () => this.ribbon.setZoom(this.ribbon.zoom / 1.5));
    byId("zoom-all").addEventListener("click", () => this.ribbon.setZoom(1));
    const search = byId("search");
    search.addEventListener("input", () => this.find());
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && this.found && this.found.length) {
        const at = this.found.findIndex((region) => region.base === this.base);
        this.ribbon.pick(this.found[(at + 1) % this.found.length], true);
      } else if (event.key === "Escape") {
        search.value = "";
        this.find();
      }
    });
    particulars(byId("particulars"), null);
  }

  find() {
    const test = matcher(byId("search").value);
    this.found = test && this.regions.filter(test);
    this.ribbon.highlight(this.found);
    this.table.filter(this.found);
    this.say(this.selected ? this.ribbon.regions.slice(this.ribbon.range[0], this.ribbon.range[1] + 1) : null);
  }

  say(selected) {
    if (selected) sums(byId("sums"), selected, "Selected");
    else sums(byId("sums"), this.found, "Found");
  }

  set(regions) {
    this.regions = regions;
    this.ribbon.set(regions);
    const range = this.ribbon.range;
    this.selected = range !== null;
    const picked = this.base === null ? null : regions.find((region) => region.base === this.base);
    this.table.picked = picked ? picked.base : null;
    this.table.regions = regions;
    this.find();
    if (this.base !== null) particulars(byId("particulars"), picked);
  }
}
