"""Set the repository's address: ``address.py https://github.com/OWNER/NAME`` (``""`` removes it).

Only ``_config.yml`` holds it. Without an address, the book has no launch, repository and issue
buttons, no canonical links and no sitemap.
"""

import argparse
import copy
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cosmolib.study.io import atomic_path, exit_code  # noqa: E402

CONFIG = ROOT / "_config.yml"
CARD = "_static/social.png"  # in the site; workflow/social_card.py draws it
_URL = re.compile(r"https://github\.com/([\w-]+)/([\w.-]+)")


def site(url):
    """Return the address at which GitHub publishes the book of a repository."""
    match = _URL.fullmatch(url)
    if not match:
        raise ValueError(
            f"repository address: found {url!r}, expected https://github.com/OWNER/NAME"
        )
    host = f"{match[1].lower()}.github.io"
    return f"https://{host}/" if match[2].lower() == host else f"https://{host}/{match[2]}/"


def set_address(url, config=CONFIG):
    """Write an address to ``_config.yml``; an empty one removes it."""
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


def staged_config(config):
    """Return the text of the configuration that the book is built with, given ``_config.yml``.

    With an address it has buttons, canonical links, a sitemap and the picture of shared links.
    """
    config = copy.deepcopy(config)
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


def main(arguments=None):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="https://github.com/OWNER/NAME")
    url = parser.parse_args(arguments).url
    return exit_code("error", set_address, url)


if __name__ == "__main__":
    sys.exit(main())
