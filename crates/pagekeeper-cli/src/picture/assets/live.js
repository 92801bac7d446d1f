// The page of `pagekeeper serve`: one process, told again every second by server-sent events; or the list of processes.

const asked = new URLSearchParams(location.search).get("pid");
const only = given("data").pid;
const pid = only !== null ? only : asked;
const MOST_MOMENTS = 900;
const MOST_EVENTS = 200;

function listProcesses() {
  byId("processes-section").hidden = false;
  const refresh = async () => {
    try {
      const answer = await fetch("/api/v1/processes");
      if (!answer.ok) throw new Error(await answer.text());
      show(await answer.json());
      say("live", "live");
    } catch (error) {
      say(`no answer: ${error.message}`, "gone");
    }
  };
  let list = [];
  const show = (now) => {
    list = now;
    const words = byId("process-search").value.toLowerCase();
    const found = list.filter((process) => `${process.pid} ${process.name} ${process.command} ${process.source}`.toLowerCase().includes(words))
      .sort((a, b) => (b.source === "pagekeeper") - (a.source === "pagekeeper") || b.totals.working_set_bytes - a.totals.working_set_bytes);
    const head = ["Process", "Name", "Reserved", "Committed", "Working set", "Private", "Compressed", "Page file", "Command"].map((text) => make("th", { scope: "col" }, text));
    const rows = found.map((process) => make("tr", {},
      make("th", { scope: "row" }, make("a", { href: `/?pid=${process.pid}` }, String(process.pid))),
      make("td", {}, process.name, ...(process.source === "pagekeeper" ? [make("span", { class: "badge" }, "pagekeeper")] : [])),
      ...["reserved", "committed", "working_set", "working_set_private", "compressed", "page_file"].map((name) => make("td", { class: "number" }, process.totals[`${name}_bytes`] ? size(process.totals[`${name}_bytes`]) : "–")),
      make("td", { class: "command", title: process.command }, process.command)));
    byId("processes").replaceChildren(make("table", { class: "processes" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
  };
  byId("process-search").addEventListener("input", () => show(list));
  refresh();
  setInterval(refresh, 5000);
}

function say(text, state) {
  put(byId("state"), text);
  byId("state").dataset.state = state;
}

function watch() {
  byId("process").hidden = false;
  const explorer = new Explorer();
  const line = new TimeLine(byId("timeline"));
  let now = null;
  let before = null;
  let moments = [];
  let paused = false;

  const drawRegions = () => {
    explorer.set(now.regions);
    legend(byId("legend"), now.regions);
    totalsTable(byId("totals"), now.regions);
  };
  const draw = (regions) => {
    put(byId("name"), `${now.name} · process ${now.pid}`);
    document.title = `${now.name} ${now.pid} – Pagekeeper`;
    put(byId("about"), `${now.command || now.name} — told by ${now.source === "pagekeeper" ? "the process itself" : "the kernel"}`);
    headlines(byId("headlines"), now);
    line.set(moments);
    byId("full-size").hidden = now.totals.budget_bytes === 0;
    pageLists(byId("lists"), now);
    rates(byId("rates"), before, now);
    byId("notes-section").hidden = now.notes.length === 0;
    const notes = now.notes.join("\n");
    if (byId("notes").dataset.said !== notes) {
      byId("notes").dataset.said = notes;
      byId("notes").replaceChildren(...now.notes.map((note) => make("li", {}, note)));
    }
    if (regions && !paused) drawRegions();
  };
  const log = (events) => {
    const list = byId("events");
    for (const event of events) {
      list.prepend(make("li", { class: event.level }, make("time", {}, clock(event.at_ms)), " ", event.text));
    }
    while (list.children.length > MOST_EVENTS) list.lastChild.remove();
  };

  byId("pause").addEventListener("click", () => {
    paused = !paused;
    byId("pause").setAttribute("aria-pressed", paused);
    put(byId("pause"), paused ? "Go on" : "Pause");
    if (!paused && now) drawRegions();
  });

  const source = new EventSource(`/api/v1/processes/${pid}/events`);
  source.addEventListener("hello", (event) => {
    const hello = JSON.parse(event.data);
    [now, before, moments] = [hello.snapshot, null, hello.moments];
    byId("events").replaceChildren();
    log(hello.events);
    draw(true);
    if (hello.ended) say(hello.ended, "gone"); else say("live", "live");
  });
  source.addEventListener("look", (event) => {
    const look = JSON.parse(event.data);
    before = now;
    now = applyChange(now, look.later);
    moments.push(moment(now));
    if (moments.length > MOST_MOMENTS) moments = moments.slice(-MOST_MOMENTS);
    log(look.events);
    draw(look.later.removed.length + look.later.changed.length > 0);
    document.body.dataset.looks = Number(document.body.dataset.looks || 0) + 1;
    say("live", "live");
  });
  source.addEventListener("ended", (event) => {
    const { text, events } = JSON.parse(event.data);
    log(events);
    say(text, "gone");
    source.close();
  });
  source.addEventListener("error", async () => {
    if (source.readyState !== EventSource.CLOSED) return say("connection lost, trying again …", "gone");
    // A refusal says why in its body, which an event source does not show.
    const answer = await fetch(`/api/v1/processes/${pid}`).catch(() => null);
    say(answer && !answer.ok ? (await answer.text()).trim() : "connection lost", "gone");
  });
}

/** What each engine has in which list. */
function pageLists(root, snapshot) {
  const engines = snapshot.engines;
  const rows = engines.map((engine) => [`space ${engine.space}, ${engine.engine}`, engine.resident_bytes, engine.modified_bytes, engine.standby_bytes,
    engine.compressed_bytes, engine.page_file_bytes, engine.budget_bytes, engine.peak_bytes]);
  const totals = snapshot.totals;
  rows.push([engines.length ? "process, all of it" : "process", totals.working_set_bytes, totals.modified_bytes, totals.standby_bytes, totals.compressed_bytes,
    totals.page_file_bytes + totals.swapped_bytes, totals.budget_bytes, 0]);
  const most = Math.max(...rows.map((row) => row.slice(1, 6).reduce((sum, bytes) => sum + bytes, 0)), 1);
  const names = ["Working set", "Modified", "Standby", "Compressed", totals.swapped_bytes && !engines.length ? "Swap" : "Page file", "Budget", "Peak"];
  const colours = [0, 1, 2, 3, 4].map((i) => LAYERS[i][2]);
  const table = make("table", { class: "totals" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Pages of"), ...rows.map((row) => make("th", { scope: "col" }, row[0])))),
    make("tbody", {}, ...names.map((name, i) => i > 0 && rows.every((row) => row[i + 1] === 0) ? "" : make("tr", {}, make("th", { scope: "row" }, make("span", { class: "mark", style: colours[i] ? `background:${colours[i]}` : "" }), make("span", {}, name)),
      ...rows.map((row) => make("td", { class: "number" }, row[i + 1] ? size(row[i + 1]) : "–"))))));
  const bars = rows.map((row) => make("div", { class: "bar tall", title: row[0], style: `width:${(100 * row.slice(1, 6).reduce((sum, bytes) => sum + bytes, 0)) / most}%` },
    ...colours.map((colour, i) => make("i", { style: `flex:${row[i + 1]} 0 0;background:${colour}` }))));
  root.replaceChildren(table, ...bars);
}

/** What happened between two looks, for each second; and how long faults took. */
function rates(root, before, now) {
  const seconds = before ? Math.max((now.taken_at_ms - before.taken_at_ms) / 1000, 0.001) : null;
  const each = (field) => (seconds ? Math.max(0, now.counters[field] - before.counters[field]) / seconds : null);
  const number = (value) => (value === null ? "–" : count(value));
  const bytes = (value) => (value === null ? "–" : `${size(value)}/s`);
  const rows = [["Soft faults", `${number(each("soft_faults"))}/s`, count(now.counters.soft_faults)], ["Hard faults", `${number(each("hard_faults"))}/s`, count(now.counters.hard_faults)],
    ["Read", bytes(each("bytes_in")), size(now.counters.bytes_in)], ["Written", bytes(each("bytes_out")), size(now.counters.bytes_out)]];
  const total = now.latency.reduce((sum, cell) => sum + cell, 0);
  if (total > 0) {
    const quantile = (share) => {
      let sum = 0;
      return nanoseconds(2 ** (now.latency.findIndex((cell) => (sum += cell) >= share * total) + 1));
    };
    rows.push(["Fault latency", `p50 ≤ ${quantile(0.5)}`, `p99 ≤ ${quantile(0.99)}`]);
  }
  root.replaceChildren(make("table", { class: "totals" }, make("thead", {}, make("tr", {}, ...["", "Now", "Since it began"].map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows.map(([name, rate, sum]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "number" }, rate), make("td", { class: "number" }, sum))))));
}

if (pid === null) listProcesses(); else watch();
