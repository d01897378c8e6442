"use strict";
// Pure functions: photos and filters → selection, counts and text. No access to the page.

const BINS = 50;
const STATES = { all: "All", found: "Found", absent: "Not here", failed: "Failed" };
const RANK = { found: 0, absent: 1, failed: 2 };

/** The largest of numbers and nulls; null where there is no number. */
function largest(values) {
  const numbers = values.filter((value) => value !== null);
  return numbers.length ? Math.max(...numbers) : null;
}

/** The result of a photo for one class, or for all (null): best score and total area. */
function judge(picture, wanted) {
  const asked = picture.classes.filter((entry) => wanted === null || entry.class === wanted);
  const here = asked.filter((entry) => entry.here);
  const state = picture.error !== null ? "failed" : here.length ? "found" : "absent";
  return {
    picture,
    state,
    // The score of a mask that is judged absent says nothing about the photo.
    score: state === "found" ? largest(here.map((entry) => entry.score)) : null,
    presence: largest(asked.map((entry) => entry.presence)),
    area: here.reduce((sum, entry) => sum + entry.area, 0),
  };
}

/** Order: found, absent, failed; within each by number, without a number last; then by name. */
function byNumber(pick, sign) {
  return (a, b) => {
    const [x, y] = [pick(a), pick(b)];
    const numbers = x === null || y === null ? (x === null) - (y === null) : sign * (x - y);
    return RANK[a.state] - RANK[b.state] || numbers || byName(a, b);
  };
}

function byName(a, b) {
  return a.picture.alphabetical - b.picture.alphabetical;
}

/** Number the photos by name, once, because comparing names is slow. IMG_2 is before IMG_10. */
function placeByName(pictures) {
  const { compare } = new Intl.Collator("en", { numeric: true });
  const sorted = [...pictures].sort((a, b) => compare(a.file, b.file));
  for (const [place, picture] of sorted.entries()) picture.alphabetical = place;
}

/** The number of photos with each class. */
function countClasses(pictures, classes) {
  const counts = new Array(classes).fill(0);
  for (const { classes: entries } of pictures) {
    for (const entry of entries) counts[entry.class] += entry.here;
  }
  return counts;
}

// Absent photos are sorted by presence, which shows the nearly found ones first.
const scoreOf = (item) => (item.state === "absent" ? item.presence : item.score);
const ORDERS = {
  "score-down": ["Score, highest first", byNumber(scoreOf, -1)],
  "score-up": ["Score, lowest first", byNumber(scoreOf, 1)],
  "area-down": ["Area, largest first", byNumber((item) => item.area, -1)],
  "area-up": ["Area, smallest first", byNumber((item) => item.area, 1)],
  name: ["File name", byName],
};

/** The number of scores in each of BINS equal parts of 0 … 1. */
function countBins(items) {
  const bins = new Array(BINS).fill(0);
  for (const { score } of items) bins[Math.min(BINS - 1, Math.floor(score * BINS))] += 1;
  return bins;
}

/** All that drawing the page needs, for the given filters. */
function select(pictures, filters) {
  const items = pictures.map((picture) => judge(picture, filters.wanted));
  const candidates = items.filter(
    (item) =>
      (filters.state === "all" || item.state === filters.state) &&
      item.picture.searched.includes(filters.search),
  );
  const scored = candidates.filter((item) => item.score !== null);
  // Without scores (failed or absent photos), a threshold would hide all photos.
  const least = scored.length ? filters.least : 0;
  const kept = least > 0 ? scored.filter((item) => item.score >= least) : candidates;
  return { items, scored, shown: kept.sort(ORDERS[filters.order][1]) };
}

/* ── Words and numbers ───────────────────────────────────────────────────────────────────────── */

const grouped = new Intl.NumberFormat("en").format;
const two = (value) => (value === null ? "–" : value.toFixed(2));
const secondsOf = (value) => `${value.toFixed(value < 10 ? 2 : 1)} s`;

function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return `${value.toFixed(value < 10 ? 1 : 0)} %`;
}
