// Live pages: when the journal changes, the part #live of this page is loaded again and put in place.
"use strict";
(() => {
  const live = document.getElementById("live");
  const wanted = live && live.dataset.live;
  if (!wanted || !window.EventSource) return;
  const news = document.getElementById("news");
  const PAUSE_MS = 1000;
  let source = null, timer = 0, last = 0, again = false, loading = false;

  const concerns = (data) => {
    if (wanted === "all") return true;
    if (wanted === "training") return false;
    try { return JSON.parse(data).series.includes(Number(wanted)); } catch { return false; }
  };

  const typing = () => {
    const at = document.activeElement;
    return at && live.contains(at) && /^(INPUT|SELECT|TEXTAREA)$/.test(at.tagName);
  };

  const replace = (fresh) => {
    const at = document.activeElement;
    const id = at && live.contains(at) ? at.id : "";
    const link = at && live.contains(at) && at.getAttribute("href");
    const open = new Map([...live.querySelectorAll("details[id]")].map((d) => [d.id, d.open]));
    live.replaceChildren(...fresh.childNodes);
    for (const [name, isOpen] of open) {
      const part = document.getElementById(name);
      if (part) part.open = isOpen;
    }
    const back = (id && document.getElementById(id)) ||
      (link && [...live.querySelectorAll("a")].find((a) => a.getAttribute("href") === link));
    if (back) back.focus({ preventScroll: true });
    news.textContent = "Updated " + new Date().toLocaleTimeString("en-GB");
  };

  const refresh = async () => {
    timer = 0;
    if (typing()) { again = true; return; }
    loading = true;
    last = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { "X-Refresh": "1" }, credentials: "same-origin" });
      if (answer.status === 401) { location.assign("/login"); return; }
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
        if (fresh && !typing()) { live.dataset.last = fresh.dataset.last; replace(fresh); }
      }
    } catch { news.textContent = "The node does not respond; this page is not up to date."; } finally {
      loading = false;
      if (again && !typing()) { again = false; soon(); }
    }
  };

  const soon = () => {
    if (loading) { again = true; return; }
    if (!timer) timer = setTimeout(refresh, Math.max(100, last + PAUSE_MS - Date.now()));
  };

  live.addEventListener("focusout", () => { if (again) { again = false; soon(); } });

  const listen = () => {
    source = new EventSource("/live?last=" + encodeURIComponent(live.dataset.last || ""));
    source.addEventListener("changed", (event) => { if (concerns(event.data)) soon(); });
    // Curves grow in files, which have no numbers: after a pause the page is loaded again in any case.
    if (wanted === "training") source.addEventListener("training", soon);
    source.addEventListener("error", () => { news.textContent = "Connecting again …"; });
    source.addEventListener("ready", () => { news.textContent = "Live."; if (wanted === "training" && last) soon(); });
  };

  // A browser allows six connections to one host: a hidden page gives its own back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { if (source) { source.close(); source = null; } }
    else if (!source) { listen(); soon(); }
  });
  if (!document.hidden) listen();
})();
