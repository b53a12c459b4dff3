"""Check a built book in a real browser: ``check_browser.py HTML``.

A local server serves the pages, and every other host is blocked. Each page is opened in light and
in dark mode, at the width of a laptop and of a phone; then it is opened from disk (``file://``),
printed, and opened without JavaScript. Each fault is printed on a separate line: an error in the
console, a failed request or one to another host, a page that scrolls sideways, an equation or a
picture that was not drawn, a violation of WCAG 2.1 AA (found by axe), a control that the Tab key
does not reach or that changes no picture.
"""

import argparse
import functools
import http.server
import json
import os
import shutil
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cosmolib.study.io import exit_code, reason_of  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = {"laptop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
# A page is opened at the first width of a theme, then resized to the second.
THEMES = {"light": ("laptop", "phone"), "dark": ("phone", "laptop")}
# Faults of the theme: the name of its search button, and its skip link.
AXE_KNOWN = ("label-content-name-mismatch", "region")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]  # fmt: skip

# Wait for equations, fonts and pictures. Pages without equations do not load MathJax.
SETTLED = """async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  await document.fonts.ready;
  await Promise.all([...document.images].map((i) => i.decode().catch(() => {})));
}"""
# Wait up to 5 s until the theme has moved its sidebars after a change of width.
RESIZED = """async () => {
  const root = document.documentElement, end = performance.now() + 5000;
  do await new Promise(requestAnimationFrame);
  while (root.scrollWidth > root.clientWidth && performance.now() < end);
}"""
LAYOUT = """() => {
  const root = document.documentElement, wide = [];
  const over = root.scrollWidth - root.clientWidth;
  if (over > 0) for (const e of document.querySelectorAll("body *")) {
    const box = e.getBoundingClientRect();
    if (box.width && box.right > root.clientWidth + 0.5) wide.push(e.tagName.toLowerCase() +
      (e.id ? "#" + e.id : "") + [...e.classList].map((c) => "." + c).join(""));
  }
  const math = [...document.querySelectorAll("span.math, div.math")];
  const start = (e) => e.textContent.trim().slice(0, 50);
  return {
    over, wide: wide.slice(0, 3),
    undrawn: math.filter((e) => !e.querySelector("mjx-container svg path, mjx-container svg use"))
      .map(start),
    wrong: [...document.querySelectorAll("[data-mjx-error], mjx-merror")].map(start),
    empty: [...document.images].filter((i) => !i.naturalWidth).map((i) => i.src.slice(0, 80)),
    raw: [...document.querySelectorAll("article p, article li, article td")].filter((e) =>
      /\\{(glue|cite|numref|term|ref|eq|doc)[:}]/.test(e.textContent)).map(start),
    };
}"""
FOCUSABLE = "select:enabled, input:enabled, [tabindex='0']"
# The canvases and charts of an interactive figure, as text.
PICTURES = """(e) => JSON.stringify(
  [...e.querySelectorAll(".live canvas")].map((c) => c.toDataURL()).concat(
    [...e.querySelectorAll(".live svg")].map((s) => s.innerHTML)))"""


def find_browser():
    """Return the path of a Chromium (``COSMOLIB_CHROMIUM`` or a system one), or None."""
    named = os.environ.get("COSMOLIB_CHROMIUM")
    return named or next((path for path in map(shutil.which, BROWSERS) if path), None)


def serve(folder):
    """Serve `folder` on a free local port, in a thread; return the server and its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def handle(self):
            try:
                super().handle()
            except ConnectionError:  # the browser closed a page early
                pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def book_pages(html):
    """Return the addresses of all pages below `html`, without the one that only redirects."""
    found = (path.relative_to(html).as_posix() for path in sorted(Path(html).rglob("*.html")))
    return [name for name in found if name != "index.html" and not name.startswith("_static/")]


class Reader:
    """Open pages in one browser and collect their faults.

    Parameters
    ----------
    browser : playwright Browser
    shots : Path or None
        Folder for screenshots.
    """

    def __init__(self, browser, shots=None):
        self.browser, self.shots, self.faults = browser, shots, []
        self.axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text()

    def open(self, context, address, where):
        """Open one page, note the faults of loading it, and return it fully drawn."""
        page = context.new_page()
        note = functools.partial(self.note, where)
        own = address.split("/")[2]
        page.on("console", lambda m: m.type == "error" and note(f"console: {m.text}"))
        page.on("pageerror", lambda error: note(f"script: {error}"))
        page.on("requestfailed", lambda r: note(f"request failed: {r.url[:120]}"))
        page.on("response", lambda r: r.status >= 400 and note(f"status {r.status}: {r.url}"))

        def leaves(request):
            scheme, _, rest = request.url.partition("://")
            if scheme not in ("data", "blob") and rest.split("/")[0] != own:
                note(f"request to another host: {request.url[:120]}")

        page.on("request", leaves)
        page.goto(address, wait_until="load")
        page.evaluate(SETTLED)
        return page

    def note(self, where, fault):
        """Keep a fault, once."""
        line = f"{where}: {fault}"
        if line not in self.faults:
            self.faults.append(line)

    def look(self, base, name, theme):
        """Open one page and check it at both widths."""
        first, second = THEMES[theme]
        context = self.browser.new_context(viewport=WIDTHS[first], color_scheme=theme)
        where = f"{name} ({theme}, {first})"
        page = self.open(context, f"{base}/{name}", where)
        self.layout(page, where)
        if self.shots:
            path = self.shots / f"{theme}-{first}" / f"{Path(name).with_suffix('')}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=path, full_page=True)
        self.access(page, where)
        self.explore(page, where)
        page.set_viewport_size(WIDTHS[second])
        page.evaluate(RESIZED)
        where = f"{name} ({theme}, {second})"
        self.layout(page, where)
        self.access(page, where, without="article")  # the article is the same at any width
        context.close()

    def layout(self, page, where):
        """Check that nothing is too wide, and that equations and pictures are drawn."""
        found = page.evaluate(LAYOUT)
        if found["over"] > 0:
            self.note(where, f"scrolls {found['over']} px sideways: {', '.join(found['wide'])}")
        for key, fault in (
            ("undrawn", "equation not drawn"), ("wrong", "equation in error"),
            ("empty", "picture not loaded"), ("raw", "markup not rendered"),
        ):  # fmt: skip
            for text in found[key]:
                self.note(where, f"{fault}: {text}")

    def access(self, page, where, without=None):
        """Run axe with its default rules, which include those of WCAG 2.1 A and AA."""
        page.evaluate(self.axe)
        rules = """async (without) => {
          const found = await axe.run({ exclude: without ? [without] : [] },
            { resultTypes: ["violations"] });
          return found.violations.map((v) => [v.id, v.nodes.length,
            String(v.nodes[0].target), v.nodes[0].failureSummary.slice(0, 160)]);
        }"""
        for rule, n, target, why in page.evaluate(rules, without):
            if rule not in AXE_KNOWN:
                why = why.replace("\n", " ")
                self.note(where, f"axe {rule} at {n} places, first {target}: {why}")

    def explore(self, page, where):
        """Move every control of the interactive figures by keyboard; the figure must change."""
        for element in page.locator(".explorer").all():
            name = f"{where} #{element.get_attribute('id')}"
            if not element.locator(".live").is_visible() or element.locator(".still").is_visible():
                self.note(name, "shows the static picture although scripts run")
                continue
            for control in element.locator("select:enabled, input").all():
                before = element.evaluate(PICTURES)
                slider = control.evaluate("(e) => e.type === 'range'")
                for key in ("ArrowRight",) * 2 + ("ArrowLeft",) * 5 if slider else ("ArrowDown",):
                    control.press(key)
                    if element.evaluate(PICTURES) != before:
                        break
                else:
                    self.note(name, f"{control.get_attribute('data-key')}: changes no picture")
        self.tab_through(page, where)

    def tab_through(self, page, where):
        """Press Tab until all controls of the interactive figures have had the focus."""
        count = """(css) => [...document.querySelectorAll(".explorer")]
          .flatMap((e) => [...e.querySelectorAll(css)])
          .map((e, i) => (e.dataset.stop = i)).length"""
        left = set(range(page.evaluate(count, FOCUSABLE)))
        if left:
            page.locator("[data-stop='0']").focus()
        for _ in range(len(left) + 200):
            if not left:
                return
            stop = page.evaluate("() => document.activeElement.dataset.stop")
            left.discard(int(stop) if stop else None)
            page.keyboard.press("Tab")
        self.note(where, f"{len(left)} controls are not reached with Tab")

    def read(self, html, base, name):
        """Check one page on screen, in print, from disk and without scripts."""
        for theme in THEMES:
            self.look(base, name, theme)
        context = self.browser.new_context()
        self.on_paper(context, base, name)
        self.open(context, f"file://{html}/{name}", f"{name} (file)").close()
        context.close()
        if name != "search.html":
            self.without_scripts(base, name)

    def on_paper(self, context, base, name):
        """Emulate printing, which must show static pictures and no menus."""
        where = f"{name} (print)"
        page = self.open(context, f"{base}/{name}", where)
        page.emulate_media(media="print")
        for element in page.locator(".explorer").all():
            if element.locator(".live").is_visible() or not element.locator(".still").is_visible():
                self.note(where, "an interactive figure is printed with its controls")
        for css in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer"):
            if page.locator(css).first.is_visible():
                self.note(where, f"{css} is printed")
        if self.shots:
            path = self.shots / "print" / f"{Path(name).with_suffix('')}.pdf"
            path.parent.mkdir(parents=True, exist_ok=True)
            page.pdf(path=path, format="A4")
        page.close()

    def without_scripts(self, base, name):
        """Check that a page without scripts shows its text and static pictures."""
        context = self.browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{base}/{name}")
        for element in page.locator(".explorer").all():
            if not element.locator(".still img").is_visible():
                self.note(f"{name} (no script)", "no static picture")
        if not page.locator("article h1").first.is_visible():
            self.note(f"{name} (no script)", "no title")
        context.close()

    def entrance(self, html, base):
        """Check the search, with and without a server, and the redirection to the first page."""
        context = self.browser.new_context()
        self.search(context, base, "search (server)")
        self.search(context, f"file://{html}", "search (file)")
        landed = context.new_page()
        landed.goto(f"{base}/index.html")
        landed.wait_for_url("**/book/index.html")
        context.close()

    def search(self, context, base, where):
        """Search for a term of the glossary; there must be a result."""
        page = self.open(context, f"{base}/search.html?q=overdensity", where)
        try:
            page.wait_for_selector("#search-results li a", timeout=20_000)
            page.wait_for_function(
                "() => document.querySelector('#search-results p.search-summary')"
            )
            page.wait_for_timeout(500)  # summaries arrive one by one
        except Exception:  # playwright's TimeoutError
            self.note(where, "search finds nothing")
        page.close()


def check(html, shots=None, pages=None, cores=2):
    """Check a book in several browsers at once.

    Parameters
    ----------
    html : path-like
        Folder of the built site.
    shots : path-like, optional
        Folder for screenshots.
    pages : list of str, optional
        Check only these pages.
    cores : int
        Number of browsers.

    Returns
    -------
    faults : list of str
    n_pages : int

    Raises
    ------
    FileNotFoundError
        If the folder contains no book.
    """
    html = Path(html).resolve()
    pages = pages or book_pages(html)
    if not pages:
        raise FileNotFoundError(f"{html} contains no pages; build the book first")
    server, base = serve(html)
    todo = deque([functools.partial(Reader.entrance, html=html, base=base)])
    todo += [functools.partial(Reader.read, html=html, base=base, name=name) for name in pages]
    shots = Path(shots) if shots else None
    with ThreadPoolExecutor(cores) as pool:
        readers = list(pool.map(lambda _: _process_tasks(todo, shots), range(cores)))
    server.shutdown()
    server.server_close()
    faults = sorted(fault for reader in readers for fault in reader.faults)
    return faults, len(pages)


def _process_tasks(todo, shots):
    """Process tasks from a queue shared by all threads; return this thread's `Reader`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without a system browser, playwright uses the one of `playwright install chromium`.
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        reader = Reader(browser, shots)
        while True:
            try:
                task = todo.popleft()
            except IndexError:  # the queue is empty
                break
            task(reader)
        browser.close()
    return reader


def main(arguments=None):
    """Run the command line; return 0 without faults, 1 with faults, 2 if nothing was checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("html", help="folder of the built site")
    parser.add_argument("--shots", help="folder for screenshots and printed pages")
    parser.add_argument("--page", action="append", help="only this page, such as book/index.html")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="number of browsers")
    parser.add_argument("--required", action="store_true", help="fail if there is no browser")
    options = parser.parse_args(arguments)
    return exit_code("error", show, options)


def show(options):
    """Print the faults of a book; return whether there are any."""
    from playwright.sync_api import Error

    try:
        faults, n_pages = check(options.html, options.shots, options.page, options.cores)
    except Error as error:  # no browser, or it does not start
        if "Executable doesn't exist" in str(error) and not options.required:
            print("NOT CHECKED: no Chromium was found; install one or set COSMOLIB_CHROMIUM")
            return 0
        raise ValueError(reason_of(error)) from None
    for line in faults:
        print(line)
    print(json.dumps({"pages": n_pages, "faults": len(faults)}))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
