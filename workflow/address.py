"""Where the repository and its book are: one place, `_config.yml`, unless GitHub says otherwise.

A build by GitHub Actions takes the repository and the branch or tag of that very build, so that the
buttons of a fork's or a tag's book open that fork's or that tag's notebooks.
``address.py`` prints the addresses and refuses a tag that the repository was not prepared for.
"""

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "workflow")]

from check_site import Page  # noqa: E402
from publish import RELEASE  # noqa: E402

from cosmolib.files import parse_yaml, read_yaml  # noqa: E402

CARD = "_static/social.png"  # in the site; workflow/social_card.py draws it
_URL = re.compile(r"(https://[\w.-]+)/([\w-]+)/([\w.-]+)")


@dataclass(frozen=True)
class Address:
    """A repository at one branch or tag."""

    url: str  # https://HOST/OWNER/NAME
    ref: str  # branch or tag
    version: str  # folder of the published book: "latest", or the tag of a release

    @property
    def site(self):
        """Where all versions of the book are published, with a slash at the end."""
        _, owner, name = _URL.fullmatch(self.url).groups()
        host = f"{owner.lower()}.github.io"
        return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"

    @property
    def canonical(self):
        """The one address under which a search engine should list this book's pages.

        A release names ``stable``: that is where the same pages, or their newer text, always are,
        and old releases do not compete with it. The branch names itself, ``latest``: its numbers
        are other ones, and before the first release there is nothing else.
        """
        return self.site + ("latest/" if self.version == "latest" else "stable/")


def committed(config=ROOT / "_config.yml"):
    """Return the address that a configuration of the book names, as (url, branch or tag).

    Raises
    ------
    ValueError
        It names none: says what was found.
    """
    found = read_yaml(config).get("repository")
    if not isinstance(found, dict) or not _URL.fullmatch(str(found.get("url"))):
        raise ValueError(
            f"{config}: found repository {found!r}, expected url: https://HOST/OWNER/NAME"
        )
    if not isinstance(found.get("branch"), str):
        raise ValueError(f"{config}: found repository {found!r}, expected branch: a branch or tag")
    return found["url"], found["branch"]


def address(environ=None, config=ROOT / "_config.yml"):
    """Return the `Address` of this build.

    Parameters
    ----------
    environ : mapping, optional
        Of a build by GitHub Actions: ``GITHUB_REPOSITORY`` and ``GITHUB_SERVER_URL``,
        ``GITHUB_REF``, ``GITHUB_REF_NAME``; ``os.environ`` by default.
    config : path-like
        What holds elsewhere.

    Raises
    ------
    ValueError
        An address that is none, or a tag that is no release.
    """
    environ = os.environ if environ is None else environ
    url, ref = committed(config)
    if environ.get("GITHUB_REPOSITORY"):
        server = environ.get("GITHUB_SERVER_URL") or "https://github.com"
        url = f"{server}/{environ['GITHUB_REPOSITORY']}"
        if not _URL.fullmatch(url):
            raise ValueError(f"GITHUB_REPOSITORY: found {url!r}, expected https://HOST/OWNER/NAME")
        full, name = environ.get("GITHUB_REF", ""), environ.get("GITHUB_REF_NAME", "")
        # The merge of a pull request has a name (12/merge) that nobody can open.
        if name and full.startswith(("refs/heads/", "refs/tags/")):
            ref = name
        if full.startswith("refs/tags/"):
            if not RELEASE.fullmatch(name):
                raise ValueError(f"tag: found {name!r}, expected vX.Y.Z")
            return Address(url, ref, name)
    return Address(url, ref, "latest")


def check_release(here, root=ROOT):
    """Raise ValueError if a tag's own files do not say that they are that release."""
    if here.version == "latest":
        return
    version = str(read_yaml(Path(root) / "CITATION.cff")["version"])
    _, ref = committed(Path(root) / "_config.yml")
    if (f"v{version}", ref) != (here.version, here.version):
        raise ValueError(
            f"tag {here.version}: found version {version} and repository branch {ref}, expected "
            f"both to be it; run `python workflow/release.py {here.version[1:]}` before the tag"
        )


def staged_config(text, here):
    """Return the text of ``_config.yml`` with this build's addresses: buttons, canonical, card."""
    config = parse_yaml(text, "_config.yml")
    # Binder wants a branch's slash as %2F.
    config["repository"].update(url=here.url, branch=quote(here.ref, safe=""))
    page = config.setdefault("html", {})
    page["baseurl"] = here.canonical
    page["extra_footer"] = (
        f"{page.get('extra_footer', '')}\n<p>Version <em>{here.version}</em> of this book; "
        f'<a href="{here.site}versions.html">all versions</a>.</p>'
    )
    sphinx = config["sphinx"]["config"]
    sphinx.update(ogp_site_url=here.canonical, ogp_image=here.canonical + CARD)
    return json.dumps(config, indent=1, ensure_ascii=False)  # YAML of every version


def title(text):
    """Return the book's title, of the text of ``_config.yml``."""
    return parse_yaml(text, "_config.yml")["title"]


def launch_targets(html_text):
    """Return the path in the repository of every notebook that a page's buttons open.

    Binder names it in ``urlpath=lab/tree/PATH``, Colab in ``/github/OWNER/NAME/blob/REF/PATH``.
    """
    targets = []
    for link in map(urlsplit, Page(html_text).links):
        if link.netloc == "mybinder.org":
            (path,) = parse_qs(link.query).get("urlpath", [""])
            targets.append(path.removeprefix("lab/tree/"))
        elif link.netloc == "colab.research.google.com":
            match = re.fullmatch(r"/github/[^/]+/[^/]+/blob/[^/]+/(.+)", link.path)
            targets.append(unquote(match.group(1)) if match else link.path)
    return targets


def main():
    """Print the addresses of this build; returns the exit code."""
    try:
        here = address()
        check_release(here)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"repository {here.url}\nref        {here.ref}\nversion    {here.version}")
    print(f"site       {here.site}\ncanonical  {here.canonical}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
