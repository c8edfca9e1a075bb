// Values of the answer as text. Whatever the answer lacks is shown as a dash, and never as "null".

export const MISSING = "–";
const MISMATCH = 0.001; // the p-value below which shares of a sample are no accident

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function fixed(value, digits) {
  return value.toFixed(digits).replace("-", "−");
}

function signed(value, digits) {
  return (value > 0 ? "+" : "") + fixed(value, digits);
}

const forms = {
  text: (value) => String(value),
  count: (value) => whole.format(value),
  interest: (value) => fixed(value, 2),
  score: (value) => fixed(value, 3),
  signed: (value) => signed(value, 1),
  tenths: (value) => fixed(value, 1),
  rate: (value) => `${fixed(100 * value, 1)} %`,
  points: (value) => `${signed(100 * value, 1)} points`,
  ratio: (value) => (value < MISMATCH ? `below ${MISMATCH}: mismatch` : fixed(value, 3)),
  instant: (value) => `${value.slice(0, 10)} ${value.slice(11, 19)} UTC`,
  state: (value) => String(value),
  seconds(value) {
    if (value < 10) return `${fixed(value, 1)} s`;
    if (value < 120) return `${whole.format(value)} s`;
    if (value < 7200) return `${whole.format(value / 60)} min`;
    return `${whole.format(value / 3600)} h`;
  },
};

const moods = { up: "good", closed: "good", "half-open": "warn", down: "bad", open: "bad" };

/** A value in a form, or what says that there is none. */
export function shown(value, form, none = MISSING) {
  const known = value !== null && value !== undefined && !Number.isNaN(value);
  return known ? forms[form](value) : none;
}

/** What stands at a dotted place of the answer; undefined if anything on the way is missing. */
export function at(answer, place) {
  return place.split(".").reduce((value, name) => value?.[name], answer);
}

/** The members of a mapping that may be null, sorted by name, so that nothing on the page changes places. */
export function members(mapping) {
  return Object.entries(mapping ?? {}).sort(([one], [other]) => (one < other ? -1 : 1));
}

/** Set a text. If it changes and `marks`, the change is marked for a moment. */
export function say(node, text, marks = false) {
  const before = node.textContent;
  if (before === text) return;
  node.textContent = text;
  if (marks && "marked" in node.dataset && before !== "" && before !== MISSING) {
    node.classList.remove("changed");
    void node.offsetWidth; // so that the animation begins anew
    node.classList.add("changed");
  }
}

/** Fill every element that names its place in the answer. */
export function fill(answer, marks) {
  for (const node of document.querySelectorAll("[data-at]")) {
    const value = at(answer, node.dataset.at);
    const text = shown(value, node.dataset.as, node.dataset.none);
    say(node, text, marks);
    if (node.classList.contains("cut")) node.title = text;
    if (node.dataset.as === "state") node.dataset.mood = moods[value] ?? "unknown";
    if (node.dataset.as === "ratio") node.dataset.mood = value < MISMATCH ? "bad" : "unknown";
  }
}

/** Give a list a row for each item, made of its template; rows that are there already stay, so that they can move. */
export function rows(list, items, write) {
  const made = () => list.querySelector("template").content.firstElementChild.cloneNode(true);
  while (list.children.length - 1 < items.length) list.append(made());
  while (list.children.length - 1 > items.length) list.lastElementChild.remove();
  items.forEach((item, place) => write(list.children[place + 1], item, place));
}
