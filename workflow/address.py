"""Set the address of the repository: ``address.py https://github.com/OWNER/NAME``.

The address is stored in ``_config.yml`` only; ``""`` removes it. Without an address, the book has
no launch, repository or issue buttons, no canonical links and no sitemap.
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
CARD = "_static/social.png"  # drawn by workflow/social_card.py
_URL = re.compile(r"https://github\.com/([\w-]+)/([\w.-]+)")


def site(url):
    """Return the address at which GitHub Pages publishes the book of a repository."""
    match = _URL.fullmatch(url)
    if not match:
        raise ValueError(f"repository address {url!r} is not https://github.com/OWNER/NAME")
    host = f"{match[1].lower()}.github.io"
    return f"https://{host}/" if match[2].lower() == host else f"https://{host}/{match[2]}/"


def set_address(url, config=CONFIG):
    """Write an address to ``_config.yml``; an empty text removes it."""
    url = url.rstrip("/").removesuffix(".git")
    if url:
        site(url)
    text, lines = re.subn(
        r"(?m)^(repository:\n  url: ).*$",
        lambda match: f'{match[1]}"{url}"',
        Path(config).read_text(encoding="utf-8"),
    )
    if lines != 1:
        raise ValueError(f"{config} has no line `url:` below `repository:`")
    with atomic_path(config) as temporary:
        temporary.write_text(text, encoding="utf-8")


def staged_config(config):
    """Return the configuration that jupyter-book reads, as text.

    With an address it has buttons, canonical links, a sitemap and a picture for shared links.

    Parameters
    ----------
    config : dict
        Contents of ``_config.yml``.
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
        sphinx["extra_extensions"] += ["sphinx_sitemap", "sphinxext.opengraph"]
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
    return json.dumps(config, indent=1, ensure_ascii=False)  # valid YAML


def main(arguments=None):
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="https://github.com/OWNER/NAME")
    url = parser.parse_args(arguments).url
    return exit_code("error", set_address, url)


if __name__ == "__main__":
    sys.exit(main())
