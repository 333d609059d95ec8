"use strict";
// Asks this worker every two seconds and draws what it answers. Texts are set as texts, never as
// markup; what was seen before is kept here, and only while the page is open.
const EVERY_MS = 2000, TOKEN = "claimgate-token";
// A chart shows so long at most and so long at least; a longer silence than this is a gap.
const SPAN_MS = 240000, SHORTEST_MS = 60000, GAP_MS = 15000;
const at = (id) => document.getElementById(id);
const seen = {};

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const number = (value, digits = 0) =>
  value == null ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits });
const milliseconds = (seconds) => seconds == null ? "–" : number(seconds * 1000, 1) + " ms";
const clock = (time) => time.slice(0, 10) + " " + time.slice(11, 23).replace("Z", "");
function since(seconds) {
  if (!seconds) return "–";
  if (seconds < 60) return number(seconds, 1) + " s";
  if (seconds < 3600) return number(seconds / 60, 1) + " min";
  return number(seconds / 3600, 1) + " h";
}

// The values of the last four minutes, by name: pairs of a time and a value, null where there is none.
function keep(name, value, now) {
  const values = (seen[name] || []).filter(([time]) => now - time < SPAN_MS);
  values.push([now, value]);
  return (seen[name] = values);
}

// A line from 0 to the highest value, in a box of 100 by 30. It has gaps where nothing is known.
function path(values, top, now) {
  const span = Math.min(Math.max(now - values[0][0], SHORTEST_MS), SPAN_MS);
  const x = (time) => (100 * (1 - (now - time) / span)).toFixed(1);
  const y = (value) => (29 - (top > 0 ? (28 * value) / top : 0)).toFixed(1);
  let last = null, drawn = "";
  for (const [time, value] of values) {
    if (value == null) {
      last = null;
      continue;
    }
    const is_on = last !== null && time - last < GAP_MS;
    drawn += is_on ? `L${x(time)} ${y(value)}` : `M${x(time)} ${y(value)}h0`;
    last = time;
  }
  return drawn;
}

// Keeps a value, and draws those of the last four minutes.
function chart(name, value, shown, now = Date.now()) {
  const values = keep(name, value, now);
  const known = values.map(([, of]) => of).filter((of) => of != null);
  const top = Math.max(...known, 0);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path(values, top, now));
  svg.setAttribute("viewBox", "0 0 100 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const most = known.length ? shown(top) : "–";
  svg.setAttribute("aria-label", `${name}, last four minutes: now ${shown(value)}, at most ${most}`);
  svg.append(line);
  return svg;
}

function figure(name, value, shown) {
  const card = element("div", undefined, "figure");
  card.append(element("span", name, "quiet"), element("b", shown(value)), chart(name, value, shown));
  return card;
}

function table(into, names, rows, is_idle = () => false) {
  const head = element("thead"), line = element("tr"), body = element("tbody");
  for (const name of names) line.append(Object.assign(element("th", name), { scope: "col" }));
  head.append(line);
  rows.forEach((cells, number) => {
    const row = element("tr", undefined, is_idle(number) ? "idle" : "");
    cells.forEach((cell, index) => {
      const td = element("td");
      td.dataset.of = names[index];
      td.append(cell instanceof Node ? cell : element("span", cell));
      row.append(td);
    });
    body.append(row);
  });
  into.replaceChildren(head, body);
}

async function ask(path) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: "Bearer " + token } : {};
  const answer = await fetch(path, { headers, cache: "no-store", credentials: "omit" });
  const is_login = answer.status === 401;
  at("login").hidden = !is_login;
  at("shown").hidden = is_login;
  if (is_login) {
    if (sessionStorage.getItem(TOKEN) === token) sessionStorage.removeItem(TOKEN);
    throw new Error("the token is asked for");
  }
  if (!answer.ok) throw new Error((await answer.text()).trim() || "HTTP " + answer.status);
  return answer.json();
}

function state(word, className) {
  at("state").textContent = word;
  at("state").className = className;
}

// Nothing to see: on a telephone such an API takes two lines.
const is_idle = (api) =>
  !(api.denied + api.open_breakers + api.calls + api.attempts_per_second + api.waiting + api.deferred);

function show_status(report) {
  const worker = report.workers[0], of = worker.figures;
  const is_well = report.wrong.length === 0;
  state(is_well ? "✓ ready" : worker.ready ? "▲ ready, with a fault" : "✕ not ready", is_well ? "good" : "bad");
  at("wrong").replaceChildren(...report.wrong.map((wrong) => element("li", "✕ " + wrong)));
  if (!of) return;
  const rate = (value) => (report.seconds > 0 ? value : null);
  const per_second = (value) => (value == null ? "–" : number(value, 1) + " /s");
  at("about").textContent = `${of.version}, commit ${of.commit} · ${number(of.claims_partitions)} + `
    + `${number(of.retry_partitions)} partitions · ${number(of.postgres_connections_in_use)} of `
    + `${number(of.postgres_connections)} connections to Postgres in use`
    + (of.intake_paused ? " · intake is paused" : "");
  const failures = Object.values(of.failures).reduce((all, of) => all + of.total, 0);
  at("figures").replaceChildren(
    figure("Decided", rate(of.decided_per_second), per_second),
    figure("Taken on", rate(of.admitted_per_second), per_second),
    figure("Lag", of.lag, number),
    figure("Undecided", of.undecided, number),
    figure("Oldest", of.oldest_seconds, since),
    figure("Failures", failures, number),
  );
  table(at("apis"), ["API", "breaker", "calls, quota", "answers", "p50", "p99", "p99, 4 min", "errors", "waiting", "deferred"],
    report.apis.map((api) => [
      api.api,
      api.denied ? element("span", "✕ access denied", "bad")
        : api.open_breakers ? element("span", "▲ open", "odd") : element("span", "✓ closed", "good"),
      `${number(api.calls)} of ${number(api.calls_limit)}`,
      per_second(rate(api.attempts_per_second)),
      milliseconds(api.p50_seconds),
      milliseconds(api.p99_seconds),
      chart("p99 of " + api.api, api.p99_seconds, milliseconds),
      per_second(rate(api.errors_per_second)),
      number(api.waiting),
      number(api.deferred),
    ]), (index) => is_idle(report.apis[index]));
}

const DECISIONS = { approve: ["✓", "good"], challenge: ["?", "odd"], review: ["▲", "odd"], reject: ["✕", "bad"] };
function decision(of, in_force = of) {
  const [sign, className] = DECISIONS[in_force] || ["", ""];
  const was = of === in_force ? "" : `, was ${of}`;
  return element("span", `${sign} ${in_force}${was}`, className);
}
const why = (reasons) => reasons.map((reason) =>
  [reason.code.replaceAll("_", " "), reason.value, reason.name && `(${reason.name})`].filter((part) => part != null && part !== "").join(" ")).join(", ");

function link(claim_id) {
  const to = element("a", claim_id);
  to.href = "#" + encodeURIComponent(claim_id);
  return to;
}

function show_decisions(rows) {
  table(at("decisions"), ["decided (UTC)", "claim", "kind", "decision", "why", "attempts"], rows.map((row) => [
    clock(row.decided_at), link(row.claim_id), row.kind, decision(row.decision, row.decision_in_force),
    why(row.reasons), number(row.attempts),
  ]));
}

function step(of) {
  switch (of.step) {
    case "received": return `received: record ${of.source}` + (of.seal == null ? "" : `, under seal ${of.seal}`);
    case "called": return `asked ${of.api}, attempt ${of.attempt}: `
      + [of.outcome, of.reason, of.http_status && "HTTP " + of.http_status,
        of.provider_code != null && "code " + of.provider_code, number(of.latency_ms, 1) + " ms"].filter(Boolean).join(", ");
    case "decided": return `decided: ${of.decision}, after ${of.attempt} ${of.attempt === 1 ? "attempt" : "attempts"}`;
    case "recorded": return "recorded" + (of.seal == null ? "" : ` under seal ${of.seal}`) + "; published next";
    case "revised": return `revised by a person: ${of.decision}, revision ${of.attempt}`;
    default: return of.step;
  }
}

async function show_claim() {
  let claim_id = location.hash.slice(1);
  try { claim_id = decodeURIComponent(claim_id); } catch { /* as it stands */ }
  if (!claim_id) return at("claim").replaceChildren();
  at("claim-id").value = claim_id;
  const asked = location.hash;
  let story, problem;
  try {
    story = await ask(`claims/${encodeURIComponent(claim_id)}.json`);
  } catch (error) {
    problem = element("p", `${claim_id}: ${error.message}`);
  }
  // Another claim was asked for meanwhile, whose answer may have come first.
  if (location.hash !== asked) return;
  if (problem) return at("claim").replaceChildren(problem);
  const facts = element("dl"), steps = element("ol"), of = story.claim;
  const cut = "Older steps are left out: claimgate audit claim shows all.";
  const fact = (name, value) => {
    if (value == null || value === "") return;
    const dd = element("dd");
    dd.append(value);
    facts.append(element("dt", name), dd);
  };
  fact("claim", story.claim_id);
  fact("decision", of ? decision(of.decision, of.decision_in_force) : "none yet");
  if (of) {
    fact("why", why(of.reasons));
    fact("kind", of.kind);
    fact("claimed (UTC)", clock(of.claimed_at));
    fact("account", [of.account_type, of.account_id].filter(Boolean).join(" "));
    fact("network", of.network);
    fact("reward", [of.merchant, of.goods].filter(Boolean).join(", "));
    fact("policy", of.policy_version);
    fact("trace", of.trace_id);
  }
  for (const of of story.steps) {
    const line = element("li");
    line.append(element("span", clock(of.at) + "  ", "quiet"), step(of));
    steps.append(line);
  }
  at("claim").replaceChildren(facts, ...(story.cut ? [element("p", cut, "quiet")] : []), steps);
}

async function look() {
  if (!document.hidden) {
    try {
      show_status(await ask("status.json"));
      try {
        show_decisions(await ask("decisions.json"));
        at("unanswered").textContent = "";
      } catch (error) {
        at("unanswered").textContent = error.message;
      }
    } catch (error) {
      state("✕ " + error.message, "bad");
    }
  }
  setTimeout(look, EVERY_MS);
}

at("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, at("token").value.trim());
  at("token").value = "";
  ask("status.json").then(show_status).then(show_claim).catch((error) => state("✕ " + error.message, "bad"));
});
at("look-up").addEventListener("submit", (event) => {
  event.preventDefault();
  const hash = "#" + encodeURIComponent(at("claim-id").value.trim());
  if (hash === location.hash) show_claim(); else location.hash = hash;
});
addEventListener("hashchange", show_claim);
show_claim();
look();
