"""Look at a built book with a real browser, as readers will: ``check_browser.py HTML``.

Every page is opened from a server on this machine, once light and once dark, and resized from a
laptop's width to a phone's or back, with every other host blocked. A fault is printed on a line of
its own: an error in the console, a failed request or one to another host, a page that scrolls
sideways, an equation or a picture that was not drawn, a violation of WCAG 2.1 AA (by axe), a
control that the keyboard does not reach or that changes no picture. Then the page is read without a
server (``file://``), printed and read without scripts. Screenshots are kept. Several browsers share
the pages.
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
# Each theme is opened at the first of its widths and resized to the second.
THEMES = {"light": ("laptop", "phone"), "dark": ("phone", "laptop")}
READABLE = 1000  # [ms] to the first text on the screen, from a server on this machine
LOADS = 8  # of a page at most, the fastest counts: a busy machine is slow at any page
# Of the theme itself: the name of the button of its search field, and its skip link.
AXE_KNOWN = ("label-content-name-mismatch", "region")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]  # fmt: skip

# Pages without equations do not load MathJax.
SETTLED = """async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  await document.fonts.ready;
  await Promise.all([...document.images].map((i) => i.decode().catch(() => {})));
}"""
# After a new width the theme takes a moment to move its sidebars; what stays too wide is a fault.
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
PAINTED = "Math.max(0, ...performance.getEntriesByType('paint').map((e) => e.startTime))"
FOCUSABLE = "select:enabled, input:enabled, [tabindex='0']"
# What an element to explore shows: its canvases and charts, as text.
PICTURES = """(e) => JSON.stringify(
  [...e.querySelectorAll(".live canvas")].map((c) => c.toDataURL()).concat(
    [...e.querySelectorAll(".live svg")].map((s) => s.innerHTML)))"""


def find_browser():
    """Return the path of a Chromium: ``COSMOLIB_CHROMIUM``, or one of the system, or None."""
    named = os.environ.get("COSMOLIB_CHROMIUM")
    return named or next((path for path in map(shutil.which, BROWSERS) if path), None)


def serve(folder):
    """Serve `folder` on a free port of this machine, in a thread; return server and address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def handle(self):
            try:
                super().handle()
            except ConnectionError:  # the browser closed a page that it did not need any more
                pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def book_pages(html):
    """Addresses of all pages below `html`, without the one that only leads to the first."""
    found = (path.relative_to(html).as_posix() for path in sorted(Path(html).rglob("*.html")))
    return [name for name in found if name != "index.html" and not name.startswith("_static/")]


class Reader:
    """Opens pages in one browser and writes down every fault that it meets.

    Parameters
    ----------
    browser : playwright Browser
    shots : Path or None
        Folder for screenshots.
    """

    def __init__(self, browser, shots=None):
        self.browser, self.shots, self.faults = browser, shots, []
        self.painted = {}  # [ms] to the first paint of a page, each time it was loaded
        self.axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text()

    def open(self, context, address, where):
        """Open one page and return it settled; faults of loading are noted."""
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
                note(f"asks another host: {request.url[:120]}")

        page.on("request", leaves)
        page.goto(address, wait_until="load")
        page.evaluate(SETTLED)
        return page

    def note(self, where, fault):
        """Keep one fault."""
        line = f"{where}: {fault}"
        if line not in self.faults:
            self.faults.append(line)

    def look(self, base, name, theme):
        """Open one page and check it at both widths."""
        first, second = THEMES[theme]
        context = self.browser.new_context(viewport=WIDTHS[first], color_scheme=theme)
        where = f"{name} ({theme}, {first})"
        page = self.open(context, f"{base}/{name}", where)
        self.painted.setdefault(name, []).append(page.evaluate(PAINTED))
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
        self.access(page, where, without="article")  # which shows the same at any width
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
                self.note(where, f"axe {rule}, {n} places, first {target}: {why}")

    def explore(self, page, where):
        """Move every control of the page's pictures by keyboard, and see them change."""
        for element in page.locator(".explorer").all():
            name = f"{where} #{element.get_attribute('id')}"
            if not element.locator(".live").is_visible() or element.locator(".still").is_visible():
                self.note(name, "shows its still picture although scripts run")
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
        """Press Tab until all controls of the page's pictures had the focus."""
        count = """(css) => [...document.querySelectorAll(".explorer")]
          .flatMap((e) => [...e.querySelectorAll(css)])
          .map((e, i) => (e.dataset.stop = i)).length"""
        left = set(range(page.evaluate(count, FOCUSABLE)))
        if not left:
            return
        first = page.locator("[data-stop='0']")
        first.focus()
        for _ in range(len(left) + 200):
            stop = page.evaluate("() => document.activeElement.dataset.stop")
            left.discard(int(stop) if stop else None)
            if not left:
                return
            page.keyboard.press("Tab")
        self.note(where, f"{len(left)} controls are not reached with Tab")

    def read(self, html, base, name):
        """Check one page in every way."""
        for theme in THEMES:
            self.look(base, name, theme)
        context = self.browser.new_context()
        self.on_paper(context, base, name)
        self.open(context, f"file://{html}/{name}", f"{name} (file)").close()
        while min(self.painted[name]) > READABLE and len(self.painted[name]) < LOADS:
            page = self.open(context, f"{base}/{name}", f"{name} (again)")
            self.painted[name].append(page.evaluate(PAINTED))
            page.close()
        context.close()
        if name != "search.html":
            self.without_scripts(base, name)

    def on_paper(self, context, base, name):
        """Emulate printing: still pictures in place of controls, and no menus."""
        where = f"{name} (print)"
        page = self.open(context, f"{base}/{name}", where)
        page.emulate_media(media="print")
        for element in page.locator(".explorer").all():
            if element.locator(".live").is_visible() or not element.locator(".still").is_visible():
                self.note(where, "a picture to explore is printed with its controls")
        for css in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer"):
            if page.locator(css).first.is_visible():
                self.note(where, f"{css} is printed")
        if self.shots:
            path = self.shots / "print" / f"{Path(name).with_suffix('')}.pdf"
            path.parent.mkdir(parents=True, exist_ok=True)
            page.pdf(path=path, format="A4")
        page.close()

    def without_scripts(self, base, name):
        """Every picture to explore shows its still one, and the text is there."""
        context = self.browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{base}/{name}")
        for element in page.locator(".explorer").all():
            if not element.locator(".still img").is_visible():
                self.note(f"{name} (no script)", "no still picture")
        if not page.locator("article h1").first.is_visible():
            self.note(f"{name} (no script)", "no title")
        context.close()

    def entrance(self, html, base):
        """Search with and without a server, and follow the root to the first page."""
        context = self.browser.new_context()
        self.search(context, base, "search (server)")
        self.search(context, f"file://{html}", "search (file)")
        landed = context.new_page()
        landed.goto(f"{base}/index.html")
        landed.wait_for_url("**/book/index.html")
        context.close()

    def search(self, context, base, where):
        """Search for a word that the glossary has, and expect that page among the results."""
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
    """Read a book in several browsers at once.

    Parameters
    ----------
    html : path-like
        Folder of the built site.
    shots : path-like, optional
        Folder for screenshots.
    pages : list of str, optional
        Only these pages.
    cores : int
        Browsers that share the pages.

    Returns
    -------
    list of str
        All faults.
    dict
        Milliseconds to the first text of each page.

    Raises
    ------
    FileNotFoundError
        If there is no browser, or no book.
    """
    html = Path(html).resolve()
    pages = pages or book_pages(html)
    if not pages:
        raise FileNotFoundError(f"{html}: found no pages, expected a built book")
    server, base = serve(html)
    todo = deque([functools.partial(Reader.entrance, html=html, base=base)])
    todo += [functools.partial(Reader.read, html=html, base=base, name=name) for name in pages]
    shots = Path(shots) if shots else None
    with ThreadPoolExecutor(cores) as pool:
        readers = list(pool.map(lambda _: _work_off(todo, shots), range(cores)))
    server.shutdown()
    server.server_close()
    faults = sorted(fault for reader in readers for fault in reader.faults)
    painted = {name: min(ms) for reader in readers for name, ms in reader.painted.items()}
    slowest = max(painted, key=painted.get)
    if painted[slowest] > READABLE:
        faults.append(
            f"{slowest}: first text after {painted[slowest]:.0f} ms, expected {READABLE} ms or less"
        )
    return faults, painted


def _work_off(todo, shots):
    """Take tasks from a queue that other threads share; return this thread's `Reader`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without one of the system, the one that `playwright install chromium` fetched.
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        reader = Reader(browser, shots)
        while True:
            try:
                task = todo.popleft()
            except IndexError:  # all done
                break
            task(reader)
        browser.close()
    return reader


def main(arguments=None):
    """Command line; returns 0 without faults, 1 with, 2 where nothing could be read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("html", help="folder of the built site")
    parser.add_argument("--shots", help="folder for screenshots and printed pages")
    parser.add_argument("--page", action="append", help="only this page, e.g. book/index.html")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="browsers at once")
    parser.add_argument(
        "--required", action="store_true", help="a machine without a browser is a fault"
    )
    options = parser.parse_args(arguments)
    return exit_code("error", show, options)


def show(options):
    """Print the faults of a book in a browser; return whether there are any."""
    from playwright.sync_api import Error

    try:
        faults, painted = check(options.html, options.shots, options.page, options.cores)
    except Error as error:  # no browser, or none that starts
        if "Executable doesn't exist" in str(error) and not options.required:
            print("NOT CHECKED: no Chromium on this machine; install one, or set COSMOLIB_CHROMIUM")
            return 0
        raise ValueError(reason_of(error)) from None
    for line in faults:
        print(line)
    slowest = round(max(painted.values()))
    print(json.dumps({"pages": len(painted), "faults": len(faults), "first_text_ms": slowest}))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
