// Asks /live each second and shows the answer.

import { interval, lines, nice, SERIES } from "./charts.js";
import { fill, members, rows, say, shown } from "./values.js";

const EVERY_MS = 1000;
const PATIENCE_MS = 5000;
const LOOK = 0.2; // the stability index from which a coordinate deserves a look

const the = (id) => document.getElementById(id);
const picker = the("reader");
// An API key with the scope admin, from #key=KEY in the address; what follows # is never sent with it.
const key = new URLSearchParams(location.hash.slice(1)).get("key") ?? "";
let reader = new URLSearchParams(location.search).get("user_id") ?? "";
let latest = null; // the answer on the page
let asking = null; // the request under way
let next = 0; // the timer of the next one

async function poll() {
  clearTimeout(next);
  asking?.abort();
  const mine = (asking = new AbortController());
  const trouble = await ask(mine.signal);
  if (mine !== asking) return; // another reader was chosen meanwhile
  warn(trouble);
  next = setTimeout(poll, EVERY_MS);
}

/** Ask once, and show the answer; returns what went wrong, or nothing. */
async function ask(signal) {
  let answer;
  try {
    const said = await fetch(`/live?user_id=${encodeURIComponent(reader)}`, {
      cache: "no-store",
      headers: key ? { Authorization: `Bearer ${key}` } : {},
      signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]),
    });
    if (said.status === 401) return "The service wants an API key: add #key=KEY to the address and load it again.";
    if (!said.ok) return `The service answers with status ${said.status}.`;
    answer = await said.json();
  } catch (error) {
    if (error instanceof SyntaxError) return "The service answers with something that is not JSON.";
    return "The service does not answer.";
  }
  try {
    show(answer);
  } catch (error) {
    return `This page cannot show what the service answers (${error.message}).`;
  }
  return "";
}

/** What the reader of the page must know first, in a banner. */
function warn(trouble) {
  const said = [];
  if (trouble) {
    const when = latest ? `The page shows what was known at ${shown(latest.as_of, "instant")}. ` : "";
    said.push(`${trouble} ${when}It asks again every second.`);
  } else {
    if (latest.health?.redis === "down")
      said.push("Redis is down. Profiles cannot be read, so articles keep the order in which they were asked for.");
    if (latest.health?.kafka === "down")
      said.push("Kafka is down. Decisions are not recorded, so nothing is learned from them.");
  }
  const banners = the("banners");
  if (said.join("\n") === [...banners.children].map((each) => each.textContent).join("\n")) return;
  banners.replaceChildren(
    ...said.map((text) => Object.assign(document.createElement("p"), { textContent: text })),
  );
}

function show(answer) {
  if (typeof answer?.as_of !== "string") throw new TypeError("as_of is missing");
  const same = latest !== null && latest.reader?.user_id === answer.reader?.user_id;
  latest = answer;
  offer(answer.readers ?? []);
  fill(answer, same);
  showReader(answer.reader, same);
  showExperiment(answer.experiment);
  showRegret(answer.simulation);
  showLoop(answer.loop);
  showStages(answer.stages);
}

/** The readers to pick from, and the one that is shown. The picker is left alone while somebody is at it. */
function offer(readers) {
  if (!reader && readers.length) choose(readers[0]);
  if (document.activeElement === picker && picker.value === reader) return;
  const offered = [...new Set(reader ? [reader, ...readers] : readers)].sort();
  if (offered.join("\n") !== [...picker.options].map((each) => each.value).join("\n"))
    picker.replaceChildren(...offered.map((each) => new Option(each, each)));
  picker.disabled = offered.length === 0;
  picker.value = reader;
}

function choose(chosen) {
  reader = chosen;
  history.replaceState(null, "", `?user_id=${encodeURIComponent(chosen)}`);
  poll();
}

/** Either a thing or the sentence that there is none. */
function either(there, thing, none) {
  the(thing).hidden = !there;
  the(none).hidden = there;
}

/** Bars of [name, value], as wide as their share of `most`. */
function bars(id, items, most, form, marks, mood = () => "") {
  rows(the(id), items, (row, [name, value]) => {
    const [said, number, track] = row.children;
    const same = said.textContent === name;
    say(said, name);
    say(number, shown(value, form), marks && same);
    track.firstElementChild.style.inlineSize = width(value, most);
    row.dataset.mood = mood(value);
  });
  either(items.length > 0, id, `no-${id}`);
}

const width = (value, most) => `${Math.min(100, Math.max(0, (100 * (value ?? 0)) / most))}%`;
const greatest = (values) => values.reduce((most, value) => Math.max(most, value ?? 0), 0);

function showReader(given, marks) {
  const interest = members(given?.interest);
  bars("interest", interest, nice(greatest(interest.map(([, value]) => value))), "interest", marks);
  const causes = {
    features: "Without features: the articles keep the order in which they were asked for.",
    journal: "Without the journal: nothing is learned from this decision.",
    stale: "From a stream that is behind.",
  };
  const cause = given?.degraded;
  say(the("no-interest"), cause === "features" ? "The profile could not be read." : "No interest is known yet.");
  the("degraded").hidden = !cause;
  say(the("degraded"), cause ? (causes[cause] ?? `Degraded: ${cause}.`) : "");
  const feed = given?.feed ?? [];
  rows(the("feed"), feed, (row, article, place) => {
    const [rank, id, category, score] = row.children;
    say(rank, String(place + 1));
    say(id, shown(article?.article_id, "text"));
    say(category, shown(article?.category, "text"));
    say(score, shown(article?.score, "score"));
  });
  the("feed").parentElement.hidden = feed.length === 0;
  the("no-feed").hidden = feed.length > 0;
}

function showExperiment(given) {
  either(Boolean(given), "trial", "no-experiment");
  if (!given) return;
  const badge = the("decided");
  say(badge, given.decided ? "decided" : "not decided yet");
  badge.dataset.mood = given.decided ? "good" : "unknown";
  rows(the("variants"), members(given.variants), (row, [name, counts]) => {
    const { decisions, clicks } = counts ?? {};
    const rate = decisions > 0 && clicks != null ? clicks / decisions : null;
    const cells = [name, shown(decisions, "count"), shown(clicks, "count"), shown(rate, "rate")];
    cells.forEach((text, place) => say(row.children[place], text));
  });
  const drawn = given.interval?.every((edge) => Number.isFinite(edge)) && Number.isFinite(given.difference);
  the("interval").toggleAttribute("hidden", !drawn);
  if (!drawn) return;
  const points = (value) => shown(value, "points");
  const [low, high] = given.interval.map(points);
  const label = `Difference ${points(given.difference)}, always-valid interval from ${low} to ${high}`;
  interval(the("interval"), given.interval, given.difference, points, label);
}

function showRegret(given) {
  const series = members(given?.regret).map(([name, values]) => [name, values ?? []]);
  const drawn = series.length > 0 && (given.decisions ?? []).length > 0;
  either(drawn, "simulation", "no-regret");
  if (!drawn) return;
  const last = ([, values]) => shown(values.at(-1), "tenths");
  rows(the("legend"), series, (row, each, place) => {
    row.firstElementChild.className = `series-${place % SERIES}`;
    say(row.children[1], each[0]);
    say(row.children[2], last(each));
  });
  const said = series.map((each) => `${each[0]} ${last(each)}`).join(", ");
  const label = `Regret after ${shown(given.decisions.at(-1), "count")} decisions: ${said}`;
  const strokes = series.map(([, values], place) => [place % SERIES, values.slice(0, given.decisions.length)]);
  lines(the("lines"), given.decisions, strokes, "decisions of the variant", label);
}

function showLoop(given) {
  const told = [["predicted", given?.predicted], ["observed", given?.observed]].filter(([, value]) => value != null);
  bars("clicks", told, nice(greatest(told.map(([, value]) => value))), "score", false);
  the("alarm").hidden = !given?.alarm;
  say(the("alarm"), given?.alarm ?? "");
  const psi = members(given?.psi);
  const most = Math.max(LOOK, greatest(psi.map(([, value]) => value)));
  bars("psi", psi, most, "score", false, (value) => (value > LOOK ? "bad" : ""));
}

function showStages(given) {
  const stages = Object.entries(given ?? {});
  const most = nice(greatest(stages.map(([, each]) => each?.p99)));
  rows(the("stages"), stages, (row, [name, each]) => {
    const [said, p50, p99, picture] = row.children;
    say(said, name);
    say(p50, shown(each?.p50, "tenths"));
    say(p99, shown(each?.p99, "tenths"));
    const [far, near] = picture.firstElementChild.children;
    far.style.inlineSize = width(each?.p99, most);
    near.style.inlineSize = width(each?.p50, most);
  });
  the("stages").parentElement.hidden = stages.length === 0;
  the("no-stages").hidden = stages.length > 0;
}

picker.addEventListener("change", () => choose(picker.value));
poll();
