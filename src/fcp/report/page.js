// Names, errors and facts reach the page as textContent, never as HTML.

/* ── Data of the file ───────────────────────────────────────────────────────────────────────── */

// Full rows for 2, 3, 4, 5 and 6 columns.
const PER_PAGE = 60;

const byId = (id) => document.getElementById(id);
const read = (id) => JSON.parse(byId(id).textContent);

const run = read("run"); // {title, facts: [[name, value]], classes: [{name, colour}]}
const pictures = read("pictures").map((picture, index) => ({
  ...picture,
  index,
  name: picture.file.split(/[\\/]/).pop(),
  // macOS writes accented letters in another Unicode form.
  searched: picture.file.normalize("NFC").toLowerCase(),
}));
placeByName(pictures);

// The thumbnails follow this script: they exist once the whole file is parsed.
const parsed = new Promise((resolve) => addEventListener("DOMContentLoaded", resolve));
const thumbnails = parsed.then(() =>
  [...byId("thumbnails").childNodes].filter((node) => node.nodeType === Node.COMMENT_NODE),
);

/* ── Pieces of the page ──────────────────────────────────────────────────────────────────────── */

const copy = (id) => byId(id).content.firstElementChild.cloneNode(true);

function fill(element, selector, text) {
  const part = element.querySelector(selector);
  part.textContent = text;
  return part;
}

function paint(dot, index) {
  dot.style.backgroundColor = run.classes[index].colour;
}

/** A radio button with label; ``index`` is the class for its colour dot, or null for none. */
function makeOption(name, value, label, index) {
  const option = copy("option-template");
  const input = option.querySelector("input");
  Object.assign(input, { name, value, defaultChecked: value === "all" });
  input.setAttribute("form", "filters");
  option.title = label;
  fill(option, "bdi", label);
  const dot = option.querySelector(".dot");
  if (index === null) dot.remove();
  else paint(dot, index);
  return option;
}

function makeFacts(pairs) {
  return pairs.map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(document.createElement("dt"), document.createElement("dd"));
    fill(pair, "dt", name);
    fill(pair, "dd", value);
    return pair;
  });
}

function makeFinding(entry) {
  const finding = copy("finding-template");
  paint(finding.querySelector(".dot"), entry.class);
  fill(finding, "bdi", run.classes[entry.class].name);
  fill(finding, ".value", `score ${two(entry.score)}`);
  return finding;
}

function makeNote(text, value) {
  const finding = copy("finding-template");
  finding.classList.add("quiet");
  finding.querySelector(".dot").remove();
  fill(finding, "bdi", text);
  fill(finding, ".value", value);
  return finding;
}

const presenceOf = ({ presence }) => (presence === null ? "" : `presence ${two(presence)}`);

/** The text below a card's name: the classes found, the selected one first; at most three. */
function makeFindings(item) {
  if (item.state === "failed") return [makeNote("failed", "")];
  if (item.state === "absent") return [makeNote("not here", presenceOf(item))];
  const rank = (entry) => (entry.class === filters.wanted ? 2 : (entry.score ?? -1));
  const here = item.picture.classes.filter((entry) => entry.here);
  here.sort((a, b) => rank(b) - rank(a));
  const shown = here.length > 3 ? here.slice(0, 2) : here;
  const more = here.length - shown.length;
  return [...shown.map(makeFinding), ...(more ? [makeNote(`and ${more} more`, "")] : [])];
}

function makeCard(item) {
  const card = copy("card-template");
  fill(card, ".name", item.picture.name);
  card.firstElementChild.title = item.picture.file;
  fill(card, ".error", item.picture.error ?? "");
  card.querySelector(".findings").append(...makeFindings(item));
  card.querySelector("img").dataset.index = item.picture.index;
  return card;
}

/* ── Thumbnails: decoded when they come near the screen ──────────────────────────────────────── */

async function showThumbnail(image, index) {
  image.dataset.index = index;
  const { data } = (await thumbnails)[index];
  // The large view may show another photo by now.
  if (image.dataset.index !== String(index)) return;
  image.hidden = data === "";
  if (data) image.src = `data:image/jpeg;base64,${data}`;
}

const watcher = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      showThumbnail(target, target.dataset.index);
    }
  },
  { rootMargin: "400px" },
);

// A printed page cannot scroll, so all thumbnails must be loaded.
addEventListener("beforeprint", () => {
  for (const image of grid.querySelectorAll("img")) showThumbnail(image, image.dataset.index);
});

/* ── The page as it stands ───────────────────────────────────────────────────────────────────── */

const form = byId("filters");
const grid = byId("grid");
const large = byId("large");
let filters = {};
let shown = []; // photos that match the filters, in order
let page = 0;
let opened = null; // place in ``shown`` of the photo in the large view

function readFilters() {
  const values = Object.fromEntries(new FormData(form));
  return {
    state: values.state,
    wanted: values.class === "all" ? null : Number(values.class),
    search: values.search.normalize("NFC").toLowerCase().trim(),
    least: byId("least").value / 100,
    order: values.order,
  };
}

function drawStart() {
  document.title = byId("title").textContent = run.title;
  byId("facts").append(...makeFacts(run.facts));
  const states = Object.entries(STATES);
  byId("states").append(...states.map(([value, label]) => makeOption("state", value, label, null)));
  const counts = countClasses(pictures, run.classes.length);
  const options = run.classes.map(({ name }, index) => {
    const option = makeOption("class", String(index), name, index);
    fill(option, ".count", grouped(counts[index]));
    return option;
  });
  byId("classes").append(makeOption("class", "all", "All classes", null), ...options);
  const orders = Object.entries(ORDERS).map(([value, [label]]) => new Option(label, value));
  byId("order").append(...orders);
  byId("bars").append(...countBins([]).map(() => document.createElement("i")));
}

function drawCounts(items) {
  for (const input of byId("states").querySelectorAll("input")) {
    const here = items.filter(({ state }) => input.value === "all" || state === input.value);
    fill(input.parentElement, ".count", grouped(here.length));
  }
}

function drawHistogram(scored) {
  const bins = countBins(scored);
  const tallest = Math.max(1, ...bins);
  [...byId("bars").children].forEach((bar, place) => {
    // A single photo among thousands must still be visible.
    bar.style.height = bins[place] ? `max(2px, ${(100 * bins[place]) / tallest}%)` : "0";
    bar.classList.toggle("below", (place + 1) / BINS <= filters.least);
  });
  const slider = byId("least");
  slider.disabled = scored.length === 0;
  const kept = scored.filter(({ score }) => score >= filters.least).length;
  slider.setAttribute("aria-valuetext", `${two(filters.least)}, ${grouped(kept)} photos`);
  byId("least-shown").textContent = slider.disabled ? "–" : two(filters.least);
}

/** Draw the page of cards; unchanged cards are not redrawn, to avoid flicker. */
function drawPage() {
  const first = page * PER_PAGE;
  const items = shown.slice(first, first + PER_PAGE);
  const key = JSON.stringify([filters.wanted, items.map((item) => item.picture.index)]);
  if (grid.dataset.key !== key) {
    watcher.disconnect();
    grid.replaceChildren(...items.map(makeCard));
    for (const image of grid.querySelectorAll("img")) watcher.observe(image);
    grid.dataset.key = key;
  }
  byId("nothing").hidden = shown.length > 0;
  byId("range").textContent = shown.length
    ? `${grouped(first + 1)}–${grouped(first + items.length)} of ${grouped(shown.length)}`
    : "0 photos";
  for (const button of document.querySelectorAll("[data-step]")) {
    button.disabled = !isPage(page + Number(button.dataset.step));
  }
  document.querySelector(".pager.foot").hidden = shown.length <= PER_PAGE;
}

const isPage = (number) => number >= 0 && number * PER_PAGE < shown.length;

function goToPage(number) {
  page = number;
  drawPage();
  // After scrolling down, the new cards would start above the window.
  const results = byId("results");
  if (results.getBoundingClientRect().top < 0) results.scrollIntoView();
}

function update() {
  filters = readFilters();
  const selection = select(pictures, filters);
  shown = selection.shown;
  drawCounts(selection.items);
  drawHistogram(selection.scored);
  const { state, wanted, search, least } = filters;
  byId("clear").hidden = state === "all" && wanted === null && !search && !least;
  goToPage(0);
}

/** Focus the card of a photo in ``shown``, on any page. */
function focusCard(place) {
  const number = Math.floor(place / PER_PAGE);
  if (number !== page) goToPage(number);
  grid.children[place - number * PER_PAGE].firstElementChild.focus();
}

/** The key, or null with a modifier that makes it a browser shortcut (Alt+← goes back). */
function plainKey(event) {
  return event.altKey || event.ctrlKey || event.metaKey ? null : event.key;
}

/* ── The large view ──────────────────────────────────────────────────────────────────────────── */

function makeRow(entry, picture) {
  const row = copy("row-template");
  row.classList.toggle("quiet", !entry.here);
  paint(row.querySelector(".dot"), entry.class);
  fill(row, "bdi", run.classes[entry.class].name);
  fill(row, "td:nth-child(2)", two(entry.score));
  fill(row, "td:nth-child(3)", two(entry.presence));
  const area = [percent(entry.area), ...(picture.size ? [`${grouped(entry.px)} px`] : [])];
  fill(row, "td span", entry.here ? area.shift() : "not here");
  fill(row, "td small", entry.area ? area.join(" · ") : "");
  return row;
}

function drawLarge() {
  const { picture } = shown[opened];
  byId("large-name").textContent = picture.name;
  byId("large-place").textContent = `${grouped(opened + 1)} of ${grouped(shown.length)}`;
  byId("large-error").textContent = picture.error ?? "";
  byId("large-table").hidden = picture.classes.length === 0;
  const entries = [...picture.classes].sort((a, b) => b.here - a.here || b.score - a.score);
  byId("large-classes").replaceChildren(...entries.map((entry) => makeRow(entry, picture)));
  const size = picture.size ? [["Size", `${picture.size[1]} × ${picture.size[0]} px`]] : [];
  const facts = [["File", picture.file], ...size, ["Time", secondsOf(picture.seconds)]];
  byId("large-facts").replaceChildren(...makeFacts(facts));
  showThumbnail(byId("large-image"), picture.index);
  for (const button of large.querySelectorAll("[data-move]")) {
    button.disabled = !shown[opened + Number(button.dataset.move)];
  }
}

function enlarge(place) {
  opened = place;
  drawLarge();
  if (!large.open) large.showModal();
}

function move(step) {
  if (shown[opened + step]) enlarge(opened + step);
}

/** Close the large view and focus its card, at once: the dialog's own event comes a moment later. */
function leave() {
  large.close();
  focusCard(opened);
}

// Of Escape, and of a phone's back gesture.
large.addEventListener("cancel", (event) => {
  event.preventDefault();
  leave();
});
byId("large-close").addEventListener("click", leave);
large.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-move]");
  if (button) move(Number(button.dataset.move));
  if (target === large) leave(); // the backdrop
});
large.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[plainKey(event)];
  if (step) move(step);
});

/* ── Events of the page ──────────────────────────────────────────────────────────────────────── */

const placeOf = (card) => page * PER_PAGE + [...grid.children].indexOf(card.parentElement);

function columnCount() {
  const tops = [...grid.children].map((item) => item.offsetTop);
  return tops.filter((top) => top === tops[0]).length;
}

grid.addEventListener("click", ({ target }) => {
  const card = target.closest(".card");
  if (card) enlarge(placeOf(card));
});
grid.addEventListener("keydown", (event) => {
  const down = columnCount();
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -down, ArrowDown: down };
  const place = placeOf(event.target) + steps[plainKey(event)];
  if (!shown[place]) return;
  event.preventDefault();
  focusCard(place);
});
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-step]");
  if (button) goToPage(page + Number(button.dataset.step));
});
document.addEventListener("keydown", (event) => {
  if (plainKey(event) !== "/" || large.open || event.target.matches("[type=search]")) return;
  event.preventDefault();
  byId("search").focus();
});

form.addEventListener("submit", (event) => event.preventDefault());
byId("clear").addEventListener("click", () => {
  form.reset();
  update();
});
// On the document, for the controls of the form that lie outside its element.
document.addEventListener("input", update);

// A narrow screen shows the histogram on request, a wide one always.
const wide = matchMedia("(min-width: 56rem)");
const unfold = () => (byId("score").open = wide.matches);
wide.addEventListener("change", unfold);
unfold();

drawStart();
update();
