"use strict";
// Figures for people, and what the page was given.

const PAGE = 4096;
const given = (id) => JSON.parse(document.getElementById(id).textContent);
const PALETTE = given("palette");
// Untouched pages are no more than a shade of the ground, light or dark.
const PLACES = PALETTE.places.map((place) => (place.field === "untouched" ? { ...place, colour: "rgba(128, 140, 152, 0.35)" } : place));
const KINDS = new Map(PALETTE.kinds.map((kind) => [kind.name, kind]));
const colourOf = (kind) => (KINDS.get(kind) || { colour: "#8c8c8c" }).colour;

/** Halves go to the even digit, as in the program. */
function fixed(value, decimals) {
  const scaled = value * 10 ** decimals;
  const low = Math.floor(scaled);
  return scaled - low === 0.5 && low % 2 === 0 ? (low / 10 ** decimals).toFixed(decimals) : value.toFixed(decimals);
}

/** Three figures and a unit, as the program prints them. */
function size(bytes) {
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 999.5 && unit + 1 < units.length) {
    value /= 1024;
    unit += 1;
  }
  return `${fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${units[unit]}`;
}

const count = (number) => Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, ",");
const percent = (part, whole) => (whole > 0 ? `${((100 * part) / whole).toFixed(part < whole / 10 ? 1 : 0)} %` : "–");
/** Addresses are multiples of the page size, which doubles hold exactly up to the last one. */
const hex = (address) => `0x${address.toString(16)}`;
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

function nanoseconds(time) {
  if (time < 1e3) return `${time} ns`;
  if (time < 1e6) return `${(time / 1e3).toFixed(time < 1e5 ? 1 : 0)} µs`;
  if (time < 1e9) return `${(time / 1e6).toFixed(1)} ms`;
  return `${(time / 1e9).toFixed(1)} s`;
}

const PROTECTIONS = ["NOACCESS", "READONLY", "READWRITE", "WRITECOPY", "EXECUTE", "EXECUTE_READ", "EXECUTE_READWRITE",
  "EXECUTE_WRITECOPY", "GUARD", "NOCACHE", "WRITECOMBINE"];
const protection = (bits) => PROTECTIONS.filter((_, bit) => bits & (1 << bit)).join("+");

const capital = (text) => text[0].toUpperCase() + text.slice(1);

/** An element. Text is always set as text. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name === "style") element.style.cssText = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}
const byId = (id) => document.getElementById(id);
/** Replaces an element's text only where it differs, so that nothing flickers and selections stay. */
function put(element, text) {
  if (element && element.textContent !== String(text)) element.textContent = text;
}

const zeroPages = () => Object.fromEntries(PLACES.map((place) => [place.field, 0]));
/** Sums over regions: what the totals of the program are sums of, too. */
function sumOf(regions) {
  const sum = { regions: 0, reserved: 0, committed: 0, pages: zeroPages() };
  for (const region of regions) {
    sum.regions += 1;
    sum.reserved += region.size_bytes;
    sum.committed += region.committed_bytes;
    for (const field in sum.pages) sum.pages[field] += region.pages[field];
  }
  return sum;
}

/** Every word must be found; a word that is an address finds the region that holds it. */
function matcher(text) {
  const words = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return null;
  const tests = words.map((word) => {
    const bare = word.replaceAll("_", "");
    const address = /^0x[0-9a-f]+$/.test(bare) ? Number(bare) : null;
    return (region, said) =>
      said.includes(word) || (address !== null && address >= region.base && address < region.base + region.size_bytes);
  });
  return (region) => {
    const said = `${region.kind} ${region.usage} ${protection(region.protection)} ${region.engine} ${region.name} ` +
      `${hex(region.base)}${region.shared ? " shared" : ""}`.toLowerCase();
    return tests.every((test) => test(region, said.toLowerCase()));
  };
}
