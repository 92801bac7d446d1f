// A later moment of a process, from an earlier one and what changed since.

function applyChange(snapshot, later) {
  const gone = new Set(later.removed);
  for (const region of later.changed) gone.add(region.base);
  const regions = gone.size === 0 ? snapshot.regions
    : snapshot.regions.filter((region) => !gone.has(region.base)).concat(later.changed).sort((a, b) => a.base - b.base);
  return { ...later.snapshot, regions };
}

/** One moment of the time line. */
function moment(snapshot) {
  const totals = snapshot.totals;
  return {
    at: snapshot.taken_at_ms / 1000,
    working_set: totals.working_set_bytes,
    modified: totals.modified_bytes,
    standby: totals.standby_bytes,
    compressed: totals.compressed_bytes,
    page_file: totals.page_file_bytes,
    swapped: totals.swapped_bytes,
    budget: totals.budget_bytes,
  };
}
