"""Set the repository's address: ``address.py https://github.com/OWNER/NAME`` (``""`` removes it).

``_config.yml`` is the only file that holds it. While it is empty, the book has no launch,
repository and issue buttons, no canonical links and no sitemap.
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cosmolib.study.io import atomic_path, exit_code, parse_yaml  # noqa: E402

CONFIG = ROOT / "_config.yml"
CARD = "_static/social.png"  # in the site; workflow/social_card.py draws it
_URL = re.compile(r"https://github\.com/([\w-]+)/([\w.-]+)")


def site(url):
    """Return where GitHub publishes the book of a repository, with a slash at the end.

    Raises
    ------
    ValueError
        The address is not that of a GitHub repository.
    """
    match = _URL.fullmatch(url)
    if not match:
        raise ValueError(
            f"repository address: found {url!r}, expected https://github.com/OWNER/NAME"
        )
    host = f"{match[1].lower()}.github.io"
    return f"https://{host}/" if match[2].lower() == host else f"https://{host}/{match[2]}/"


def set_address(url, config=CONFIG):
    """Write an address to ``_config.yml``; an empty one removes it.

    Raises
    ------
    ValueError
        Not an address, or the file has no line for it. Nothing is written then.
    """
    url = url.rstrip("/").removesuffix(".git")
    if url:
        site(url)
    text, lines = re.subn(
        r"(?m)^(repository:\n  url: ).*$",
        lambda match: f'{match[1]}"{url}"',
        Path(config).read_text(encoding="utf-8"),
    )
    if lines != 1:
        raise ValueError(f"{config}: found no line `url:` below `repository:`, expected one")
    with atomic_path(config) as temporary:
        temporary.write_text(text, encoding="utf-8")


def staged_config(text):
    """Return the text of ``_config.yml`` that the book is built with.

    With an address it has buttons, canonical links, a sitemap and the picture of shared links.
    """
    config = parse_yaml(text, "_config.yml")
    repository, sphinx = config["repository"], config["sphinx"]
    if repository["url"]:
        base = site(repository["url"])
        config["html"].update(baseurl=base, use_issues_button=True, use_repository_button=True)
        config["launch_buttons"] = {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
        }
        sphinx["extra_extensions"] = ["sphinx_sitemap", "sphinxext.opengraph"]
        sphinx["config"].update(
            ogp_site_name=config["title"], ogp_site_url=base, ogp_image=base + CARD
        )
        address = f" (<{repository['url']}>)"
    else:
        del config["repository"]
        for key in [key for key in sphinx["config"] if key.startswith(("ogp_", "sitemap_"))]:
            del sphinx["config"][key]
        address = ""
    config["parse"]["myst_substitutions"] = {"address": address}
    return json.dumps(config, indent=1, ensure_ascii=False)  # YAML of every version


def title(text):
    """Return the book's title, of the text of ``_config.yml``."""
    return parse_yaml(text, "_config.yml")["title"]


def main(arguments=None):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="https://github.com/OWNER/NAME")
    url = parser.parse_args(arguments).url
    return exit_code("error", set_address, url)


if __name__ == "__main__":
    sys.exit(main())
