// The page of `pagekeeper map -o FILE.html`: one moment, a recording to play, or two snapshots to compare.

const { document: given_document, names } = given("data");

/** Every moment, as a snapshot with regions. Unchanged regions are shared between moments. */
const frames = given_document.later.reduce((list, later) => [...list, applyChange(list[list.length - 1], later)], [given_document.snapshot]);
const explorer = new Explorer();
let shown = frames.length - 1;

function show(index) {
  shown = index;
  const snapshot = frames[index];
  put(byId("name"), names ? `${names[0]} and ${names[1]}` : `${snapshot.name} · process ${snapshot.pid}`);
  put(byId("about"), `${snapshot.command || snapshot.name} — ${new Date(snapshot.taken_at_ms).toLocaleString()}, told by ` +
    (snapshot.source === "pagekeeper" ? "the process itself" : "the kernel"));
  headlines(byId("headlines"), snapshot);
  explorer.set(snapshot.regions);
  legend(byId("legend"), snapshot.regions);
  totalsTable(byId("totals"), snapshot.regions);
  byId("notes-section").hidden = snapshot.notes.length === 0;
  byId("notes").replaceChildren(...snapshot.notes.map((note) => make("li", {}, note)));
  byId("seek").value = index;
  put(byId("moment"), names ? names[index] : `${index + 1} of ${frames.length}, ${clock(snapshot.taken_at_ms)}`);
}

function startPlayer() {
  byId("player").hidden = false;
  byId("seek").max = frames.length - 1;
  byId("seek").value = shown;
  for (const id of ["play", "speed-label"]) byId(id).hidden = names !== null;
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    put(byId("play"), "Play");
  };
  const go = (index) => {
    show(index);
    if (line) line.markAt(index);
  };
  const line = names ? null : new TimeLine(byId("timeline"), { seek: (index) => { stop(); go(index); } });
  if (line) line.set(frames.map(moment));
  byId("seek").addEventListener("input", (event) => { stop(); go(Number(event.target.value)); });
  byId("play").addEventListener("click", () => {
    if (timer !== null) return stop();
    put(byId("play"), "Pause");
    if (shown === frames.length - 1) go(0);
    timer = setInterval(() => (shown + 1 < frames.length ? go(shown + 1) : stop()), Number(byId("speed").value));
  });
  if (line) line.markAt(shown);
}

/** Kinds of two snapshots, and the regions that differ most. */
function compare() {
  byId("comparison").hidden = false;
  put(byId("player-title"), "Before and after");
  const [before, after] = frames;
  const signed = (bytes) => (bytes === 0 ? "=" : `${bytes > 0 ? "+" : "−"}${size(Math.abs(bytes))}`);
  const head = (...texts) => make("thead", {}, make("tr", {}, ...texts.map((text) => make("th", { scope: "col" }, text))));
  const line = (name, colour, was, is) => make("tr", {}, make("th", { scope: "row" }, make("span", { class: "mark", style: colour ? `background:${colour}` : "" }), make("span", {}, name)),
    ...[`${count(was.regions)} → ${count(is.regions)}`, `${size(was.reserved)} → ${size(is.reserved)}`, signed(is.reserved - was.reserved),
      `${size(was.committed)} → ${size(is.committed)}`, signed(is.committed - was.committed),
      `${size(was.pages.resident * PAGE)} → ${size(is.pages.resident * PAGE)}`, signed((is.pages.resident - was.pages.resident) * PAGE)]
      .map((text) => make("td", { class: "number" }, text)));
  const kinds = [...KINDS.keys()].map((kind) => [kind, ...frames.map((frame) => sumOf(frame.regions.filter((region) => region.kind === kind)))])
    .filter(([, was, is]) => was.regions + is.regions > 0);
  const old = new Map(before.regions.map((region) => [region.base, region]));
  const now = new Map(after.regions.map((region) => [region.base, region]));
  const nothing = { size_bytes: 0, committed_bytes: 0, pages: zeroPages() };
  const weight = (was, is) => Math.abs(is.pages.resident - was.pages.resident) * PAGE + Math.abs(is.committed_bytes - was.committed_bytes);
  const moved = [...new Set([...old.keys(), ...now.keys()])].map((base) => [base, old.get(base), now.get(base)])
    .filter(([, was, is]) => !was || !is || was.size_bytes !== is.size_bytes || weight(was, is) > 0)
    .sort((a, b) => weight(b[1] || nothing, b[2] || nothing) - weight(a[1] || nothing, a[2] || nothing));
  const rows = moved.slice(0, ROWS_AT_ONCE).map(([base, was, is]) => {
    const region = is || was;
    return make("tr", {}, make("th", { scope: "row" }, make("span", { class: "mark", style: `background:${colourOf(region.kind)}` }), make("span", {}, `${hex(base)} ${region.name || region.kind}`)),
      ...[!was ? "new" : !is ? "gone" : "differs", signed((is || nothing).size_bytes - (was || nothing).size_bytes),
        signed((is || nothing).committed_bytes - (was || nothing).committed_bytes),
        signed(((is || nothing).pages.resident - (was || nothing).pages.resident) * PAGE)].map((text) => make("td", { class: "number" }, text)));
  });
  byId("differences").replaceChildren(
    make("table", { class: "totals" }, head("Kind", "Regions", "Reserved", "±", "Committed", "±", "Resident", "±"),
      make("tbody", {}, ...kinds.map(([kind, was, is]) => line(kind, colourOf(kind), was, is))),
      make("tfoot", {}, line("total", null, sumOf(before.regions), sumOf(after.regions)))),
    make("p", { class: "hint" }, moved.length === 0 ? "No region differs."
      : `${count(moved.length)} regions are new, gone or differ${moved.length > rows.length ? `; the ${rows.length} that differ most` : ""}:`),
    ...(rows.length ? [make("table", { class: "totals" }, head("Region", "", "Size", "Committed", "Resident"), make("tbody", {}, ...rows))] : []));
}

show(shown);
if (names) compare();
if (frames.length > 1) startPlayer();
