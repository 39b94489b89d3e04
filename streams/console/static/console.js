// Keeps a page current: at each tick the page is fetched anew, and what has changed in it is put in place.
"use strict";
(() => {
  const pause = document.getElementById("pause");
  const contact = document.getElementById("contact");
  let paused = false;
  let fetching = false;

  // What somebody is in, or has marked, stays as it is until they leave it.
  const isInUse = (element) => {
    if (element.contains(document.activeElement)) return true;
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && selection.rangeCount && element.contains(selection.anchorNode));
  };

  const renew = async () => {
    if (paused || fetching || document.hidden) return;
    fetching = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.title = fresh.title;
      for (const old of document.querySelectorAll("[data-live]")) {
        const now = fresh.getElementById(old.id);
        if (now && now.outerHTML !== old.outerHTML && !isInUse(old)) old.replaceWith(document.adoptNode(now));
      }
      contact.hidden = true;
    } catch {
      contact.hidden = false;
    } finally {
      fetching = false;
    }
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) renew();
  });
  document.addEventListener("visibilitychange", renew);
  if (document.body.dataset.still !== undefined) {
    pause.hidden = true;
    return;
  }
  const events = new EventSource("/events");
  events.addEventListener("tick", renew);
  events.addEventListener("error", () => { contact.hidden = false; });
})();
